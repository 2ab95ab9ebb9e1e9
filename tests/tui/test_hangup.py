"""The terminal is closed, the session is told to end, or an error nobody catches comes while the screen is up:
it leaves, whatever it shows."""

from __future__ import annotations

import errno
import fcntl
import io
import os
import pty
import signal
import struct
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread

import pytest

from tui.app.driver import TerminalOutput
from tui.app.terminal import TerminalApp
from wizard_steps.errors import UsageError
from wizard_steps.recording.events import WalkEnded
from wizard_steps.recording.journal import load

ROOT = Path(__file__).parents[2]
SHOWN = [
    ([], b"set up a cluster"),
    (["--watch", "healthy-bare-metal"], b"Step by step"),
    (["learn"], b"Course"),
]
both = pytest.mark.parametrize("shown", SHOWN, ids=["form", "recording", "course"])


class Screen:
    """milepost on a pseudo-terminal of its own."""

    def __init__(self, words: list[str], folder: Path) -> None:
        self.pid, self._terminal = pty.fork()
        if self.pid == 0:
            os.chdir(folder)
            os.environ.update(TERM="xterm-256color", PYTHONPATH=str(ROOT))
            os.execv(sys.executable, [sys.executable, "-m", "tui.cli.main", *words])
        fcntl.ioctl(self._terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
        self.status: int | None = None

    def until(self, words: bytes) -> None:
        seen = b""
        while words not in seen:
            seen += os.read(self._terminal, 65536)

    def close(self) -> None:
        """What a terminal does when its window is closed."""
        os.close(self._terminal)
        self._terminal = -1

    def drain(self) -> None:
        with suppress(OSError):
            while os.read(self._terminal, 65536):
                pass

    def ended(self, limit: float) -> int:
        """The exit status; an AssertionError when it goes on for ``limit`` seconds."""
        deadline = time.monotonic() + limit
        while time.monotonic() < deadline:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = os.waitstatus_to_exitcode(status)
                return self.status
            time.sleep(0.05)
        raise AssertionError(f"still there {limit:.0f} s later")


@contextmanager
def screen(shown: tuple[list[str], bytes], folder: Path) -> Iterator[Screen]:
    """Up once its second part was drawn."""
    words, wanted = shown
    it = Screen(words, folder)
    try:
        it.until(wanted)
        yield it
    finally:
        if it.status is None:
            os.kill(it.pid, signal.SIGKILL)
            os.waitpid(it.pid, 0)
        if it._terminal >= 0:
            os.close(it._terminal)


@both
def test_a_closed_terminal_ends_it(shown: tuple[list[str], bytes], tmp_path: Path) -> None:
    with screen(shown, tmp_path) as it:
        it.close()
        assert it.ended(30) >= 0, "it leaves by itself, not killed by the signal"


@both
def test_sigterm_ends_it(shown: tuple[list[str], bytes], tmp_path: Path) -> None:
    with screen(shown, tmp_path) as it:
        os.kill(it.pid, signal.SIGTERM)
        Thread(target=it.drain, daemon=True).start()
        assert it.ended(30) >= 0


def test_a_terminal_that_fails_tells_once_and_takes_no_more() -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(errno.EIO, "Input/output error")

    told: list[str] = []
    output = TerminalOutput(Gone(), lambda: told.append("gone"))
    for _ in range(100):
        output.write("frame")
        output.flush()
    assert told == ["gone"]


@pytest.mark.lab
def test_a_terminal_closed_in_mid_walk_leaves_a_whole_recording(tmp_path: Path) -> None:
    with screen((["--lab", "--yes", "--walk", str(tmp_path / "w")], b"of 13 passed"), tmp_path) as it:
        it.close()
        assert it.ended(60) == 130
    last = load(tmp_path / "w").events[-1]
    assert isinstance(last, WalkEnded)
    assert last.outcome == "interrupted"


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (UsageError("the walk\x1b]2;x\x07 is damaged"), 2, "milepost: the walk"),
        (
            RuntimeError("no such widget"),
            1,
            "Something went wrong in milepost itself: RuntimeError: no such widget",
        ),
    ],
    ids=["expected", "unexpected"],
)
def test_an_error_of_the_screen_is_a_sentence(
    error: Exception, code: int, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not a traceback: Textual's own has the local variables, and so perhaps a key."""

    class Failing(TerminalApp[int]):
        def on_mount(self) -> None:
            self.call_later(self.fail)

        def fail(self) -> None:
            key = "hunter2hunter2"
            assert key
            raise error

    app = Failing()
    assert app.run(headless=True) == app.return_code == code
    said = capsys.readouterr().err
    assert says in " ".join(said.split())
    for word in ("Traceback", "hunter2", "\x1b]", "\x07"):
        assert word not in said
