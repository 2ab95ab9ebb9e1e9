"""The live log: follows the end until the reader scrolls up. Draws from the spool, keeps nothing.

Scrolling goes by lines, also while long ones are wrapped: a log of any length is never broken as a whole.
"""

from __future__ import annotations

from typing import ClassVar, NamedTuple

from rich.segment import Segment
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.reactive import reactive
from textual.strip import Strip

from tui.app.log import LogDoc, LogLine
from tui.widgets.line_view import LineView
from tui.widgets.rows import INDENT, breaks

_STYLES = {"command": "command", "good": "good", "bad": "bad", "note": "quiet", "output": ""}


class _Row(NamedTuple):
    """Columns [start, end) of a line; ``last``: the line ends with it."""

    line: int
    start: int
    end: int
    last: bool


class LogView(LineView):
    """Shows a LogDoc. ``refresh_doc`` is called by the screen's timer, never once per event."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("end,G", "follow", "Follow", show=False)]

    following: reactive[bool] = reactive(True)
    wanted: reactive[str] = reactive("")
    wrap: reactive[bool] = reactive(True)

    class Moved(Message):
        """The log scrolled, grew, or began or ceased to follow."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._doc: LogDoc | None = None
        self._width = 1
        self._page: dict[int, LogLine] = {}
        self._own_scroll = False
        self._hit = -1
        self._rows: list[_Row] = []
        self._rows_of: object = None
        self._stamp = 0

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
        self._stamp += 1
        self._own_scroll = True
        self._measure()
        if self.following and not self.is_vertical_scrollbar_grabbed:
            self.scroll_to(y=self.max_scroll_y, animate=False, immediate=True)
        self._own_scroll = False
        self.refresh()
        self.post_message(self.Moved())

    def line_total(self) -> int:
        return 0 if self._doc is None else len(self._doc)

    def pieces(self, y: int, width: int) -> list[tuple[str, str]]:
        line = self._line(y)
        if not self.wrap:
            self._widen(len(line.text) + 2)
        if y == self._hit and self.wanted:
            at = line.text.lower().find(self.wanted.lower())
            if at >= 0:
                end = at + len(self.wanted)
                style = _STYLES[line.kind]
                return [(line.text[:at], style), (line.text[at:end], "hit"), (line.text[end:], style)]
        marked = y == self._hit and not self.wanted
        return [(line.text, "hit" if marked else _STYLES[line.kind])]

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

    # Long lines on several rows

    def _measure(self) -> None:
        """How far one can scroll: while lines are wrapped, until all rows from the top line on fit."""
        space = self.scrollable_content_region.size
        if not space.area:
            return
        if self.wrap:
            self.resized(1, self._top_for(self.line_total(), space.height) + space.height)
        else:
            self.resized(self._width)

    def _breaks(self, line: int) -> list[tuple[int, int]]:
        width, height = self.scrollable_content_region.size
        return breaks(self._line(line).text, width, max(1, height))

    def _top_for(self, end: int, room: int) -> int:
        """The first line of those before ``end`` whose rows fit together into ``room`` rows."""
        top = end
        while top > 0:
            room -= len(self._breaks(top - 1))
            if room < 0:
                break
            top -= 1
        return top

    def _shown(self) -> list[_Row]:
        """The rows on the screen, from the line that is scrolled to on."""
        top, height = self.scroll_offset.y, self.size.height
        key = (top, self.scrollable_content_region.size, self._stamp)
        if key != self._rows_of:
            self._rows_of, self._rows, line = key, [], top
            while len(self._rows) < height and line < self.line_total():
                found = self._breaks(line)
                self._rows += [_Row(line, a, b, n == len(found) - 1) for n, (a, b) in enumerate(found)]
                line += 1
        return self._rows

    def render_line(self, y: int) -> Strip:
        if not self.wrap:
            return super().render_line(y)
        width, base, rows = self.size.width, self.look(""), self._shown()
        if y >= len(rows):
            return Strip.blank(width, base)
        row = rows[y]
        strip = Strip([Segment(text, self.look(name)) for text, name in self.pieces(row.line, width)])
        strip = self._selected(strip, row.line).crop(row.start, row.end).apply_offsets(row.start, row.line)
        if row.start:
            strip = Strip([Segment(INDENT, base), *strip])
        return strip.adjust_cell_length(width, base)

    def last_shown(self) -> int:
        """How many lines of the log end above the lower edge, or at it."""
        if not self.wrap:
            return min(self.line_total(), self.scroll_offset.y + self.size.height)
        rows = self._shown()[: self.size.height]
        return next((row.line + 1 for row in reversed(rows) if row.last), self.scroll_offset.y)

    def watch_wrap(self) -> None:
        """The line at the top stays there. The room for lines must not hang on how they are broken."""
        self.styles.overflow_x = "hidden" if self.wrap else "auto"
        self.styles.scrollbar_gutter = "stable" if self.wrap else "auto"
        self.scroll_to(x=0, animate=False, immediate=True)
        self.refresh_doc()

    def action_page_down(self) -> None:
        if self.wrap:
            y = max(self.last_shown(), self.scroll_offset.y + 1)
            self.scroll_to(y=y, animate=False, immediate=True)
        else:
            super().action_page_down()

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        super().watch_scroll_y(old_value, new_value)
        if self._own_scroll or round(old_value) == round(new_value):
            return
        if new_value < old_value:
            # Where the old place is gone, it was not the reader who went up: the log has more room now.
            self.following = self.following and old_value > self.max_scroll_y
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
        if self.wrap:
            top = self.scroll_offset.y
            y = min(self._top_for(top, self.size.height), top - 1)
            self.scroll_to(y=y, animate=False, immediate=True)
        else:
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
        half = self.size.height // 2
        middle = self._top_for(line, half) if self.wrap else max(0, line - half)
        self.scroll_to(y=middle, animate=False, immediate=True)
        self.following = False
        self.refresh()
        self.post_message(self.Moved())

    @property
    def hit(self) -> int:
        """The line of the last search hit, -1 before one."""
        return self._hit
