"""? and F4: the words of the field, one sentence each; those of the text on show come first."""

from __future__ import annotations

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.widgets import Input, Static

from tui.app.glossary import used_in, words
from tui.screens.dialog import Dialog


class WordsScreen(Dialog[None]):
    """Type to filter; Esc closes."""

    heading = "Words"

    def __init__(self, shown: str = "", wanted: str = "") -> None:
        """``shown``: the text whose words come first; ``wanted``: what the list is filtered by at first."""
        super().__init__()
        self._here, self._wanted = used_in(shown), wanted

    def body(self) -> ComposeResult:
        yield Input(self._wanted, placeholder="type a part of a word", id="filter")
        with VerticalScroll(id="help-scroll", can_focus=False):
            yield Static(id="words")
        yield Static("Esc closes; Up and Down scroll", id="dialog-hint", markup=False)

    def on_mount(self) -> None:
        self.query_one(Input).focus()
        self._show(self._wanted)

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
