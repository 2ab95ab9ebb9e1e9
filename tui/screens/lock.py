"""Another wizard holds the cluster, or has taken it over: who, and what can be done."""

from __future__ import annotations

from typing import Literal

from rich.text import Text
from textual.app import ComposeResult
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from tui.app.text import safe
from tui.screens.dialog import Dialog
from wizard_steps.node.lock import STALE, Holder, LockHeld

LockAnswer = Literal["leave", "again", "take"]

TAKE = (
    "The other wizard stops at its next command and says why. Its user may be in the middle of something: "
    "ask them first if you can. What was started on the nodes is not ended: Ray and vLLM go on running, and "
    "this walk finds them again."
)


class LockScreen(Dialog[LockAnswer]):
    """Leaving is the first choice. Taking over is confirmed once more, with what it means."""

    def __init__(self, cluster: str, held: LockHeld) -> None:
        super().__init__()
        self.heading = "Another wizard took over this cluster" if held.taken else "Another wizard is at work"
        self._cluster, self._held = cluster, held
        self._sure = False

    def body(self) -> ComposeResult:
        yield Static(self._who(), id="dialog-text")
        yield Static(self._what(), id="dialog-why", markup=False)
        yield OptionList(id="choices", compact=True)
        yield Static(
            "Up and Down choose, Enter answers; Esc goes back or leaves", id="dialog-hint", markup=False
        )

    def on_mount(self) -> None:
        self._offer()

    def _who(self) -> Text:
        text = Text()
        for name, value in (("cluster", self._cluster), *rows(self._held.holder)):
            text.append(f"{name:<10}", "dim").append(safe(value) + "\n")
        text.rstrip()
        return text

    def _what(self) -> str:
        if self._held.taken:
            return (
                "This wizard changes nothing more. What it started on the nodes keeps running. Ask the other "
                "person before you take the cluster back."
            )
        return (
            "Two wizards at once would undo each other's work, so this one has changed nothing. Wait until "
            f"the other one is done, or ask its user to leave it. A stale lock expires after {STALE} s."
        )

    def _offer(self) -> None:
        options = self.query_one(OptionList)
        options.clear_options()
        take = "Take it back" if self._held.taken else "Take it over"
        words = (
            ("No, go back", f"Yes, {take.lower()}") if self._sure else ("Leave", "Try again", f"{take} ...")
        )
        options.add_options([Option(Text(word)) for word in words])
        options.highlighted = 0
        options.focus()
        self.query_one("#dialog-title", Static).update(f"{take}?" if self._sure else self.heading)
        self.query_one("#dialog-why", Static).update(TAKE if self._sure else self._what())

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        if self._sure and event.option_index == 1:
            self.dismiss("take")
        elif self._sure or event.option_index == 2:
            self._sure = not self._sure
            self._offer()
        else:
            self.dismiss("again" if event.option_index else "leave")

    def action_cancel(self) -> None:
        if self._sure:
            self._sure = False
            self._offer()
        else:
            self.dismiss("leave")


def rows(holder: Holder) -> list[tuple[str, str]]:
    """Who, by user and machine; which process; since when."""
    user, _, host = holder.who.rpartition("@")
    beside = " (this machine)" if holder.beside else ""
    since = holder.since.replace("T", " ").replace("Z", " UTC")
    return [
        ("user", user or holder.who),
        ("machine", f"{host}{beside}" if user else "unknown"),
        ("process", str(holder.pid)),
        ("since", since),
    ]
