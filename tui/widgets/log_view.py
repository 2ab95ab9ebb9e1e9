"""The live log: follows the end until the reader scrolls up. Draws from the spool, keeps nothing."""

from __future__ import annotations

from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.message import Message
from textual.reactive import reactive

from tui.tui_log import LogDoc, LogLine
from tui.widgets.line_view import LineView

_STYLES = {"command": "command", "good": "good", "bad": "bad", "note": "quiet", "output": ""}


class LogView(LineView):
    """Shows a LogDoc. ``refresh_doc`` is called by the screen's timer, never once per event."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("end,G", "follow", "Follow", show=False)]

    following: reactive[bool] = reactive(True)
    wanted: reactive[str] = reactive("")

    class Moved(Message):
        """The log scrolled, grew, or began or ceased to follow."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._doc: LogDoc | None = None
        self._width = 1
        self._page: dict[int, LogLine] = {}
        self._own_scroll = False
        self._hit = -1

    @property
    def doc(self) -> LogDoc | None:
        return self._doc

    def show_doc(self, doc: LogDoc) -> None:
        """Look at a log; one that is new here is followed from its end."""
        if doc is not self._doc:
            self._doc, self._width, self._hit = doc, 1, -1
            self._page.clear()
            self.following = True
        self.refresh_doc()

    def refresh_doc(self) -> None:
        """Take in what was written since; bounded work, however much that is."""
        if self._doc is None:
            return
        self._doc.catch_up()
        self._page.clear()
        self._own_scroll = True
        self.resized(self._width)
        if self.following and not self.is_vertical_scrollbar_grabbed:
            self.scroll_to(y=self.max_scroll_y, animate=False, immediate=True)
        self._own_scroll = False
        self.refresh()
        self.post_message(self.Moved())

    def line_total(self) -> int:
        return 0 if self._doc is None else len(self._doc)

    def pieces(self, y: int, width: int) -> list[tuple[str, str]]:
        line = self._line(y)
        self._widen(len(line.text) + 2)
        if y == self._hit and self.wanted:
            at = line.text.lower().find(self.wanted.lower())
            if at >= 0:
                end = at + len(self.wanted)
                style = _STYLES[line.kind]
                return [(line.text[:at], style), (line.text[at:end], "hit"), (line.text[end:], style)]
        return [(line.text, _STYLES[line.kind])]

    def _line(self, y: int) -> LogLine:
        if y not in self._page and self._doc is not None:
            height = max(1, self.size.height)
            first = min(y, self.scroll_offset.y) if y - self.scroll_offset.y < height else y
            if len(self._page) > 4096:
                self._page.clear()
            for n, line in enumerate(self._doc.lines(first, max(height, y - first + 1)), first):
                self._page[n] = line
        return self._page.get(y) or LogLine("output", "")

    def plain(self, first: int, count: int) -> list[str]:
        return [] if self._doc is None else [line.text for line in self._doc.lines(first, count)]

    def _widen(self, width: int) -> None:
        if width > self._width:
            self._width = width
            self.call_later(self.resized, width)

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        super().watch_scroll_y(old_value, new_value)
        if self._own_scroll or round(old_value) == round(new_value):
            return
        if new_value < old_value:
            self.following = False
        elif new_value >= self.max_scroll_y:
            self.following = True
        self.post_message(self.Moved())

    def _pause(self) -> None:
        """The reader goes up: stop at once, or the next frame would pull them down again."""
        if self.max_scroll_y > 0:
            self.following = False

    def action_scroll_up(self) -> None:
        self._pause()
        super().action_scroll_up()

    def action_page_up(self) -> None:
        self._pause()
        super().action_page_up()

    def action_scroll_home(self) -> None:
        self._pause()
        super().action_scroll_home()

    def on_mouse_scroll_up(self) -> None:
        self._pause()

    def action_follow(self) -> None:
        self.following = True
        self.refresh_doc()

    def go_to(self, line: int) -> None:
        """Bring a line (0-based) into view, and stop following."""
        self.following = False
        self._hit = line
        middle = max(0, line - self.size.height // 2)
        self.scroll_to(y=middle, animate=False, immediate=True)
        self.following = False
        self.refresh()
        self.post_message(self.Moved())

    @property
    def hit(self) -> int:
        """The line of the last search hit, -1 before one."""
        return self._hit
