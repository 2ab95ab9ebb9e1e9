"""An app whose terminal may be closed, and whose session may be told to end: it leaves."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import signal
import sys
from collections.abc import Iterator
from typing import Any, ClassVar, TypeVar

from rich.text import Text
from textual.app import App
from textual.binding import Binding, BindingType
from textual.driver import Driver
from textual.events import DescendantFocus
from textual.widget import Widget
from textual.widgets import Input, Markdown
from textual.widgets._toast import ToastRack

from tui.app import themes
from tui.app.glossary import of_link
from tui.app.text import safe
from tui.app.themes import BASIC, DARK, LIGHT
from tui.screens.words import WordsScreen
from wizard_steps.errors import MilepostError
from wizard_steps.recording.redact import Redactor

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

    #: The list of words; F4 is for screens whose fields take the question mark.
    WORDS_KEYS = "question_mark,f4"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(WORDS_KEYS, "words", "Words", show=False),
        # The arrows of those who do not leave the home row; in a field they are letters.
        Binding("j", "simulate_key('down')", "Down", show=False),
        Binding("k", "simulate_key('up')", "Up", show=False),
    ]
    #: Whether the theme that is chosen is kept for the next time.
    remembers = False
    _titled = ""

    def action_words(self, wanted: str = "") -> None:
        if not isinstance(self.screen, WordsScreen):
            self.push_screen(WordsScreen(getattr(self.screen, "prose", ""), wanted))

    def on_markdown_link_clicked(self, event: Markdown.LinkClicked) -> None:
        if word := of_link(event.href):
            self.action_words(word)

    def on_descendant_focus(self, event: DescendantFocus) -> None:
        self.call_after_refresh(self._keep_clear, event.widget)

    def _keep_clear(self, field: Widget) -> None:
        """Messages come in the half of the screen in which nothing is typed."""
        low = isinstance(field, Input) and field.region.y < self.size.height // 2
        for rack in self.screen.query(ToastRack):
            rack.set_class(low, "-low")

    def action_ask_quit(self) -> None:
        """Of a dialog's Ctrl+C. An app that has something to lose asks first."""
        self.leave()

    def leave(self) -> None:
        raise NotImplementedError

    def _fatal_error(self) -> None:
        """An error that no handler caught ends the app with a sentence and the exit status of its kind.

        Textual's own answer is a traceback with the local variables, which may hold a secret.
        """
        error = self._exception or Exception()
        if isinstance(error, MilepostError):
            code, words = error.code, str(error)
        else:
            code, words = 1, f"Something went wrong in milepost itself: {self.crashed(error)}"
        self._return_code = code
        self._return_value = code  # type: ignore[assignment]  # what ``exit`` gives these apps
        self._exit_renderables[:] = [Text(safe(f"milepost: {words}"))]
        self._close_messages_no_wait()

    def crashed(self, error: Exception) -> str:
        """What to say of an error that is none of ours."""
        return Redactor.from_environment().text(f"{type(error).__name__}: {error}")

    def title_terminal(self, words: str) -> None:
        """The title of the terminal's window, set when it changes (OSC 2)."""
        if words != self._titled:
            self._titled = words
            self._write(f"\x1b]2;{safe(words)}\x07")

    def tell_desktop(self, words: str) -> None:
        """A message of the desktop, from terminals that know OSC 9; others show nothing."""
        self._write(f"\x1b]9;milepost: {safe(words)[:200]}\x07")

    def _write(self, sequence: str) -> None:
        if self._driver is not None and self.remembers:
            self._driver.write(sequence)

    def choose_theme(self) -> None:
        """Ours beside Textual's; the one that was chosen last, else one that the terminal can show."""
        for theme in (DARK, LIGHT, BASIC):
            self.register_theme(theme)
        few = self.console.color_system in ("standard", "256", "windows")
        kept = themes.remembered() if self.remembers else ""
        usual = BASIC if few and self.remembers else DARK
        self.theme = kept if kept in self.available_themes else usual.name
        if self.remembers:
            self.theme_changed_signal.subscribe(self, lambda theme: themes.remember(theme.name))

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
