"""When the commands of one round end each other, see ``model.Together``."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine

from wizard_steps.engine.clock import Clock, ZeroClock
from wizard_steps.model import Exit, Result, Together


class GroupEnd:
    """``event`` is set when what still runs is to be ended; None where nothing ends anything.

    A replay has the recorded ends, and needs none of this.
    """

    def __init__(self, together: Together | None, clock: Clock) -> None:
        self._together = None if isinstance(clock, ZeroClock) else together
        self._clock = clock
        self.event = asyncio.Event() if self._together else None
        self._timer: asyncio.Task[None] | None = None

    def seen(self, result: Result) -> None:
        """Called with each result, as it comes."""
        rule, event = self._together, self.event
        if rule is None or event is None or result.reason == "cancelled":
            return
        if rule.failed(result):
            self._timer = self._timer or asyncio.create_task(self._later(event, rule.grace))
        elif result.node.name == rule.lead:
            event.set()

    async def _later(self, event: asyncio.Event, grace: float) -> None:
        await self._clock.sleep(grace)
        event.set()

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()


async def unless(halt: asyncio.Event | None, stream: Coroutine[None, None, Exit]) -> Exit:
    """What ``stream`` comes to, or the end that ``halt`` asks for."""
    if halt is None:
        return await stream
    run, stop = asyncio.create_task(stream), asyncio.create_task(halt.wait())
    try:
        await asyncio.wait({run, stop}, return_when=asyncio.FIRST_COMPLETED)
        if run.done():
            return run.result()
        return Exit(-1, "cancelled", "ended with the others of its round")
    finally:
        for task in (run, stop):
            task.cancel()
        await asyncio.gather(run, stop, return_exceptions=True)
