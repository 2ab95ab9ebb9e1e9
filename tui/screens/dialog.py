"""What all dialogs share: a calm box in the middle, Escape to leave where leaving is an answer."""

from __future__ import annotations

from typing import ClassVar, Generic, TypeVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Static

T = TypeVar("T")


class Dialog(ModalScreen[T | None], Generic[T]):
    """Subclasses yield their widgets from ``body``. ``escapable`` says whether Escape answers None."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "cancel", "Cancel", show=False),
        Binding("ctrl+c,ctrl+q", "app.ask_quit", "Quit", show=False, priority=True),
        # An app's own keys do not reach a modal screen.
        Binding("question_mark,f4", "app.words", "Words", show=False),
    ]
    heading = ""
    escapable = True

    def compose(self) -> ComposeResult:
        with Vertical(id="dialog"):
            yield Static(self.heading, id="dialog-title", markup=False)
            yield from self.body()

    def body(self) -> ComposeResult:
        raise NotImplementedError

    def action_cancel(self) -> None:
        if self.escapable:
            self.dismiss(None)

    def say_error(self, message: str) -> None:
        """Show what is wrong on the dialog's error line; "" takes it away."""
        line = self.query_one("#dialog-error", Static)
        line.update(message)
        line.display = bool(message)

    def error_line(self) -> Static:
        line = Static(id="dialog-error", markup=False)
        line.display = False
        return line
