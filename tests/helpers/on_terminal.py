"""`milepost` with its screen, on a terminal of its own (a pty), as a person runs it."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType

from tests.helpers.headless_help import ROOT

#: Columns and rows.
SIZE = (100, 30)
LIMIT = 120.0


class OnTerminal:
    """``screen``: all that it has written so far. It is killed at the end, if it has not ended."""

    def __init__(self, words: Sequence[str], folder: Path) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", SIZE[1], SIZE[0], 0, 0))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tui.cli.main", *words],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm-256color"},
            start_new_session=True,
        )
        os.close(slave)
        os.set_blocking(self._master, False)
        self.screen = b""

    def __enter__(self) -> OnTerminal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        os.close(self._master)

    @property
    def ended(self) -> bool:
        return self.process.poll() is not None

    def kill(self) -> None:
        if not self.ended:
            os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def type(self, keys: bytes) -> None:
        os.write(self._master, keys)

    def read(self) -> None:
        """Take what it has written: a terminal that nobody reads stops the one who writes."""
        with contextlib.suppress(OSError):
            while data := os.read(self._master, 65536):
                self.screen += data

    async def until(self, found: Callable[[], bool], what: str) -> None:
        """Read on until ``found``. Raises TimeoutError that names ``what``, with the end of the screen."""
        loop = asyncio.get_running_loop()
        end = loop.time() + LIMIT
        while not found():
            self.read()
            if loop.time() > end:
                raise TimeoutError(f"{what} did not come; on the screen: {self.screen[-3000:]!r}")
            await asyncio.sleep(0.05)
