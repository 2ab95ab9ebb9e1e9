"""Cleaning on the way: whatever one node sends, everybody else has their turn in between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from wizard_steps.model import Chunk, Cmd, Exit, Node
from wizard_steps.recording.redact import Redactor
from wizard_steps.transport.cleaned import PIECE, Cleaned


class Flood:
    """One huge piece of output, and an exit whose words act on a terminal."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    async def run(self, node: Node, cmd: Cmd) -> AsyncIterator[Chunk | Exit]:
        yield Chunk(self._data)
        yield Exit(-1, "lost", "gone \x1b]52;c;eA==\x07with hunter2-hunter2\u202e")

    async def close(self) -> None: ...


@pytest.mark.parametrize("text", ["\x9d", "\r", "\n", "1", "eyJ", "password: ", "\x1b]"])
async def test_others_have_their_turn_while_a_flood_is_cleaned(text: str) -> None:
    turns, size = 0, 16 * PIECE

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    data = (text * (size // len(text.encode()) + 1)).encode()[:size]
    async for _ in Cleaned(Flood(data), Redactor(["hunter2-hunter2"])).run(Node("a", "a"), Cmd("k", "x")):
        pass
    task.cancel()
    assert turns >= size // PIECE - 1


async def test_how_a_command_ended_is_told_in_harmless_words() -> None:
    items = [
        item
        async for item in Cleaned(Flood(b""), Redactor(["hunter2-hunter2"])).run(
            Node("a", "a"), Cmd("k", "x")
        )
    ]
    assert items == [Exit(-1, "lost", "gone ]52;c;eA==with [REDACTED]")]
