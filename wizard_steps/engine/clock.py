"""Time as a seam: real in a live walk, scaled for onboarding, zero in CI."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol


class Clock(Protocol):
    """Time as the engine sees it."""

    def now(self) -> float:
        """Seconds since the walk began."""
        ...

    async def sleep(self, seconds: float) -> None: ...


class RealClock:
    """The wall clock, from when it was made."""

    def __init__(self) -> None:
        self._zero = time.monotonic()

    def now(self) -> float:
        return time.monotonic() - self._zero

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class ZeroClock:
    """Never waits. Sleeping moves the time on at once; a replay moves it to what was recorded."""

    def __init__(self) -> None:
        self._now = 0.0

    def now(self) -> float:
        return self._now

    def reach(self, t: float) -> None:
        """The time is at least ``t`` now."""
        self._now = max(self._now, t)

    async def sleep(self, seconds: float) -> None:
        self._now += max(seconds, 0.0)
        await asyncio.sleep(0)
