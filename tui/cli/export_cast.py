"""A recording as asciicast v3, milestones as markers: what a headless walk would have printed, as it came.

The format is https://docs.asciinema.org/manual/asciicast/v3/: a header, then [seconds since the event before,
code, data] a line; code o is output, m a marker, x the exit status.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
from datetime import datetime
from typing import Any

from tui.cli.headless import CODES
from tui.cli.plain import PlainReport
from wizard_steps.recording import events as ev
from wizard_steps.recording.journal import Walk
from wizard_steps.recording.state import State, apply

COLUMNS, ROWS = 110, 32
#: A player shortens pauses to this many seconds.
_IDLE = 2.0
_COLOURS = (
    (re.compile(r"^(PASSED \S+)", re.M), "\x1b[1;32m\\1\x1b[0m"),
    (re.compile(r"^(FAILED \S+)", re.M), "\x1b[1;31m\\1\x1b[0m"),
    (re.compile(r"^(== .*)$", re.M), "\x1b[1;36m\\1\x1b[0m"),
    (re.compile(r"^(   FAIL )", re.M), "\x1b[31m\\1\x1b[0m"),
    (re.compile(r"^(   ok   )", re.M), "\x1b[32m\\1\x1b[0m"),
    (re.compile(r"^(   \S+[$>] )", re.M), "\x1b[2m\\1\x1b[0m"),
)


class _Read:
    """The recorded output, for the report to read."""

    def __init__(self, walk: Walk) -> None:
        self._walk = walk

    def read(self, name: str, start: int = 0, end: int | None = None) -> bytes:
        return self._walk.read(name, start, end or start)

    def append(self, name: str, data: bytes) -> tuple[int, int]:
        raise NotImplementedError

    def close(self) -> None: ...


def cast(walk: Walk) -> str:
    """The whole file as text."""
    printed = io.StringIO()
    report = PlainReport(_Read(walk), printed)
    lines: list[list[Any]] = []
    state, before = State(), 0.0

    def add(t: float, code: str, data: str) -> None:
        nonlocal before
        wait = max(0.0, round(t - before, 3))
        before = round(before + wait, 3)
        lines.append([wait, code, data])

    outcome: ev.Outcome = "error"
    for event in walk.events:
        state = apply(state, event)
        report(event, state)
        if isinstance(event, ev.StepStarted):
            again = f" (attempt {event.attempt})" if event.attempt > 1 else ""
            add(event.t, "m", state.step(event.step).title + again)
        if text := printed.getvalue():
            printed.seek(0)
            printed.truncate()
            add(event.t, "o", _terminal(text))
        if isinstance(event, ev.Judged):
            for note in walk.notes:
                if note.step == event.step and note.kind == "note" and note.attempt in (0, event.attempt):
                    add(event.t, "o", _terminal(f"   note: {note.text}\n"))
        if isinstance(event, ev.WalkEnded):
            outcome = event.outcome
    add(before, "x", str(CODES.get(outcome, 1)))
    rows = [_header(walk), *lines]
    return "".join(json.dumps(row, ensure_ascii=False, separators=(", ", ": ")) + "\n" for row in rows)


def _header(walk: Walk) -> dict[str, Any]:
    title = walk.meta.title or walk.folder.name
    header: dict[str, Any] = {
        "version": 3,
        "term": {"cols": COLUMNS, "rows": ROWS, "type": "xterm-256color"},
        "idle_time_limit": _IDLE,
        "title": f"milepost: {title}" + (" (SIMULATED)" if walk.meta.simulated else ""),
        "command": "milepost --headless",
        "tags": ["milepost"],
    }
    with contextlib.suppress(ValueError):
        header["timestamp"] = int(datetime.fromisoformat(walk.meta.recorded).timestamp())
    return header


def _terminal(text: str) -> str:
    for pattern, colour in _COLOURS:
        text = pattern.sub(colour, text)
    return text.replace("\n", "\r\n")
