"""Where the playing of a recording stands: its pace, its pauses, what it waits for. No screen in here."""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_right
from collections.abc import Callable, Sequence

from wizard_steps.recording import events as ev

SPEEDS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
#: A recorded pause is never played longer than this (seconds, at speed 1).
CAP = 2.0
#: How long a verdict stays on show at least (seconds, at speed 1): what a script answered at once, a person
#: must have the time to read.
PASSED, FAILED = 0.8, 5.0


def _linger(event: ev.AnyEvent) -> float:
    if isinstance(event, ev.Judged):
        return PASSED if event.verdict.passed else FAILED
    return 0.0


class Timeline:
    """Recorded times to playing times: the same, but pauses are capped and verdicts linger."""

    def __init__(self, events: Sequence[ev.AnyEvent], cap: float = CAP) -> None:
        self.recorded: list[float] = []
        self.played: list[float] = []
        before = at = linger = 0.0
        for event in events:
            t = max(event.t, before)
            at += max(min(t - before, cap), linger)
            self.recorded.append(t)
            self.played.append(at)
            before, linger = t, _linger(event)

    @property
    def length(self) -> float:
        """Seconds at speed 1."""
        return self.played[-1] if self.played else 0.0

    def recorded_at(self, played: float) -> float:
        """The recorded time that a playing time stands for."""
        after = bisect_right(self.played, played)
        if after == 0:
            return 0.0
        if after == len(self.played):
            return self.recorded[-1]
        low, high = self.played[after - 1], self.played[after]
        share = (played - low) / (high - low)
        start = self.recorded[after - 1]
        return start + share * (self.recorded[after] - start)


class Player:
    """Where the playing stands and how it goes on. Every method may be called at any time by a key."""

    def __init__(self, timeline: Timeline, now: Callable[[], float] = time.monotonic) -> None:
        self.timeline = timeline
        self.speed = 1.0
        self.paused = False
        self.question = ""
        self._now = now
        self._at = 0.0
        self._since = now()
        self._changed = asyncio.Event()
        self.target: int | None = None

    @property
    def running(self) -> bool:
        return not self.paused and not self.question

    @property
    def at(self) -> float:
        """Playing seconds from the beginning, at speed 1."""
        gone = (self._now() - self._since) * self.speed if self.running else 0.0
        return min(self._at + gone, self.timeline.length)

    def toggle(self) -> None:
        """Play or pause; at a question: show the answer."""
        if self.question:
            self.answer()
        else:
            self._set(paused=not self.paused)

    def answer(self) -> None:
        """The person has thought about it; go on."""
        self._set(question="", paused=False)

    def faster(self, by: int) -> None:
        """One step up or down the list of speeds."""
        place = SPEEDS.index(self.speed) + by
        self._set(speed=SPEEDS[max(0, min(place, len(SPEEDS) - 1))])

    def seek(self, index: int) -> None:
        """Go to an event of the recording; playing or paused as before."""
        self._set(question="")
        self.target = index

    def hold(self, question: str) -> None:
        self._set(question=question)

    def _set(self, **changes: object) -> None:
        self._at, self._since = self.at, self._now()
        for name, value in changes.items():
            setattr(self, name, value)
        self._changed.set()

    def arrived(self, played: float) -> None:
        """The playing stands at ``played`` seconds now."""
        self._at, self._since = played, self._now()

    async def until(self, played: float) -> bool:
        """Wait until the playing gets there. False when a seek came first."""
        while self.target is None:
            left = (played - self.at) / self.speed
            if self.running and left <= 0:
                return True
            self._changed.clear()
            await self._wait(left if self.running else None)
        return False

    async def while_held(self) -> None:
        """Wait until the question is answered, or a seek."""
        while self.question and self.target is None:
            self._changed.clear()
            await self._wait(None)

    async def for_seek(self) -> None:
        """Wait for a seek: the recording is over."""
        while self.target is None:
            self._changed.clear()
            await self._wait(None)

    async def _wait(self, seconds: float | None) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        except TimeoutError:
            return


class PlayClock:
    """The recorded time the playing stands at: what the screen shows as elapsed is what elapsed then."""

    def __init__(self, player: Player) -> None:
        self._player = player

    def now(self) -> float:
        return self._player.timeline.recorded_at(self._player.at)
