"""Where a walk waits for a person between two milestones."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

from wizard_steps.engine.step import Step


class Pauses:
    """``every``: before each milestone. ``before``: before these (ids), whatever ``every`` says."""

    def __init__(self, every: bool = False, before: Collection[str] = ()) -> None:
        self.every = every
        self.before = frozenset(before)
        self._next: Step | None = None
        self._go = asyncio.Event()

    @property
    def next(self) -> Step | None:
        """The milestone that waits for a key, None while nothing waits."""
        return self._next

    async def wait(self, step: Step) -> None:
        """Returns at once, or when the person goes on."""
        if not self.every and step.id not in self.before:
            return
        self._next = step
        self._go.clear()
        try:
            await self._go.wait()
        finally:
            self._next = None

    def go(self) -> None:
        """Go on with the milestone that waits."""
        self._go.set()

    def toggle(self) -> bool:
        """Pause before every milestone, or no longer (then what waits goes on); whether it pauses now."""
        self.every = not self.every
        if not self.every and (self._next is None or self._next.id not in self.before):
            self.go()
        return self.every
