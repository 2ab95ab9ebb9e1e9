"""The cluster file: no secret in it however a flag is spelt, and a name with a line end is no name."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from urllib.parse import quote

import pytest

from wizard_steps.cluster import file as clusters
from wizard_steps.cluster.secret_values import secret_flag
from wizard_steps.errors import UsageError

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
    with pytest.raises(UsageError, match=rf"{section}\.{name}\[0\].*secret"):
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
    with pytest.raises(UsageError):
        clusters.parse(text)


@pytest.mark.parametrize(
    "words", ['"--seed 1 hf_SECRET"', '"hf_SECRET"', '"--api-key hf_SECRET"', '"--seed=1", "hf_SECRET"']
)
def test_a_refused_secret_is_not_shown(words: str) -> None:
    secret = "hf_" + "a" * 30
    with pytest.raises(UsageError, match="secret") as refused:
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
    with pytest.raises(UsageError, match=says) as refused:
        clusters.parse(NODE + text)
    assert "PASSWORD" not in str(refused.value)


@pytest.mark.parametrize(
    "value", ["http://proxy:3128", "http://h/a:b@c", "ssh://me@h:22/x", "sk-short", "a:b@c"]
)
def test_other_values_are_not(value: str) -> None:
    assert clusters.parse(f'{NODE}[env]\nX = "{value}"\n').env == {"X": value}


TOKEN = "hf_" + "aBcDeFgHiJkLmNoPqR" * 2
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N"


def _b64(text: str, encoding: str = "utf-8") -> str:
    return base64.b64encode(text.encode(encoding)).decode()


#: How a secret is written: every form that a program or a person may paste.
FORMS: dict[str, Callable[[str], str]] = {
    "JSON": lambda text: "".join(f"\\u{ord(c):04x}" for c in text),
    "Python": lambda text: "".join(f"\\x{ord(c):02x}" for c in text),
    "octal": lambda text: "".join(f"\\{ord(c):03o}" for c in text),
    "one character": lambda text: f"\\u{ord(text[0]):04x}{text[1:]}",
    "shell": lambda text: f"{text[0]}''{text[1:3]}\\{text[3:]}",
    "URL": lambda text: "".join(f"%{ord(c):02X}" for c in text),
    "URL twice": lambda text: quote(quote(text, safe=""), safe="").replace("_", "%255f"),
    "HTML": lambda text: "".join(f"&#{ord(c)};" for c in text),
    "base64": _b64,
    "base64 of a pair": lambda text: "Basic " + _b64(f"user:{text}"),
    "base64 of UTF-16": lambda text: _b64(text, "utf-16-le"),
    "base64 of JSON": lambda text: _b64(json.dumps({"a": {"b": text}})),
    "base64 twice": lambda text: _b64(_b64(text)),
    "hexadecimal": lambda text: text.encode().hex(":"),
    "invisible": lambda text: f"{text[:5]}\u2060{text[5:]}",
    "in JSON": lambda text: json.dumps(json.dumps({"a": [text]})),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "place",
    [
        "[env]\nFOO = VALUE\n",
        "[serve]\nmodel = VALUE\n",
        '[serve]\nextra_flags = ["--foo", VALUE]\n',
        "[docker]\nextra_flags = [VALUE]\n",
        "[weights]\nfrom = VALUE\n",
    ],
)
def test_a_token_is_refused_in_every_form_and_field(form: str, place: str) -> None:
    value = FORMS[form](TOKEN)
    with pytest.raises(UsageError, match=r"secret|REDACTED") as refused:
        clusters.parse(NODE + place.replace("VALUE", json.dumps(value)))
    assert value not in str(refused.value)


@pytest.mark.parametrize("form", FORMS)
def test_the_value_of_a_secret_variable_is_refused(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_API_KEY", "any/word of mine+=")
    value = FORMS[form]("any/word of mine+=")
    with pytest.raises(UsageError, match="value of VLLM_API_KEY") as refused:
        clusters.parse(f"{NODE}[env]\nFOO = {json.dumps(value)}\n")
    assert value not in str(refused.value)


@pytest.mark.parametrize(
    "value",
    [
        JWT,
        "AIza" + "a1" * 17 + "b",
        "Authorization: Bearer abcdef0123456789",
        "password=hunter2hunter2",
        "-----BEGIN OPENSSH PRIVATE KEY-----b3BlbnNzaC1rZXktdjEAAAAA",
        "http%3A%2F%2Fu%3Apass1234%40h",
    ],
)
def test_what_else_is_a_secret_by_its_look(value: str) -> None:
    with pytest.raises(UsageError, match=r"looks like a secret|has a password"):
        clusters.parse(f"{NODE}[env]\nFOO = {json.dumps(value)}\n")


@pytest.mark.parametrize(
    "text",
    [
        f"{TOKEN} = 1\n{NODE}",
        f'path = "{TOKEN}"\n{NODE}',
        f"name = {TOKEN}\n{NODE}",
        f'"{TOKEN}" = 1\n"{TOKEN}" = 2\n{NODE}',
        f'{NODE}fabric_ip = "{TOKEN}"\n',
        f'{NODE}[env]\n{TOKEN} = "x"\n',
    ],
)
def test_no_other_error_repeats_a_token(text: str) -> None:
    with pytest.raises(UsageError) as refused:
        clusters.parse(text)
    assert TOKEN not in str(refused.value)


@pytest.mark.parametrize(
    "value",
    [
        "/mnt/hf_transformersmodels/x",
        "mlx5_0:1,mlx5_1:1",
        "=mlx5_0,mlx5_1,mlx5_2,mlx5_3",
        "GPU-8932f937-d72c-4106-c12f-20bd9faed9f6,GPU-0faed9f6-1111-2222-3333-444455556666",
        "sha256:" + "0123456789abcdef" * 4,
        '{"kv_connector": "NixlConnector", "kv_role": "kv_both"}',
        "expandable_segments:True",
        "/usr/local/cuda-12.9/targets/x86_64-linux/lib:/opt/hpcx/ompi/lib",
        "^docker,lo,veth",
        "text-embeddings/inference/model-of-a-long-name-1234567890",
    ],
)
def test_values_of_every_day_are_no_secrets(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert clusters.parse(f"{NODE}[env]\nX = {json.dumps(value)}\n").env == {"X": value}


@pytest.mark.parametrize(
    "text",
    [
        '[serve]\nmodel = "--trust-remote-code"\n',
        '[serve]\nmodel = "-x"\n',
        '[serve]\nserved_model_name = "--root-path=/x"\n',
        '[serve]\nhost = "--uds=/tmp/x"\n',
        '[install]\nindex_url = "--extra-index-url=http://x"\n',
        '[install]\nfind_links = ["--no-index"]\n',
        '[docker]\ncommand = "--privileged"\n',
        '[ssh]\nidentity = ["-oProxyCommand=x"]\n',
    ],
)
def test_no_value_becomes_an_option(text: str) -> None:
    with pytest.raises(UsageError, match=r"begins with -|not a|must"):
        clusters.parse(NODE + text)


def test_flags_are_options() -> None:
    text = '[serve]\nextra_flags = ["--seed=1"]\n[docker]\nulimits = ["memlock=-1"]\n[env]\nX = "-1"\n'
    assert clusters.parse(NODE + text).env == {"X": "-1"}
