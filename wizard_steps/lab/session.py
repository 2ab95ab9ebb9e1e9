"""One SSH channel of a lab server: a command (or a shell) as a subprocess in a session of its own.

Like OpenSSH: the channel ends when the command has ended and its output is closed. Signals reach the
command's whole process group. A channel that closes early hangs that group up (SIGHUP).
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import signal
import struct
import sys
import termios
from asyncio.subprocess import PIPE, Process
from collections.abc import Mapping, Sequence

import asyncssh

CHUNK = 65536
#: Bytes that may wait for a command to read its standard input before the client is told to pause.
STDIN_LIMIT = 262144
_CLIENT_ENV = ("LANG", "LC_", "TERM")
_WITH_TTY = (
    "import fcntl, os, sys, termios\n"
    "fcntl.ioctl(0, termios.TIOCSCTTY, 0)\n"
    "os.execvp(sys.argv[1], sys.argv[1:])\n"
)


class CommandSession(asyncssh.SSHServerSession[bytes]):
    """``env`` is a command's whole environment, HOME where it begins; ``before``: words before each."""

    def __init__(
        self, env: Mapping[str, str], tasks: set[asyncio.Task[None]], before: Sequence[str] = ()
    ) -> None:
        self._env = dict(env)
        self._before = before
        self._tasks = tasks
        self._command: str | None = None
        self._terminal: int | None = None
        self._process: Process | None = None
        self._writable = asyncio.Event()
        self._writable.set()
        self._early: list[bytes] = []
        self._eof = False
        self._size = (80, 24)

    def connection_made(self, chan: asyncssh.SSHServerChannel[bytes]) -> None:
        self._chan = chan

    def pty_requested(
        self, term_type: str, term_size: tuple[int, int, int, int], term_modes: Mapping[int, int]
    ) -> bool:
        self._env["TERM"] = term_type or "dumb"
        self._size = term_size[:2]
        self._terminal = -1
        return True

    def shell_requested(self) -> bool:
        return True

    def exec_requested(self, command: str) -> bool:
        self._command = command
        return True

    def session_started(self) -> None:
        for name, value in self._chan.get_environment().items():
            if name.startswith(_CLIENT_ENV):
                self._env[name] = value
        task = asyncio.create_task(self._run())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self) -> None:
        try:
            if self._terminal is None:
                await self._with_pipes()
            else:
                await self._with_terminal()
        except OSError as error:
            self._write(f"lab: cannot run a shell: {error}\n".encode(), asyncssh.EXTENDED_DATA_STDERR)
            self._chan.exit(126)

    def _argv(self) -> list[str]:
        shell = ["-c", self._command] if self._command is not None else ["-i"]
        return [*self._before, "/bin/sh", *shell]

    async def _with_pipes(self) -> None:
        process = await asyncio.create_subprocess_exec(
            *self._argv(),
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
            env=self._env,
            cwd=self._env["HOME"],
            start_new_session=True,
            limit=CHUNK,
        )
        self._started(process)
        assert process.stdout is not None
        assert process.stderr is not None
        await asyncio.gather(
            self._pump(process.stdout, None), self._pump(process.stderr, asyncssh.EXTENDED_DATA_STDERR)
        )
        self._finish(await process.wait())

    async def _with_terminal(self) -> None:
        master, slave = os.openpty()
        self._terminal = master
        self._resize(*self._size)
        try:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", "-c", _WITH_TTY, *self._argv()),
                stdin=slave,
                stdout=slave,
                stderr=slave,
                env=self._env,
                cwd=self._env["HOME"],
                start_new_session=True,
            )
        finally:
            os.close(slave)
        self._started(process)
        reader = asyncio.StreamReader(limit=CHUNK)
        pipe = os.fdopen(os.dup(master), "rb", 0)
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), pipe)
        # Linux ends a terminal's output with an I/O error instead of end of file.
        with contextlib.suppress(OSError):
            await self._pump(reader, None)
        self._terminal = None
        os.close(master)
        self._finish(await process.wait())

    def _started(self, process: Process) -> None:
        self._process = process
        if self._chan.is_closing():
            self._signal(signal.SIGHUP)
        for data in self._early:
            self.data_received(data, None)
        self._early.clear()
        if self._eof:
            self.eof_received()

    async def _pump(self, reader: asyncio.StreamReader, datatype: int | None) -> None:
        while data := await reader.read(CHUNK):
            await self._writable.wait()
            self._write(data, datatype)

    def _write(self, data: bytes, datatype: int | None) -> None:
        # A client that has gone is no reason to stop reading: the command would block for ever.
        with contextlib.suppress(BrokenPipeError, OSError):
            self._chan.write(data, datatype)

    def _finish(self, code: int) -> None:
        with contextlib.suppress(OSError):
            if code < 0:
                self._chan.exit_with_signal(signal.Signals(-code).name.removeprefix("SIG"))
            else:
                self._chan.exit(code)

    def data_received(self, data: bytes, datatype: int | None) -> None:
        if self._process is None:
            self._early.append(data)
        elif self._terminal is not None:
            os.write(self._terminal, data)
        elif self._process.stdin is not None and not self._process.stdin.is_closing():
            self._process.stdin.write(data)
            if self._process.stdin.transport.get_write_buffer_size() > STDIN_LIMIT:
                self._chan.pause_reading()
                self._tasks.add(task := asyncio.create_task(self._drain(self._process.stdin)))
                task.add_done_callback(self._tasks.discard)

    async def _drain(self, stdin: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            await stdin.drain()
        if not self._chan.is_closing():
            self._chan.resume_reading()

    def eof_received(self) -> bool:
        self._eof = True
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
        return True

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def signal_received(self, signal: str) -> None:
        number = _NUMBERS.get(signal)
        if number is not None:
            self._signal(number)

    def break_received(self, msec: int) -> bool:
        self._signal(signal.SIGINT)
        return True

    def terminal_size_changed(self, width: int, height: int, pixwidth: int, pixheight: int) -> None:
        self._resize(width, height)

    def _resize(self, width: int, height: int) -> None:
        if self._terminal is not None and self._terminal >= 0:
            fcntl.ioctl(self._terminal, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))

    def connection_lost(self, exc: Exception | None) -> None:
        self._writable.set()
        self._signal(signal.SIGHUP)

    def _signal(self, number: signal.Signals) -> None:
        """To the command's whole group. A command that has ended leaves its group to whoever it started."""
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, number)


_NUMBERS = {number.name.removeprefix("SIG"): number for number in signal.Signals}
