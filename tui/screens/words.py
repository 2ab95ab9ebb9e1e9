"""?: the words of the field, one sentence each; those of the text on show come first."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.widgets import Input, Static

from tui.screens.dialog import Dialog
from wizard_steps.learn.glossary import parse

PAGES = tuple(Path(__file__).resolve().parents[1] / "help" / name for name in ("glossary.md", "words.md"))


@lru_cache(maxsize=1)
def words() -> Mapping[str, str]:
    """The field's words, then milepost's own."""
    found: dict[str, str] = {}
    for page in PAGES:
        found |= parse(page.read_text(encoding="utf-8"))
    return found


def used_in(text: str) -> list[str]:
    """The words that a text uses."""
    low = text.lower()
    return [word for word in words() if any(re.search(_whole(part), low) for part in _spellings(word))]


def _spellings(word: str) -> list[str]:
    """``tensor parallelism (TP)`` is also written in short; ``NVLink, NVSwitch`` are two."""
    short = re.findall(r"\(([^)]+)\)", word)
    plain = re.sub(r"\([^)]*\)", "", word).split(",")
    return [part.strip().lower() for part in [*plain, *short] if part.strip()]


def _whole(part: str) -> str:
    return rf"(?<!\w){re.escape(part)}s?(?!\w)"


class WordsScreen(Dialog[None]):
    """Type to filter; Esc closes."""

    heading = "Words"

    def __init__(self, shown: str = "") -> None:
        super().__init__()
        self._here = used_in(shown)

    def body(self) -> ComposeResult:
        yield Input(placeholder="type a part of a word", id="filter")
        with VerticalScroll(id="help-scroll", can_focus=False):
            yield Static(id="words")
        yield Static("Esc closes; Up and Down scroll", id="dialog-hint", markup=False)

    def on_mount(self) -> None:
        self.query_one(Input).focus()
        self._show("")

    def on_input_changed(self, event: Input.Changed) -> None:
        self._show(event.value)

    def on_input_submitted(self) -> None:
        self.dismiss(None)

    def key_up(self) -> None:
        self.query_one(VerticalScroll).scroll_up()

    def key_down(self) -> None:
        self.query_one(VerticalScroll).scroll_down()

    def _show(self, wanted: str) -> None:
        low = wanted.strip().lower()
        found = [w for w in words() if low in w.lower()] or [w for w in words() if low in words()[w].lower()]
        here = [word for word in self._here if word in found]
        rest = [word for word in found if word not in here]
        text = Text()
        for title, group in (("In this text\n", here), ("All words\n" if here else "", rest)):
            if group and title:
                text.append(title, "underline")
            for word in group:
                text.append(word, "bold").append(f"  {words()[word]}\n")
            if group and here:
                text.append("\n")
        if not found:
            text.append("No such word here.")
        self.query_one("#words", Static).update(text)
