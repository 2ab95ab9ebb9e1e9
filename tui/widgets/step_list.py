"""The milestones, each with symbol, word and time. Arrow keys look at another one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from rich.segment import Segment
from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.strip import Strip

from tui.app.present import short_title
from tui.app.text import STEP_STATES, cut, duration, safe
from tui.widgets.line_view import LineView
from wizard_steps.recording.state import StepState

#: The longest end of a step's line: ``running 59m59s``.
_TAIL = 14


@dataclass(frozen=True, slots=True)
class StepRow:
    """``short`` stands for the title where there is little room."""

    id: str
    title: str
    short: str
    status: str
    time: str


def step_rows(steps: Sequence[StepState], now: float) -> list[StepRow]:
    """What the list says. A step that has not begun has no time."""

    def time(step: StepState) -> str:
        return "" if step.started is None else duration(step.elapsed(now))

    return [StepRow(s.id, safe(s.title), safe(short_title(s.id, s.title)), s.status, time(s)) for s in steps]


class StepList(LineView):
    """One line a step when space is short, else two, and a blank one between if there is room."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "look(-1)", "Step before", show=False),
        Binding("down,j", "look(1)", "Next step", show=False),
        Binding("home", "look(-1000)", "First step", show=False),
        Binding("end", "look(1000)", "Last step", show=False),
    ]
    COMPONENT_CLASSES: ClassVar[set[str]] = {"steps--chosen", "steps--strong"}

    class Chosen(Message):
        """A person wants to look at a step."""

        def __init__(self, step: str) -> None:
            super().__init__()
            self.step = step

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._rows: list[StepRow] = []
        self._shown = ""

    def show_rows(self, rows: list[StepRow], shown: str) -> None:
        if (rows, shown) == (self._rows, self._shown):
            return
        moved = shown != self._shown
        self._rows, self._shown = rows, shown
        self.resized(self.scrollable_content_region.width)
        if moved and self._at() >= 0:
            y = self._at() * self._pitch()
            if not self.scroll_offset.y <= y < self.scroll_offset.y + self.size.height:
                self.scroll_to(y=max(0, y - 2), animate=False, immediate=True)
        self.refresh()

    def on_resize(self) -> None:
        self.resized(self.scrollable_content_region.width)

    def _pitch(self) -> int:
        """Lines per step."""
        return next((n for n in (3, 2) if len(self._rows) * n <= self.size.height), 1)

    def _at(self) -> int:
        return next((n for n, row in enumerate(self._rows) if row.id == self._shown), -1)

    def line_total(self) -> int:
        return len(self._rows) * self._pitch()

    def pieces(self, y: int, width: int) -> list[tuple[str, str]]:
        pitch = self._pitch()
        row, part = self._rows[y // pitch], y % pitch
        symbol, word, style = STEP_STATES[row.status]
        if pitch == 1:
            tail = f"{word} {row.time}".rstrip()
            if len(row.short) + len(tail) + 4 > width and row.time:
                tail = row.time
            room = width - len(tail) - 4
            # One name for all of its life: what is to come leaves the title less room than "to do" does.
            title = row.title if len(row.title) <= width - _TAIL - 4 else row.short
            return [(f"{symbol} ", style), (f"{cut(title, room):<{room}} ", ""), (f"{tail} ", style)]
        if part == 0:
            return [(f"{symbol} ", style), (cut(row.title, width - 3), "")]
        if part == 1:
            return [("  ", ""), (word, style), (f"  {row.time}", "quiet")]
        return [("", "")]

    def render_line(self, y: int) -> Strip:
        strip = super().render_line(y)
        number = y + self.scroll_offset.y
        pitch = self._pitch()
        if number < self.line_total() and number // pitch == self._at() and number % pitch < 2:
            chosen = self.get_component_rich_style("steps--chosen", partial=True)
            return Strip(Segment.apply_style(strip, post_style=chosen))
        return strip

    def plain(self, first: int, count: int) -> list[str]:
        return [f"{STEP_STATES[r.status][1]:<8} {r.time:>6}  {r.title}" for r in self._rows]

    def action_look(self, by: int) -> None:
        at = min(max(self._at() + by, 0), len(self._rows) - 1)
        if self._rows:
            self.post_message(self.Chosen(self._rows[at].id))

    def on_click(self, event: events.Click) -> None:
        at = (event.y + self.scroll_offset.y) // self._pitch()
        if 0 <= at < len(self._rows):
            self.post_message(self.Chosen(self._rows[at].id))
