"""Leaving: ask first, and say what keeps running. Errors that end a walk."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from tui.app.text import safe, safe_block
from tui.screens.dialog import Dialog


class QuitScreen(Dialog[bool]):
    """Answers True to leave. Ctrl-C once more also leaves."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+c,ctrl+q", "sure", "Leave", show=False, priority=True)
    ]

    def __init__(self, busy: bool, command: bool, running: Sequence[str], folder: str, lab: bool) -> None:
        super().__init__()
        self.heading = "Stop the walk?" if busy else "Close milepost?"
        self._busy = busy
        self._text = leave_text(command, running, folder, lab)

    @classmethod
    def of_form(cls) -> QuitScreen:
        """Before there is a walk."""
        screen = cls(False, False, (), "", False)
        screen.heading = "Leave the set-up?"
        screen._text = Text("What you have typed is not saved. Nothing was run.\n")
        return screen

    def body(self) -> ComposeResult:
        yield Static(self._text, id="dialog-text")
        stay = Option(Text("Stay"))
        leave = Option(Text("Stop the walk and close" if self._busy else "Close"))
        yield OptionList(stay, leave, id="choices", compact=True)

    def on_mount(self) -> None:
        options = self.query_one(OptionList)
        options.highlighted = 0 if self._busy else 1
        options.focus()

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(event.option_index == 1)

    def action_sure(self) -> None:
        self.dismiss(True)


def leave_text(command: bool, running: Sequence[str], folder: str, lab: bool) -> Text:
    """What happens to what runs, and where the recording is."""
    text = Text()
    if command:
        text.append("The command that runs now is ended on its node.\n")
    if lab:
        text.append("The embedded lab ends with the wizard: nothing of it is left behind.\n")
    elif running:
        text.append("This keeps running on the nodes:\n")
        for item in running[:8]:
            text.append(f"  {safe(item)}\n", "bold")
        if len(running) > 8:
            text.append(f"  and {len(running) - 8} more\n")
        text.append("milepost down ends it; the next walk finds it again.\n")
    else:
        text.append("Nothing that milepost started keeps running on the nodes.\n")
    if folder:
        text.append("\nThe recording is in ").append(safe(folder))
    return text


class ErrorScreen(Dialog[bool]):
    """Something ended the walk. Any answer leaves."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter,q", "leave", "Close", show=False)]

    def __init__(self, title: str, message: str, folder: str) -> None:
        super().__init__()
        self.heading = title
        self._message, self._folder = message, folder

    def body(self) -> ComposeResult:
        with VerticalScroll(id="error-scroll"):
            text = Text(safe_block(self._message))
            if self._folder:
                text.append(f"\n\nWhat was recorded so far is kept in {safe(self._folder)}", "dim")
            yield Static(text, id="dialog-text")
        yield Static("Enter closes milepost", id="dialog-hint", markup=False)

    def on_mount(self) -> None:
        self.query_one(VerticalScroll).focus()

    def action_leave(self) -> None:
        self.dismiss(True)

    def action_cancel(self) -> None:
        self.dismiss(True)


class TooSmallScreen(Dialog[None]):
    """Stands in front while the terminal has no room; goes away by itself."""

    escapable = False

    def body(self) -> ComposeResult:
        yield Static("terminal too small, needs 80x24", id="dialog-text", markup=False)
        yield Static("Make it larger to go on; what runs goes on meanwhile. Ctrl+C leaves.", markup=False)
