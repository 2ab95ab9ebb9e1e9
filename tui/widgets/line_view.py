"""A scrolling view that draws only the lines on the screen, with text selection. The log is one."""

from __future__ import annotations

from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.scroll_view import ScrollView
from textual.selection import Selection
from textual.strip import Strip

#: A selection longer than this many lines is cut when it is copied.
_MAX_COPY = 20_000


class LineView(ScrollView, can_focus=True):
    """Subclasses say how many lines there are and give one as pieces of (text, style name)."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "scroll_up", "Up", show=False),
        Binding("down,j", "scroll_down", "Down", show=False),
        Binding("left", "scroll_left", "Left", show=False),
        Binding("right", "scroll_right", "Right", show=False),
        Binding("pageup", "page_up", "Page up", show=False),
        Binding("pagedown,space", "page_down", "Page down", show=False),
        Binding("home", "scroll_home", "Start", show=False),
        Binding("end", "scroll_end", "End", show=False),
    ]
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "lines--good",
        "lines--bad",
        "lines--warning",
        "lines--accent",
        "lines--quiet",
        "lines--command",
        "lines--hit",
    }

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._looks: dict[str, Style] = {}

    def line_total(self) -> int:
        raise NotImplementedError

    def pieces(self, y: int, width: int) -> list[tuple[str, str]]:
        """The pieces of line ``y``: text without control characters, and a style name ("" is plain)."""
        raise NotImplementedError

    def plain(self, first: int, count: int) -> list[str]:
        """The whole text of some lines, for copying the pane."""
        raise NotImplementedError

    def _drawn(self, first: int, count: int) -> list[str]:
        width = self.scrollable_content_region.width
        numbers = range(first, min(first + count, self.line_total()))
        return ["".join(text for text, _ in self.pieces(y, width)) for y in numbers]

    def render_lines(self, crop: Region) -> list[Strip]:
        self._looks.clear()
        return super().render_lines(crop)

    def look(self, name: str) -> Style:
        """The style of a name on this widget; looked up once for every time the widget is drawn."""
        style = self._looks.get(name)
        if style is None:
            style = self.rich_style
            if name:
                style += self.get_component_rich_style(f"lines--{name}", partial=True)
            self._looks[name] = style
        return style

    def resized(self, width: int, height: int | None = None) -> None:
        """Tell the scrollbars how much there is, by default a row a line; call it when lines came or went."""
        size = Size(width, self.line_total() if height is None else height)
        if size != self.virtual_size:
            self.virtual_size = size

    def page_left_edge(self) -> int:
        """From which column lines are drawn."""
        return self.scroll_offset.x

    def render_line(self, y: int) -> Strip:
        width = self.size.width
        number = y + self.scroll_offset.y
        base = self.look("")
        if number >= self.line_total():
            return Strip.blank(width, base)
        left = self.page_left_edge()
        strip = Strip([Segment(text, self.look(name)) for text, name in self.pieces(number, width)])
        strip = self._selected(strip, number)
        return strip.crop_extend(left, left + width, base).apply_offsets(left, number)

    def _selected(self, strip: Strip, number: int) -> Strip:
        selection = self.text_selection
        span = selection.get_span(number) if selection is not None else None
        if span is None:
            return strip
        start, end = span
        end = strip.cell_length if end == -1 else end
        style = self.screen.get_component_rich_style("screen--selection")
        before, middle, after = strip.crop(0, start), strip.crop(start, end), strip.crop(end)
        return Strip([*before, *Segment.apply_style(middle, post_style=style), *after])

    def selection_updated(self, selection: Selection | None) -> None:
        self.refresh()

    def get_selection(self, selection: Selection) -> tuple[str, str] | None:
        first = selection.start.y if selection.start is not None else 0
        last = selection.end.y if selection.end is not None else self.line_total() - 1
        lines = self._drawn(first, min(last - first + 1, _MAX_COPY))
        if selection.end is not None and last - first < len(lines):
            lines[last - first] = lines[last - first][: selection.end.x]
        if lines and selection.start is not None:
            lines[0] = lines[0][selection.start.x :]
        return "\n".join(lines), "\n"
