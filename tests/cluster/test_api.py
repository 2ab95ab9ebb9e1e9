"""Where the API answers: one rule for every command that asks it."""

from __future__ import annotations

import pytest

from wizard_steps.cluster.api import base_url, curl_words, listens, own_host, through_tunnel, tls
from wizard_steps.cluster.file import Cluster, parse


def cluster(host: str, *flags: str) -> Cluster:
    quoted = ", ".join(f'"{flag}"' for flag in flags)
    node = '[[nodes]]\nhost = "a"\nrole = "head"\ngpus = 1\n'
    return parse(f'{node}[serve]\nhost = "{host}"\nextra_flags = [{quoted}]\n')


@pytest.mark.parametrize(
    ("host", "own", "other"),
    [
        ("0.0.0.0", "http://127.0.0.1:8000", "http://10.0.0.1:8000"),
        ("::", "http://[::1]:8000", "http://10.0.0.1:8000"),
        ("fd00::1", "http://[fd00::1]:8000", "http://[fd00::1]:8000"),
        ("10.0.0.9", "http://10.0.0.9:8000", "http://10.0.0.9:8000"),
    ],
)
def test_addresses(host: str, own: str, other: str) -> None:
    it = cluster(host)
    assert base_url(it, own_host(it)) == own
    assert base_url(it, listens(it, "10.0.0.1")) == other
    assert not tls(it)


@pytest.mark.parametrize(
    "flags", [("--ssl-certfile=c", "--ssl-keyfile=k"), ("--ssl_certfile", "c"), ("--ssl-certf=c",)]
)
def test_https_however_the_flag_is_written(flags: tuple[str, ...]) -> None:
    it = cluster("0.0.0.0", *flags)
    assert tls(it)
    assert base_url(it, "h") == "https://h:8000"
    assert curl_words(base_url(it, "h"))[-1] == "-k"
    assert through_tunnel(it, "1") == "--base-url https://127.0.0.1:1/v1 --no-verify"


def test_other_flags_of_ssl_make_no_https() -> None:
    assert not tls(cluster("0.0.0.0", "--enable-ssl-refresh"))
