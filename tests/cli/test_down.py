"""`milepost down`: every command's stream is closed, whichever way it ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest

from tui.cli.down import NOTHING, Ended, one
from wizard_steps.model import Chunk, Cmd, Exit, Node


class Host:
    def __init__(self, hangs: bool = False) -> None:
        self.hangs = hangs
        self.closed = False

    async def run(self, node: Node, cmd: Cmd) -> AsyncGenerator[Chunk | Exit]:
        try:
            yield Chunk(b"ended 3 processes\n")
            if self.hangs:
                await asyncio.sleep(60)
            yield Exit(0)
        finally:
            await asyncio.sleep(0)
            self.closed = True

    async def close(self) -> None: ...


async def test_a_stream_is_closed_after_its_exit(capsys: pytest.CaptureFixture[str]) -> None:
    host = Host()
    assert await one(host, Node("a", "a"), Cmd("stop", "true"))
    assert host.closed
    assert capsys.readouterr().out == "a: ended 3 processes\n"


async def test_a_stream_is_closed_when_its_time_is_up(capsys: pytest.CaptureFixture[str]) -> None:
    host = Host(hangs=True)
    assert not await one(host, Node("a", "a"), Cmd("stop", "true", timeout=0.01))
    assert host.closed
    assert capsys.readouterr().out == "a: no answer within 0 s\n"


def test_nothing_of_ours_is_said_only_where_nothing_was_ended(capsys: pytest.CaptureFixture[str]) -> None:
    ended = Ended()
    for node, words in (("a", NOTHING[0]), ("b", NOTHING[1]), ("a", "ended 1 process"), ("b", NOTHING[0])):
        ended.say(node, "vllm serve", words)
    ended.close()
    assert capsys.readouterr().out == "a: vllm serve: ended 1 process\nb: nothing of ours runs\n"
