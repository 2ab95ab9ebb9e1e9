"""The nodes as a list that can be filtered, those with failures first. For clusters of any size."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text
from textual.app import ComposeResult
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from tui.app.present import NodeMark
from tui.app.text import STEP_STATES, safe
from tui.screens.dialog import Dialog


class NodesScreen(Dialog[str]):
    """Answers the name of a node."""

    heading = "Nodes"

    def __init__(self, marks: Sequence[NodeMark]) -> None:
        super().__init__()
        self._marks = sorted(marks, key=lambda mark: not mark.failures)
        self._shown: list[NodeMark] = []

    def body(self) -> ComposeResult:
        yield Input(placeholder="type a part of a name, or failed", id="filter", compact=True)
        yield OptionList(id="choices", compact=True)
        yield Static("Enter shows the node; Esc goes back", id="dialog-hint", markup=False)

    def on_mount(self) -> None:
        self._fill("")
        self.query_one(Input).focus()

    def _fill(self, wanted: str) -> None:
        words = wanted.lower().split()
        self._shown = [m for m in self._marks if all(w in _line(m).plain.lower() for w in words)]
        options = self.query_one(OptionList)
        options.clear_options()
        options.add_options(Option(_line(mark)) for mark in self._shown)
        options.highlighted = 0 if self._shown else None

    def on_input_changed(self, event: Input.Changed) -> None:
        self._fill(event.value)

    def on_key(self, event: object) -> None:
        key = getattr(event, "key", "")
        if key in ("down", "up") and self.query_one(Input).has_focus:
            options = self.query_one(OptionList)
            (options.action_cursor_down if key == "down" else options.action_cursor_up)()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        highlighted = self.query_one(OptionList).highlighted
        if highlighted is not None:
            self.dismiss(self._shown[highlighted].name)

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(self._shown[event.option_index].name)


def _line(mark: NodeMark) -> Text:
    symbol, word, _ = STEP_STATES[mark.state]
    text = Text(f"{symbol} {word:<8} ").append(safe(mark.name))
    return text.append(f"  {mark.failures} failed", "bold") if mark.failures else text
