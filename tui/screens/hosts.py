"""The hosts of the ssh configuration, to take some of them as machines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.segment import Segment
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.strip import Strip
from textual.widgets import SelectionList, Static
from textual.widgets._toggle_button import ToggleButton
from textual.widgets.selection_list import Selection

from tui.app.text import safe
from tui.screens.dialog import Dialog


class Marked(SelectionList[str]):
    """Only what is marked has an X: by Textual's own list colour alone says it."""

    def render_line(self, y: int) -> Strip:
        segments = list(super().render_line(y))
        if len(segments) > 1 and segments[1].text == ToggleButton.BUTTON_INNER:
            style = segments[1].style
            index = style.meta.get("option") if style is not None else None
            if index is not None and self.get_option_at_index(index).value not in self.selected:
                segments[1] = Segment(" ", style)
        return Strip(segments)


class HostsScreen(Dialog[list[str]]):
    """Answers the names that were marked, in the order of the file."""

    heading = "Machines from the ssh configuration"
    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter", "take", "Take", show=False, priority=True)]

    def __init__(self, names: Sequence[str], taken: Sequence[str]) -> None:
        super().__init__()
        self._names, self._taken = names, set(taken)

    def body(self) -> ComposeResult:
        marks = [Selection(Text(safe(name)), name, name in self._taken) for name in self._names]
        yield Marked(*marks, id="choices", compact=True)
        yield Static("Space marks; Enter takes what is marked; Esc goes back", id="dialog-hint", markup=False)

    def on_mount(self) -> None:
        self.query_one(SelectionList).focus()

    def action_take(self) -> None:
        chosen = set(self.query_one(SelectionList).selected)
        self.dismiss([name for name in self._names if name in chosen])
