"""Files of the wizard's machine on their way into a command's standard input, see ``Cmd.feed``."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import asyncssh

from wizard_steps.files import open_plain

#: Bytes that are read and sent at a time.
BLOCK = 1 << 18

Piece = tuple[str, int, int]


def pieces(files: Sequence[tuple[str, int]]) -> list[Piece]:
    """(path, offset, bytes from there on). Raises OSError for a file that is not there."""
    return [(path, at, max(os.stat(path).st_size - at, 0)) for path, at in files]


@asynccontextmanager
async def feeding(process: asyncssh.SSHClientProcess[bytes], files: Sequence[Piece]) -> AsyncIterator[None]:
    """Feeds the process meanwhile."""
    task = asyncio.create_task(_feed(process, files)) if files else None
    try:
        yield
    finally:
        if task is not None:
            task.cancel()
            await asyncio.wait([task])


async def _feed(process: asyncssh.SSHClientProcess[bytes], files: Sequence[Piece]) -> None:
    """Exactly what was announced. Where that cannot be had, the input ends early: the command sees that."""
    with suppress(Exception):
        for path, at, left in files:
            with open_plain(Path(path), links=True) as file:  # a pipe would hold up all else
                file.seek(at)
                while left:
                    data = await asyncio.to_thread(file.read, min(BLOCK, left))
                    if not data:
                        process.stdin.write_eof()
                        return
                    process.stdin.write(data)
                    await process.stdin.drain()
                    left -= len(data)
        return
    with suppress(Exception):
        process.stdin.write_eof()
