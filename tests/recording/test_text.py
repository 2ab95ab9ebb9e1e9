"""Cleaning, redaction and alignment: the pieces every output passes through."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.pieces import pieces
from wizard_steps.engine.expect import compare, fill, parse_line
from wizard_steps.recording.clean import Cleaner, clean
from wizard_steps.recording.redact import MARK, Redactor

SOUP = "\x1b[1;31mred\x1b[0m \x1b]8;;http://x\x07link\x1b]8;;\x07 a\rb\r\nc\x00\u202ed\x9b31me\n"


def test_escape_codes_controls_and_redraws_are_gone() -> None:
    assert clean(SOUP) == "red link a\nb\ncde\n"


@given(st.lists(st.integers(1, 9), max_size=40))
def test_cleaning_does_not_depend_on_where_the_output_was_cut(sizes: list[int]) -> None:
    cleaner = Cleaner()
    out = "".join(cleaner.feed(piece) for piece in pieces(SOUP.encode(), sizes))
    assert out + cleaner.end() == clean(SOUP)


@given(st.binary(max_size=400))
def test_any_bytes_become_text_a_terminal_cannot_act_on(data: bytes) -> None:
    text = clean(data)
    assert not any(c < " " and c not in "\n\t" for c in text)
    assert "\x1b" not in text
    assert "\x9b" not in text


SECRETS = ["hunter2-hunter2", "two\nlines-of-secret"]


@given(st.lists(st.integers(1, 12), max_size=30))
def test_a_secret_cut_in_two_is_still_taken_out(sizes: list[int]) -> None:
    text = f"a {SECRETS[0]} b\nx {SECRETS[1]} hf_abcdefghijklmnopqrstuvwx end\ntail"
    stream = Redactor(SECRETS).stream()
    out = "".join(stream.feed(piece) for piece in pieces(text, sizes)) + stream.end()
    assert out == f"a {MARK} b\nx {MARK} {MARK} end\ntail"


def test_a_private_key_is_left_out_however_long() -> None:
    key = "-----BEGIN OPENSSH PRIVATE KEY-----\n" + "QUJD\n" * 5000 + "-----END OPENSSH PRIVATE KEY-----\n"
    stream = Redactor().stream()
    out = "".join(stream.feed(part) for part in ["before\n", *key.splitlines(keepends=True), "after\n"])
    assert out + stream.end() == f"before\n{MARK}\nafter\n"


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("Authorization: Bearer abc.def-123", f"Authorization: Bearer {MARK}"),
        ("vllm serve m --api-key s3cret1", f"vllm serve m --api-key {MARK}"),
        ("git clone https://me:pw@example.org/x", f"git clone https://{MARK}@example.org/x"),
        ("HF_TOKEN=abcdefgh", f"HF_TOKEN={MARK}"),
        ("nothing to hide here", "nothing to hide here"),
    ],
)
def test_what_looks_like_a_secret_is_taken_out(text: str, left: str) -> None:
    assert Redactor().text(text) == left


def states(expected: str, real: str, **variables: str) -> list[str]:
    lines = [fill(parse_line(line), variables) for line in expected.strip().splitlines()]
    rows = compare("k", "n", lines, real.strip().splitlines()).rows
    return [f"{row.state}:{row.real or row.expected}" for row in rows]


def test_kinds_of_expected_lines() -> None:
    expected = "start {{ip}}\nv* (glob)\n\\d+ (regex)\nmaybe (optional)\nend"
    assert states(expected, "start 10.0.0.1\nv1.2\n42\nend", ip="10.0.0.1") == [
        "matched:start 10.0.0.1",
        "matched:v1.2",
        "matched:42",
        "optional:maybe",
        "matched:end",
    ]


def test_missing_unexpected_and_passed_over() -> None:
    assert states("one\ntwo\n...\nthree", "one\nextra\nthree") == [
        "matched:one",
        "missing:two",
        "between:extra",
        "matched:three",
    ]
    assert states("one\nthree", "one\nextra\nthree") == ["matched:one", "unexpected:extra", "matched:three"]


def test_order_counts_and_the_longest_alignment_wins() -> None:
    assert states("b\na", "a\nb") in (
        ["missing:b", "matched:a", "unexpected:b"],
        ["unexpected:a", "matched:b", "missing:a"],
    )
    assert states("x\n...\nend", "x\nend\nx\nend")[-1] in ("matched:end", "unexpected:end")


def test_a_value_never_becomes_a_pattern() -> None:
    assert states("{{m}} (glob)", "axb", m="a*b") == ["missing:a[*]b", "unexpected:axb"]
    assert states(".*{{m}} (regex)", "aXb", m="a.b")[0].startswith("missing")


@given(st.lists(st.sampled_from("abc"), max_size=6), st.lists(st.sampled_from("abc"), max_size=8))
def test_every_real_line_appears_once_and_every_expected_line_too(want: list[str], real: list[str]) -> None:
    rows = compare("k", "n", [parse_line(w) for w in want], real).rows
    assert [r.real for r in rows if r.state in ("matched", "unexpected")] == real
    assert [r.expected for r in rows if r.state in ("matched", "missing")] == want
