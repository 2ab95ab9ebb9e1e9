"""The cluster file: no secret in it however a flag is spelt, and a name with a line end is no name."""

from __future__ import annotations

import pytest

from wizard_steps.cluster import file as clusters
from wizard_steps.cluster.secret_values import secret_flag

NODE = '[[nodes]]\nhost = "h"\nname = "a"\nrole = "head"\ngpus = 1\n'


@pytest.mark.parametrize(
    "flag",
    [
        "--api-key=k",
        "--api_key=k",
        "--api-key",
        "--api_key k",
        "--API_KEY=k",
        "--api-k=k",
        "--hf-token=t",
        "--hf_token",
        "--hf-to=t",
        "--ssl-keyfile-password=p",
        "--redis-password=p",
        "--redis_password",
        "--auth-token=t",
        "--token=t",
        "-api-key=k",
        " --api-key=k",
    ],
)
@pytest.mark.parametrize(
    "table", ["serve.extra_flags", "ray.head_flags", "ray.worker_flags", "docker.extra_flags"]
)
def test_every_spelling_of_a_key_is_refused(flag: str, table: str) -> None:
    section, _, name = table.partition(".")
    with pytest.raises(clusters.UsageError, match=rf"{section}\.{name}\[0\].*secret"):
        clusters.parse(f'{NODE}[{section}]\n{name} = ["{flag}", "x"]\n')


@pytest.mark.parametrize(
    "flag",
    [
        "--max-num-batched-tokens=8192",
        "--tokenizer=x",
        "--tokenizer-mode=auto",
        "--api-server-count=2",
        "--hf-overrides={}",
        "--hf-config-path=/x",
        "--ssl-keyfile=/x",
        "--skip-tokenizer-init",
        "--max-model-len=4096",
        "--enable-auto-tool-choice",
        "--return-tokens-as-token-ids",
        "--kv-transfer-config={}",
        "api-key",
        "-e",
    ],
)
def test_no_other_flag_is(flag: str) -> None:
    assert not secret_flag(flag)


@pytest.mark.parametrize(
    "text",
    [
        'name = "att\\n"\n' + NODE,
        NODE.replace('name = "a"', 'name = "a\\n"'),
        NODE.replace('host = "h"', 'host = "h\\n"'),
        NODE.replace('host = "h"', 'host = "h\\u202e"'),
        NODE.replace("role", 'user = "u\\n"\nrole'),
        NODE.replace("role", 'fabric_ip = "10.0.0.1\\n"\nrole'),
        NODE + '[env]\n"pwnme\\n" = "x"\n',
        NODE + '[env]\n"A B" = "x"\n',
        NODE + '[docker]\nshm_size = "1g\\n"\n',
        NODE + '[docker]\nimage = "x\\n"\n',
        'venv = "/opt/x\\n"\n' + NODE,
        'venv = "/opt/\\u001b[2J"\n' + NODE,
        NODE + '[env]\nA = "x\\u0000"\n',
        NODE + '[serve]\nmodel = "m\\u0000"\n',
        NODE + '[serve]\nextra_flags = ["--x=\\u0007"]\n',
    ],
)
def test_a_name_is_matched_to_its_very_end(text: str) -> None:
    with pytest.raises(clusters.UsageError):
        clusters.parse(text)


@pytest.mark.parametrize(
    "words", ['"--seed 1 hf_SECRET"', '"hf_SECRET"', '"--api-key hf_SECRET"', '"--seed=1", "hf_SECRET"']
)
def test_a_refused_secret_is_not_shown(words: str) -> None:
    secret = "hf_" + "a" * 30
    with pytest.raises(clusters.UsageError, match="secret") as refused:
        clusters.parse(f"{NODE}[serve]\nextra_flags = [{words.replace('hf_SECRET', secret)}]\n")
    assert secret not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('[env]\nMILEPOST_ID = "x/a/ray"\n', r"env\.MILEPOST_ID: is milepost's own"),
        ('[env]\nMILEPOST_LIFE = "0"\n', r"env\.MILEPOST_LIFE: is milepost's own"),
        ('[env]\nHTTPS_PROXY = "http://u:PASSWORD@proxy:3128"\n', r"env\.HTTPS_PROXY: has a password"),
        ('[env]\nX = "ghp_PASSWORDPASSWORDPASSWORD"\n', r"env\.X: looks like a secret"),
        ('[env]\nX = "xoxb-PASSWORD-PASSWORD"\n', r"env\.X: looks like a secret"),
        ('[serve]\nextra_flags = ["--otlp-traces-endpoint=https://u:PASSWORD@h/v1"]\n', "has a password"),
        ('[ray]\nhead_flags = ["--x=redis://:PASSWORD@h"]\n', "has a password"),
        ('[docker]\nextra_flags = ["--name", "x"]\n', "milepost gives --name itself"),
        ('[docker]\nextra_flags = ["--entrypoint=/bin/sh"]\n', "milepost gives --entrypoint itself"),
        ('[docker]\nextra_flags = ["-eAPI_KEY=PASSWORD"]\n', "looks like a secret"),
    ],
)
def test_a_value_that_gives_something_away_is_refused(text: str, says: str) -> None:
    with pytest.raises(clusters.UsageError, match=says) as refused:
        clusters.parse(NODE + text)
    assert "PASSWORD" not in str(refused.value)


@pytest.mark.parametrize(
    "value", ["http://proxy:3128", "http://h/a:b@c", "ssh://me@h:22/x", "sk-short", "a:b@c"]
)
def test_other_values_are_not(value: str) -> None:
    assert clusters.parse(f'{NODE}[env]\nX = "{value}"\n').env == {"X": value}
