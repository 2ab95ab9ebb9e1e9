"""Runs commands on the wizard's own machine: the last check has to come from outside the cluster."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncGenerator, Mapping

from wizard_steps.model import Chunk, Cmd, Exit

READ = 65536
#: Seconds between TERM and KILL.
GRACE = 1.0
#: Once the command has ended, its output ends too after this many silent seconds: a process that it left
#: behind may hold the pipe open.
LINGER = 2.0


async def run_local(cmd: Cmd, environment: Mapping[str, str] | None = None) -> AsyncGenerator[Chunk | Exit]:
    """``sh -c`` in a session of its own. ``environment`` is added to the wizard's own.

    MILEPOST_PYTHON is the Python that runs the wizard. Closing the iterator ends the whole process group.
    """
    variables = {**os.environ, "MILEPOST_PYTHON": sys.executable, **(environment or {})}
    # Pipes of our own: asyncio's wait() for the process would also wait for everybody who holds its pipes.
    output, inlet = os.pipe()
    source, feed = os.pipe()
    try:
        process = await asyncio.create_subprocess_exec(
            *("/bin/sh", "-c", cmd.text),
            stdin=source,
            stdout=inlet,
            stderr=inlet,
            env=variables,
            start_new_session=True,
        )
    except BaseException as error:
        os.close(output)
        os.close(feed)
        if not isinstance(error, OSError | ValueError):
            raise
        yield Exit(code=-1, reason="lost", detail=f"The command cannot be started on this machine: {error}")
        return
    finally:
        os.close(inlet)
        os.close(source)
    ended = asyncio.create_task(process.wait())
    feeder = asyncio.create_task(_feed(feed, cmd.stdin.encode()))
    pipe: asyncio.ReadTransport | None = None
    try:
        reader, pipe = await _reader(output)
        while data := await _read(reader, ended):
            yield Chunk(data)
        code = await ended
        yield Exit(code=code if code >= 0 else 128 - code)
    finally:
        feeder.cancel()
        if pipe is not None:
            pipe.close()
        if not ended.done():
            await asyncio.shield(_end_group(process.pid, ended))


async def _reader(descriptor: int) -> tuple[asyncio.StreamReader, asyncio.ReadTransport]:
    reader = asyncio.StreamReader(limit=READ)
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(descriptor, "rb", 0)
    )
    return reader, transport


async def _feed(descriptor: int, data: bytes) -> None:
    """Write all of it, then end the input. A command that does not read ends this too."""
    loop = asyncio.get_running_loop()
    os.set_blocking(descriptor, False)
    rest = memoryview(data)
    try:
        while rest:
            try:
                rest = rest[os.write(descriptor, rest) :]
            except BlockingIOError:
                ready = loop.create_future()
                loop.add_writer(descriptor, _wake, ready)
                try:
                    await ready
                finally:
                    loop.remove_writer(descriptor)
    except BrokenPipeError:
        pass
    finally:
        os.close(descriptor)


def _wake(waiting: asyncio.Future[None]) -> None:
    if not waiting.done():
        waiting.set_result(None)


async def _read(stream: asyncio.StreamReader, ended: asyncio.Task[int]) -> bytes:
    """The next output; empty at its end, or when the command has ended and nothing comes any more."""
    reading = asyncio.ensure_future(stream.read(READ))
    try:
        await asyncio.wait([reading, ended], return_when=asyncio.FIRST_COMPLETED)
        if not reading.done():
            await asyncio.wait([reading], timeout=LINGER)
        return reading.result() if reading.done() else b""
    finally:
        if not reading.done():
            reading.cancel()


async def _end_group(group: int, ended: asyncio.Task[int]) -> None:
    """TERM the group, KILL what is left of it after GRACE seconds."""
    if not _signal(group, signal.SIGTERM):
        return
    if await _gone(group, ended):
        return
    _signal(group, signal.SIGKILL)
    await ended
    await _gone(group, ended)


async def _gone(group: int, ended: asyncio.Task[int]) -> bool:
    """Whether the group ends within GRACE seconds."""
    loop = asyncio.get_running_loop()
    until = loop.time() + GRACE
    while loop.time() < until:
        if ended.done() and not _signal(group, 0):
            return True
        await asyncio.sleep(0.02)
    return False


def _signal(group: int, number: int) -> bool:
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True
