"""One session of a connection: opened when the server lets it, read without piling up, ended for certain."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress

import asyncssh

from wizard_steps.model import Chunk
from wizard_steps.transport.local import LINGER, READ
from wizard_steps.transport.ssh_connect import Connection
from wizard_steps.transport.ssh_shell import GRACE

#: Seconds a node gets to end a command after it was told to.
ENDING = GRACE + 1.5
#: Seconds between tries to open a session. OpenSSH counts one that was just closed until its next round, so a
#: busy server refuses although no more than MaxSessions are open.
REFUSED = (0.05, 0.1, 0.2, 0.4, 0.8)

#: Bytes of one command's output that wait to be read; more than twice asyncssh's window of 2 MiB.
UNREAD = 6 * 2**20

Process = asyncssh.SSHClientProcess[bytes]


class _Bounded(asyncssh.SSHClientProcess[bytes]):
    """Output that nobody has read yet stays below UNREAD, however fast a node sends.

    asyncssh grants the server a whole new window as soon as reading resumes, even when it still holds the
    last one; resuming with every read would pile up all that a node can send. So reading resumes only when
    everything is read.
    """

    def _should_pause_reading(self) -> bool:
        return self._recv_buf_len > 0 if self._read_paused else self._recv_buf_len >= UNREAD


async def session(connection: Connection, command: str, opened: list[Process]) -> Process:
    """``opened`` is filled once the server may know the command: it must not be sent again then."""

    def factory() -> Process:
        opened.append(_Bounded())
        return opened[0]

    for pause in (*REFUSED, None):
        try:
            await connection.create_session(
                factory,
                command,
                encoding=None,
                request_pty=False,
                x11_forwarding=False,
                env=None,
                send_env=None,
            )
        except asyncssh.ChannelOpenError:
            if opened or pause is None:
                raise
            await asyncio.sleep(pause)
        else:
            break
    return opened[0]


def close_late(opening: asyncio.Task[Process]) -> None:
    """Close a session that came to be after its command was given up: its node ends it then."""
    if not opening.cancelled() and opening.exception() is None:
        opening.result().close()


async def last_words(process: Process) -> bytes:
    """What a login shell that has ended said on standard error; a command's own comes with its output."""
    with suppress(Exception):
        async with asyncio.timeout(1):
            return await process.stderr.read(READ)
    return b""


async def output(process: Process) -> AsyncGenerator[Chunk]:
    """All output until the channel ends, or until the command has ended and nothing comes any more.

    OpenSSH tells the exit status before it sends what it read last, so the silence that counts begins
    after the status: one that began before says nothing.
    """
    reading: asyncio.Task[bytes] | None = None
    ended = False
    try:
        while True:
            reading = reading or asyncio.create_task(process.stdout.read(READ))
            done, _ = await asyncio.wait([reading], timeout=LINGER)
            if not done:
                if ended:
                    return
                ended = process.returncode is not None
                continue
            try:
                data = reading.result()
            except Exception:
                return
            reading = None
            if not data:
                return
            yield Chunk(data)
    finally:
        if reading is not None:
            reading.cancel()


async def end_session(process: Process) -> None:
    """Have the node end what still runs: EOF tells its watchdog. Then close the channel."""
    if process.returncode is None and not process.is_closing():
        process.stdin.write_eof()
        try:
            async with asyncio.timeout(ENDING):
                while await process.stdout.read(READ):
                    pass
                await process.wait_closed()
        except Exception:
            pass
    process.close()
