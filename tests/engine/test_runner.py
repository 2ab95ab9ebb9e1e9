"""One command under a fake clock: polling, settling, following, limits, cancel."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest

from wizard_steps.engine.clock import RealClock, ZeroClock
from wizard_steps.engine.runner import Runner
from wizard_steps.model import Chunk, Cmd, Exit, Node, Result
from wizard_steps.recording import events as ev
from wizard_steps.recording.redact import Redactor
from wizard_steps.recording.spool import MemorySpool

NODE = Node("a", "gpu-a", "head", 8, "10.0.0.1")


class Timed:
    """Each use takes a second and prints the next of some words."""

    def __init__(self, clock: ZeroClock, *words: str) -> None:
        self.clock, self.words, self.uses = clock, list(words), 0

    async def run(self, node: Node, cmd: Cmd) -> AsyncGenerator[Chunk | Exit]:
        await self.clock.sleep(1)
        word = self.words[min(self.uses, len(self.words) - 1)]
        self.uses += 1
        yield Chunk(word.encode())
        yield Exit(0)

    async def close(self) -> None: ...


def runner(transport, clock) -> tuple[Runner, list]:
    events: list = []
    return Runner(transport, clock, MemorySpool(), events.append, Redactor()), events


def good(result: Result) -> bool:
    return result.text == "good"


async def test_polling_waits_until_it_is_true_and_stays_so() -> None:
    clock = ZeroClock()
    transport = Timed(clock, "bad", "good", "bad", "good")
    made, _ = runner(transport, clock)
    result = await made.run("s", NODE, Cmd("k", "x", until=good, every=4, settle=12, timeout=100))
    assert (result.text, result.reason) == ("good", "exit")
    # bad, good, bad, then good at 16 s and held: 21, 26, 31
    assert transport.uses == 7


async def test_polling_ends_at_its_limit() -> None:
    clock = ZeroClock()
    made, _ = runner(Timed(clock, "bad"), clock)
    result = await made.run("s", NODE, Cmd("k", "x", until=good, every=4, timeout=20))
    assert result.reason == "timeout"
    assert 20 <= clock.now() <= 26


async def test_what_held_and_then_broke_is_not_waited_for_to_the_end() -> None:
    clock = ZeroClock()
    made, _ = runner(Timed(clock, "good", "good", "bad"), clock)
    result = await made.run("s", NODE, Cmd("k", "x", until=good, every=4, settle=30, timeout=500))
    assert (result.text, result.reason) == ("bad", "timeout")
    assert clock.now() < 45


class Hangs(Timed):
    """Its third use says nothing and does not end."""

    async def run(self, node: Node, cmd: Cmd) -> AsyncGenerator[Chunk | Exit]:
        if self.uses == 2:
            await asyncio.sleep(60)
        async for item in super().run(node, cmd):
            yield item


async def test_a_poll_that_ends_in_a_hanging_use_keeps_what_the_use_before_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("wizard_steps.engine.runner.LAST_USE", 0.2)
    clock = ZeroClock()
    made, _ = runner(Hangs(clock, "bad"), clock)
    result = await made.run("s", NODE, Cmd("k", "x", until=good, every=4, timeout=6.1))
    assert (result.text, result.reason) == ("bad", "timeout")


class Endless:
    """Prints for ever; knows whether it was closed."""

    def __init__(self) -> None:
        self.closed = False

    async def run(self, node: Node, cmd: Cmd) -> AsyncGenerator[Chunk | Exit]:
        n = 0
        try:
            while True:
                n += 1
                yield Chunk(f"line {n}\nli".encode())
                yield Chunk(b"ne\n")
                await asyncio.sleep(0.001)
        finally:
            self.closed = True

    async def close(self) -> None: ...


async def test_following_stops_at_the_line_and_ends_the_command() -> None:
    transport = Endless()
    made, _ = runner(transport, RealClock())
    result = await made.run("s", NODE, Cmd("k", "x", stop=lambda line: line == "line 5", timeout=30))
    assert (result.reason, result.code, transport.closed) == ("stopped", 0, True)


async def test_a_limit_ends_the_command() -> None:
    transport = Endless()
    made, events = runner(transport, RealClock())
    result = await made.run("s", NODE, Cmd("k", "x", timeout=0.2))
    assert (result.reason, transport.closed) == ("timeout", True)
    assert isinstance(events[-1], ev.CommandEnded)


async def test_cancelling_ends_the_command_and_says_so() -> None:
    transport = Endless()
    made, events = runner(transport, RealClock())
    task = asyncio.create_task(made.run("s", NODE, Cmd("k", "x", timeout=60)))
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert transport.closed
    assert events[-1].reason == "cancelled"
