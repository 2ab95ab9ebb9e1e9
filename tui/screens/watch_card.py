"""What stands before a recording is played: its title, what it shows, where and when it was made."""

from __future__ import annotations

from typing import ClassVar, Literal

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from tui.app.text import duration, safe, safe_block
from tui.screens.dialog import Dialog
from wizard_steps.model import counted
from wizard_steps.walks.watching import Playback

#: play: to the end, stopping at questions only. step: stop after every milestone, with Why beside it.
WatchAnswer = Literal["play", "step"]


class WatchCard(Dialog[WatchAnswer]):
    """Nothing plays while it is open. Escape plays too: the recording was asked for."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("s", "answer('step')", "Step by step", show=False),
        Binding("space", "answer('play')", "Play", show=False),
        Binding("q", "app.ask_quit", "Quit", show=False),
    ]

    def __init__(self, playback: Playback) -> None:
        super().__init__()
        meta = playback.walk.meta
        self.heading = safe(meta.title or playback.folder.name)
        note = f"{safe_block(meta.note)}\n\n" if meta.note else ""
        self._about = note + "\n".join(_made(playback))

    def body(self) -> ComposeResult:
        with VerticalScroll(id="error-scroll", can_focus=False):
            yield Static(self._about, id="dialog-text", markup=False)
        yield OptionList(
            Option("Play: it stops where a question is asked", id="play"),
            Option("Step by step: it stops after each milestone, with Why beside it", id="step"),
            id="choices",
            compact=True,
        )
        yield Static(
            "Enter chooses   Space plays   s steps   q quits",
            id="dialog-hint",
            markup=False,
        )

    def on_mount(self) -> None:
        self.query_one(OptionList).focus()

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        self.action_answer("step" if event.option.id == "step" else "play")

    def action_answer(self, value: WatchAnswer) -> None:
        self.dismiss(value)


def _made(playback: Playback) -> list[str]:
    """How long it is, when and on what it was recorded, and by what."""
    meta = playback.walk.meta
    versions = ", ".join(f"{name} {number}" for name, number in meta.versions.items())
    kind = "SIMULATED GPUs" if meta.simulated else ""
    timeline = playback.player.timeline
    took = timeline.recorded[-1] if timeline.recorded else 0.0
    cut = f"; it took {duration(took)}: silences are shortened" if took > timeline.length + 1 else ""
    lines = [
        f"{counted(len(playback.milestones), 'milestone')}, plays {duration(timeline.length)}{cut}",
        f"recorded {meta.recorded[:16].replace('T', ' ')} on {meta.machine}",
        versions,
        kind,
        meta.provenance,
        f"edited: {', '.join(meta.edited)}" if meta.edited else "",
    ]
    return [safe(line) for line in lines if line]
