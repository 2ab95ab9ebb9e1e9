"""Nodes x milestones as a list that can be filtered, those in trouble first. For clusters of any size."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from tui.app import matrix
from tui.screens.dialog import Dialog
from wizard_steps.recording.state import State

#: Seconds between two looks at a walk that goes on.
_EVERY = 0.5


class NodesScreen(Dialog[str]):
    """Answers the name of a node. ``state`` gives the walk as it is now."""

    heading = "Nodes and milestones"
    BINDINGS: ClassVar[list[BindingType]] = [Binding("ctrl+o", "order", "Order", show=False, priority=True)]

    def __init__(self, state: Callable[[], State]) -> None:
        super().__init__()
        self._state = state
        self._wanted = ""
        self._shown: list[matrix.MatrixRow] = []
        self._drawn: object = None
        self._sort = 0

    def body(self) -> ComposeResult:
        yield Input(placeholder="type a part of a name, or failed", id="filter", compact=True)
        yield Static(id="matrix-counts", markup=False)
        yield Static(id="matrix-head")
        yield OptionList(id="choices", compact=True)
        yield Static(id="matrix-steps", markup=False)
        yield Static(
            "Enter shows the node; Ctrl+O: another order; Esc goes back", id="dialog-hint", markup=False
        )

    def action_order(self) -> None:
        self._sort = (self._sort + 1) % len(matrix.SORTS)
        self._fill()

    def on_mount(self) -> None:
        self._fill()
        self.query_one(Input).focus()
        self.set_interval(_EVERY, self._fill)

    def _fill(self) -> None:
        state = self._state()
        words = self._wanted.lower().split()
        sort = matrix.SORTS[self._sort]
        found = matrix.ordered(matrix.rows(state), state, sort)
        shown = [row for row in found if all(word in matrix.words(row) for word in words)]
        if (shown, words, sort) == self._drawn:
            return
        self._drawn = (shown, words, sort)
        self.query_one("#matrix-counts", Static).update(f"{matrix.counts(found)}   sorted: {sort}")
        options = self.query_one(OptionList)
        at = self._shown[options.highlighted].name if options.highlighted is not None else ""
        self._shown, width = shown, matrix.name_width(found)
        self.query_one("#matrix-head", Static).update(matrix.head(state, width))
        self.query_one("#matrix-steps", Static).update(matrix.steps_line(state))
        options.clear_options()
        options.add_options(Option(matrix.line(row, width)) for row in shown)
        names = [row.name for row in shown]
        options.highlighted = (names.index(at) if at in names else 0) if names else None

    def on_input_changed(self, event: Input.Changed) -> None:
        self._wanted = event.value
        self._fill()

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
