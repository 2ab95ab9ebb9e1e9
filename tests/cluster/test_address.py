"""``host`` of a node, as people give it to ssh."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tui.app.form import cluster_of, form_of
from wizard_steps.cluster.address import Address, address
from wizard_steps.cluster.file import parse
from wizard_steps.errors import UsageError

GOOD = [
    ("gpu-a", Address("gpu-a")),
    ("root@10.0.0.1", Address("10.0.0.1", "root")),
    ("gpu-a:2222", Address("gpu-a", "", 2222)),
    ("me@gpu-a:2222", Address("gpu-a", "me", 2222)),
    ("me@corp@gpu-a", Address("gpu-a", "me@corp")),
    ("ssh://me@gpu-a:2222/", Address("gpu-a", "me", 2222)),
    ("ssh://gpu-a", Address("gpu-a")),
    ("fe80::1", Address("fe80::1")),
    ("fe80::1%eth0", Address("fe80::1%eth0")),
    ("[fe80::1]", Address("fe80::1")),
    ("[fe80::1]:2222", Address("fe80::1", "", 2222)),
    ("me@[fe80::1]:2222", Address("fe80::1", "me", 2222)),
    ("ssh://me@[2001:db8::7]:22", Address("2001:db8::7", "me", 22)),
    ("DOM\\me@gpu-a", Address("gpu-a", "DOM\\me")),
]
BAD = [
    "gpu-a:",
    "gpu-a:port",
    "gpu-a:0",
    "gpu-a:70000",
    "me@",
    "@gpu-a",
    "[fe80::1",
    "a/b",
    "ssh://",
    "ssh://a/b",
]


def file(node: str) -> str:
    return f'[[nodes]]\nrole = "head"\ngpus = 1\n{node}\n'


@pytest.mark.parametrize(("text", "wanted"), GOOD)
def test_an_address_is_taken_apart(text: str, wanted: Address) -> None:
    assert address(text) == wanted
    head = parse(file(f"host = '{text}'")).head
    assert Address(head.host, head.user, head.port) == wanted
    assert head.name == wanted.host


@pytest.mark.parametrize("text", BAD)
def test_what_is_no_address_is_refused_with_the_forms(text: str) -> None:
    assert address(text) is None
    with pytest.raises(UsageError, match=r"toml:4: nodes\[0\].host: .*user@host"):
        parse(file(f"host = '{text}'"))


@pytest.mark.parametrize(
    ("node", "words"),
    [
        ("host = 'me@gpu-a'\nuser = 'you'", r"nodes\[0\].user: 'you', but host says user 'me'"),
        ("host = 'gpu-a:1'\nport = 2", r"nodes\[0\].port: 2, but host says port 1"),
        ("host = '-oProxyCommand=x@gpu-a'", r"nodes\[0\].host: must not begin with -"),
        ("host = 'me@-oProxyCommand'", r"nodes\[0\].host"),
        ("host = 'm e@gpu-a'", r"nodes\[0\].host: must not .* blanks"),
        ("host = '~me@gpu-a'", r"nodes\[0\].host: '~me' is not a user name"),
    ],
)
def test_contradictions_and_hostile_values_are_refused(node: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        parse(file(node))


def test_the_same_user_twice_is_no_contradiction() -> None:
    head = parse(file("host = 'me@gpu-a:22'\nuser = 'me'\nport = 22")).head
    assert (head.host, head.user, head.port) == ("gpu-a", "me", 22)


def test_the_form_takes_it_as_well() -> None:
    cluster = parse(file("host = 'gpu-a'"))
    form = form_of(cluster)
    form.nodes[0].host = "me@[fe80::1]:2222"
    head = cluster_of(form, cluster).head
    assert (head.host, head.user, head.port, head.name) == ("fe80::1", "me", 2222, "fe80::1")


@given(st.text(max_size=60))
def test_any_text_is_an_address_or_none(text: str) -> None:
    found = address(text)
    assert found is None or (found.host and 0 <= found.port <= 65535)
