"""An app whose terminal may be closed, and whose session may be told to end: it leaves."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import signal
import sys
from collections.abc import Iterator
from typing import Any, TypeVar

from textual.app import App
from textual.driver import Driver

T = TypeVar("T")


@contextlib.contextmanager
def gone_terminal() -> Iterator[None]:
    """The last words find no terminal when it was closed: nobody is there to miss them."""
    try:
        yield
    except OSError as error:
        if error.errno != errno.EIO:
            raise


class TerminalApp(App[T]):
    """Subclasses say how to ``leave``, and call ``heed_signals`` once they are mounted."""

    def run(self, **options: Any) -> Any:
        """As Textual's; None when the terminal went away at the end."""
        with gone_terminal():
            return super().run(**options)
        return None

    def leave(self) -> None:
        raise NotImplementedError

    def heed_signals(self) -> None:
        with contextlib.suppress(NotImplementedError, ValueError, RuntimeError):
            for sign in (signal.SIGTERM, signal.SIGHUP):
                asyncio.get_running_loop().add_signal_handler(sign, self.leave)

    def get_driver_class(self) -> type[Driver]:
        found = super().get_driver_class()
        if sys.platform == "win32":
            return found
        from textual.drivers.linux_driver import LinuxDriver

        from tui.app.driver import TerminalDriver

        return TerminalDriver if found is LinuxDriver else found
