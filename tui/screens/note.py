"""A note beside a step, written while the walk is recorded."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text
from textual.app import ComposeResult
from textual.widgets import Input, Static

from tui.app.text import cut, safe
from tui.screens.dialog import Dialog

#: Of the notes that are there already, this many are shown, the latest ones.
_EARLIER = 4


class NoteScreen(Dialog[str]):
    """Answers the text; an empty one is no note."""

    def __init__(self, title: str, earlier: Sequence[str]) -> None:
        super().__init__()
        self.heading = f"Note on: {safe(title)}"
        self._earlier = earlier

    def body(self) -> ComposeResult:
        words = "Whoever watches this recording (milepost --watch) sees it next to the step."
        yield Static(words, id="dialog-text", markup=False)
        if self._earlier:
            lines = [f"- {cut(safe(' '.join(text.split())), 68)}" for text in self._earlier[-_EARLIER:]]
            yield Static(Text("There already:\n" + "\n".join(lines)), id="dialog-why")
        yield Input(placeholder="what to look at, and why", id="answer", compact=True)
        yield Static("Enter keeps it; Esc writes none", id="dialog-hint", markup=False)

    def on_mount(self) -> None:
        self.query_one(Input).focus()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self.dismiss(event.value.strip() or None)
