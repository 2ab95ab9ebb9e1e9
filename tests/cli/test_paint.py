"""Colours and links on a terminal, none elsewhere; ASCII where the encoding has no other signs."""

from __future__ import annotations

import io
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tui.app.signs import SIGNS, plain_signs
from tui.cli.door import guarded
from tui.cli.paint import painted, show

LINES = [
    "ok    driver        580",
    "FAIL  reach         see https://docs.ray.io/en/latest/.",
    "  1. port: 8000 -> 8001",
]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def shown(monkeypatch: pytest.MonkeyPatch, stream: Any, **environment: str) -> str:
    for name in ("NO_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"TERM": "xterm-256color", **environment}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "stdout", stream)
    with guarded():
        show(LINES)
    return str(stream.getvalue())


def test_a_terminal_gets_colours_and_links(monkeypatch: pytest.MonkeyPatch) -> None:
    text = shown(monkeypatch, Terminal())
    assert "\x1b[32mok" in text
    assert "\x1b[1;31mFAIL" in text
    assert "https://docs.ray.io/en/latest/\x1b\\" in text
    assert "]8;" in text


@pytest.mark.parametrize("environment", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_who_wants_none_gets_none(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]) -> None:
    assert shown(monkeypatch, Terminal(), **environment) == "\n".join(LINES) + "\n"


def test_a_pipe_gets_the_plain_text(monkeypatch: pytest.MonkeyPatch) -> None:
    assert shown(monkeypatch, io.StringIO()) == "\n".join(LINES) + "\n"


@given(st.text(max_size=200))
def test_no_line_acts_on_the_terminal(line: str) -> None:
    assert "\x1b" not in painted(line).plain


@given(st.text(max_size=60))
def test_every_sign_has_one_in_ascii(text: str) -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    plain_signs(stream)
    stream.write(text)
    stream.flush()


def test_signs_keep_their_columns() -> None:
    assert "✓ a │ ━━╭╮ 漢 é ⠋ …".encode("ascii", SIGNS) == b"v a | ==++ ?? e * ."
