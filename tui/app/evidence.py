"""The picture of every passed gate: the screen holds a passed step until its picture is taken."""

from __future__ import annotations

import asyncio
from collections import deque

from wizard_steps.recording import events as ev
from wizard_steps.recording.journal import Journal
from wizard_steps.recording.state import State


class EvidenceFiles:
    """A queue of passed steps that still have to be shown and pictured, oldest first."""

    def __init__(self) -> None:
        self._due: deque[tuple[str, str]] = deque()
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def held(self) -> str:
        """The step that has to be on show now; "" when none has."""
        return self._due[0][0] if self._due else ""

    def note(self, event: ev.AnyEvent, state: State) -> bool:
        """Take notice of an event; whether it was a passed gate."""
        if not isinstance(event, ev.Judged) or not event.verdict.passed:
            return False
        number = next(n for n, step in enumerate(state.steps, 1) if step.id == event.step)
        self._due.append((event.step, f"{number:02d}-{event.step}"))
        self._idle.clear()
        return True

    def keep(self, journal: Journal, picture: str) -> None:
        """Store the picture of the step on show and go on to the next. Raises WalkError on a full disk."""
        _, name = self._due[0]
        self.drop()
        journal.evidence(f"{name}.svg", picture)

    def drop(self) -> None:
        """Go on to the next without a picture."""
        if self._due:
            self._due.popleft()
        if not self._due:
            self._idle.set()

    async def idle(self, limit: float) -> None:
        """Returns when every picture is taken, or after ``limit`` seconds."""
        try:
            async with asyncio.timeout(limit):
                await self._idle.wait()
        except TimeoutError:
            return
