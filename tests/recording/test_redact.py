"""Secrets in the forms programs print them in, cut and broken anywhere; and what must not be taken for one."""

from __future__ import annotations

import base64
import html
import json
import shlex
import urllib.parse
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers.pieces import pieces
from wizard_steps.recording.clean import Cleaner
from wizard_steps.recording.redact import MARK, Redactor

SECRET = "q7W+e/r=\"t'Y\\u 9$`Zx&<k>%#"
PLAIN = "n3LhY0vJ8kXw2QdTfB6mRzAa"


def encoded(secret: str) -> dict[str, str]:
    data = secret.encode()
    return {
        "plain": secret,
        "json": json.dumps(secret),
        "json in json": json.dumps(json.dumps(secret)),
        "python": repr(secret),
        "shell": shlex.quote(secret),
        "printf %q": "".join(c if c.isalnum() or c == "_" else f"\\{c}" for c in secret),
        "url": urllib.parse.quote(secret, safe=""),
        "url with /": urllib.parse.quote(secret),
        "url plus": urllib.parse.quote_plus(secret),
        "html": html.escape(secret),
        "base64": base64.b64encode(data).decode(),
        "basic": base64.b64encode(b":" + data).decode(),
        "base64 later": base64.b64encode(b"me:" + data + b"!").decode(),
        "base64 later still": base64.b64encode(b"user:" + data + b"...").decode(),
        "base64 url": base64.urlsafe_b64encode(b"ab" + data).decode(),
        "hex": data.hex(),
        "HEX": data.hex().upper(),
        "hex with colons": data.hex(":"),
        "base64 of UTF-16": base64.b64encode(secret.encode("utf-16-le")).decode(),
        "every character in JSON": "".join(f"\\u{ord(c):04X}" for c in secret),
        "one character in JSON": f"\\u{ord(secret[0]):04x}{secret[1:]}",
        "every character in Python": "".join(f"\\x{c:02x}" for c in data),
        "url of url": urllib.parse.quote(urllib.parse.quote(secret, safe=""), safe=""),
        "every character in a url": "".join(f"%{c:02x}" for c in data),
        "every character in html": "".join(f"&#{c};" for c in data),
        "every character in JavaScript": "".join(f"\\u{{{c:x}}}" for c in data),
        "every character in Python, long": "".join(f"\\U{c:08x}" for c in data),
        "every character in an old url": "".join(f"%u{c:04x}" for c in data),
        "a list of bytes": str(list(data)),
        "bytes as Go prints them": f"[{' '.join(map(str, data))}]",
        "bytes in C": "{" + ", ".join(f"0x{c:02x}" for c in data) + "}",
        "hex in pairs": data.hex(" ", -2),
        "base32": base64.b32encode(data).decode(),
        "wrapped": f"{secret[:9]}\n    {secret[9:]}",
        "wrapped in a frame": f"{secret[:9]}\r\n│ {secret[9:]}",
        "wrapped in a box": f"│ {secret[:9]}   │\n│ {secret[9:]}   │",
        "wrapped by a backslash": f"{secret[:9]}\\\n{secret[9:]}",
    }


def left(text: str) -> bool:
    """Whether a part of a secret is still there that helps."""
    return any(secret[n : n + 8] in text for secret in (SECRET, PLAIN) for n in range(len(secret) - 7))


@pytest.mark.parametrize("secret", [SECRET, PLAIN])
@pytest.mark.parametrize("form", encoded(PLAIN))
def test_every_form_is_taken_out_wherever_the_output_is_cut(secret: str, form: str) -> None:
    said = f"before {encoded(secret)[form]} after\nnext line\n"
    redactor = Redactor([secret])
    whole = redactor.text(said)
    assert MARK in whole
    assert whole.endswith(" after\nnext line\n") or "base64" in form or form == "basic"
    # Up to two characters at each end of a base64 text belong to its neighbours as well.
    rest = whole.replace(MARK, "")
    assert not left(rest), whole
    assert len(rest) <= len("before  after\nnext line\n") + 20
    for at in range(len(said)):
        stream = redactor.stream()
        parted = stream.feed(said[:at]) + stream.feed(said[at:]) + stream.end()
        assert parted == whole, at


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_what_hides_inside_or_breaks_it_is_no_help(data: st.DataObject) -> None:
    """Through the cleaner, as output comes: invisible characters, colours and line ends inside a secret."""
    hidden = [
        "\u200b",
        "\u2060",
        "\u00ad",
        "\u2064",
        "\U000e0041",
        "\x1b[1m",
        "\x1b]0;t\x07",
        "\r",
        "\n",
        "\x00",
    ]
    spoiled = ""
    for n, c in enumerate(PLAIN):
        spoiled += (data.draw(st.sampled_from(["", "", *hidden])) if n else "") + c
    said = f"x {spoiled} y\n".encode()
    cleaner, stream, out = Cleaner(), Redactor([PLAIN]).stream(), ""
    for piece in pieces(said, data.draw(st.lists(st.integers(1, 9), max_size=60))):
        out += stream.feed(cleaner.feed(piece))
    out += stream.feed(cleaner.end()) + stream.end()
    assert out == f"x {MARK} y\n"


@given(st.lists(st.integers(1, 40), max_size=40))
def test_a_shape_in_a_long_line_is_found_wherever_it_is_cut(sizes: list[int]) -> None:
    token = "github_pat_11ABCDEFG0" + "x1" * 30
    said = "y" * 700 + f" Authorization: Basic {'dXNlcjpw' * 6} {token} " + "z" * 600
    stream = Redactor().stream()
    out = "".join(stream.feed(piece) for piece in pieces(said, sizes)) + stream.end()
    assert out == "y" * 700 + f" Authorization: Basic {MARK} {MARK} " + "z" * 600


TOKENS = [
    "hf_abcdefghijklmnopqrstuvwx",
    "sk-proj-abcdefghij0123456789",
    "ghp_abcdefghij0123456789abcd",
    "github_pat_11ABCDEFG0123456789_abcdef",
    "glpat-abcdefghij0123456789",
    "xoxb-123456789012-abcdefghijkl",
    "AKIAIOSFODNN7EXAMPLE",
    "AIzaSyA1234567890abcdefghijklmnopqrstuv",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abcdefghijklmnop",
    "nvapi-abcdefghij0123456789",
]


@pytest.mark.parametrize("token", TOKENS)
@pytest.mark.parametrize("around", ["{}", "a {} b", "'{}'", "k={}", '"x": "{}"', "({})", "{}."])
def test_tokens_are_known_by_their_look(token: str, around: str) -> None:
    assert token not in Redactor().text(around.format(token))


@pytest.mark.parametrize(
    "text",
    [
        "password=hunter2hunter2",
        "Password: hunter2hunter2",
        '{"password": "hunter2hunter2"}',
        "{'api_key': ['hunter2hunter2']}",
        "AWS_SESSION_TOKEN=hunter2hunter2",
        "HF_TOKEN: hunter2hunter2",
        "MYSQL_PWD=hunter2hunter2",
        "SECRET=hunter2hunter2",
        "x-api-key: hunter2hunter2",
        "X-API-Key: hunter2hunter2",
        "Authorization: Token hunter2hunter2",
        "authorization: hunter2hunter2",
        "Authorization: Basic aHVudGVyMjpodW50ZXIyhunter2hunter2",
        "--api_key=hunter2hunter2",
        "--api-key 'hunter2hunter2'",
        "--hf-token hunter2hunter2",
        "--hf_token=hunter2hunter2",
        "https://user:hunter2@hunter2hunter2@host/x",
        "client_secret_key = x secret_key=hunter2hunter2",
    ],
)
def test_what_is_named_a_secret_is_one(text: str) -> None:
    found = Redactor().text(text)
    assert "hunter2" not in found
    assert MARK in found


ORDINARY = """\
INFO 11-24 08:50:47 [api_server.py:1] non-default args: {'model': 'm', 'api_key': None, 'max_tokens': 2048}
tokenizer=meta-llama/Llama-3.2-1B-Instruct, tokenizer_mode=auto, skip_tokenizer_init=False, token_ids=[1, 2]
usage: vllm serve [--api-key API_KEY] [--hf-token [HF_TOKEN]] [--ssl-keyfile SSL_KEYFILE]
task-generation-of-something-long  risk-adjusted-value-of-things desk-top-publishing-tools-2024
token: sha256 0123456789abcdef, mode 600
RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=/root/.milepost/x/ray_token
{"usage": {"prompt_tokens": 12, "completion_tokens": 5, "total_tokens": 17}, "token": "hello"}
HF_TOKEN is not set; VLLM_API_KEY=$VLLM_API_KEY --api-key $KEY  Bearer authentication is required
num_generation_tokens_total{engine="0",model_name="m"} 1024.0
Permission denied (publickey,password). password: the one of the machine
monkey=bananas keyboard: us-international key: value primary_key=identifier cache key=abcdef012345
http://10.0.0.1:8000/v1/models see https://docs.vllm.ai/en/latest/ user@host:/path git@github.com:a/b
hf_overrides={}, hf_config_path=None, vllm.transformers_utils.hf_transformersmodel eyJ is short
"""


@pytest.mark.parametrize("line", ORDINARY.splitlines())
def test_ordinary_output_comes_through(line: str) -> None:
    assert Redactor([PLAIN]).text(line) == line


def test_recorded_output_has_nothing_taken_out_that_was_not() -> None:
    """Everything that real walks printed passes as it is: it was redacted when it was recorded."""
    redactor, walks = Redactor(), Path(__file__).parents[2] / "snapshots" / "walks"
    for path in sorted(walks.rglob("*.log")):
        text = path.read_text(errors="replace")
        assert redactor.text(text) == text, path


WORST = [
    "\u009d",
    "\u0090",
    "\r",
    "\n",
    "1",
    "a",
    "A",
    "://a:",
    "TOKEN=",
    "earer ",
    "eyJ",
    "hf_",
    "sk-",
    "key=",
    "@",
    "\\",
    "%25",
    "&#0",
    "\n  | ",
]


@pytest.mark.parametrize("text", WORST)
def test_a_flood_of_anything_is_read_once(text: str) -> None:
    """What took seconds for 64 KiB took minutes for this; the suite's own limit would end it."""
    data = (text * (400_000 // len(text))).encode()
    cleaner, stream = Cleaner(), Redactor([SECRET, PLAIN]).stream()
    for at in range(0, len(data), 65536):
        stream.feed(cleaner.feed(data[at : at + 65536]))
    stream.feed(cleaner.end())
    stream.end()


def test_plain_values_are_cleaned_wherever_a_text_stands() -> None:
    secret = "a-long-secret-value"
    found = Redactor([secret]).tree(
        {"env": {secret: f"x{secret}"}, "nodes": [{"host": secret, "gpus": 8}, None]}
    )
    assert secret not in str(found)
    assert found["nodes"][0]["gpus"] == 8
