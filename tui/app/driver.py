"""A terminal that may be gone at any time: its window closed, its SSH session cut.

Textual 8.2 writes to the terminal in a thread of its own. The first write that fails ends that thread, its
queue fills up, and the app waits for room in it forever: no signal is served, and no lock given back.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import IO, Any

from textual.drivers.linux_driver import LinuxDriver

from tui.app.signs import plain_signs


class TerminalOutput:
    """Text for a terminal; once that fails all text is dropped, and ``gone`` is called, once."""

    def __init__(self, file: IO[str], gone: Callable[[], None]) -> None:
        self._file = file
        self._gone = gone
        self._lost = False

    def write(self, text: str) -> int:
        self._try(self._file.write, text)
        return len(text)

    def flush(self) -> None:
        self._try(self._file.flush)

    def fileno(self) -> int:
        return self._file.fileno()

    def isatty(self) -> bool:
        return self._file.isatty()

    def _try(self, what: Callable[..., object], *words: str) -> None:
        if self._lost:
            return
        try:
            what(*words)
        except (OSError, ValueError):
            self._lost = True
            self._gone()


class TerminalDriver(LinuxDriver):
    """Textual's own, which tells the app to ``leave`` when there is no terminal any more."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        plain_signs(self._file)
        self._file: Any = TerminalOutput(self._file, self._leave)

    def _leave(self) -> None:
        """Called in the thread that writes."""
        leave = getattr(self._app, "leave", None)
        if leave is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(leave)
