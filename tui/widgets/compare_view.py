"""Expected | real, row beside row. A symbol and a word say how each row compares."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from textual.strip import Strip

from tui.tui_compare import CompareLine
from tui.tui_text import ROW_STATES
from tui.widgets.line_view import LineView

#: From this width on (columns) the word stands in a column of its own.
_ROOMY = 92
_ACROSS = {"command": ("$ ", "command"), "fold": ("· ", "quiet"), "note": ("", "quiet")}


class CompareView(LineView):
    """Shows CompareLines. Scrolling sideways moves both columns under their fixed marks."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._lines: Sequence[CompareLine] = ()

    def show_lines(self, lines: Sequence[CompareLine]) -> None:
        if list(lines) == list(self._lines):
            return
        self._lines = lines
        self._fit()
        self.refresh()

    def on_resize(self) -> None:
        self._fit()

    def _fit(self) -> None:
        """As wide as needed to bring the longest text's end into its column."""
        width = self.scrollable_content_region.width
        rows = [line for line in self._lines if line.state not in _ACROSS]
        longest = max((max(cell_len(line.left), cell_len(line.right)) for line in rows), default=0)
        across = max((cell_len(line.left) + 2 for line in self._lines if line.state in _ACROSS), default=0)
        hidden = max(longest - self._column(width), across - width, 0)
        self.resized(width + hidden)

    def _mark(self, width: int) -> int:
        return 13 if width >= _ROOMY else 2

    def _column(self, width: int) -> int:
        return max(4, (width - self._mark(width) - 3) // 2)

    def line_total(self) -> int:
        return len(self._lines)

    def page_left_edge(self) -> int:
        return 0

    def plain(self, first: int, count: int) -> list[str]:
        found = []
        for line in self._lines[first : first + count]:
            if line.state in _ACROSS:
                found.append(_ACROSS[line.state][0] + line.left)
            else:
                symbol, word, _ = ROW_STATES[line.state]
                found.append(f"{symbol} {word:<10}  {line.left}  |  {line.right}")
        return found

    def pieces(self, y: int, width: int) -> list[tuple[str, str]]:
        line = self._lines[y]
        shift = self.scroll_offset.x
        if line.state in _ACROSS:
            mark, style = _ACROSS[line.state]
            return [(_window(mark + line.left, shift, width, fill=False), style)]
        symbol, word, style = ROW_STATES[line.state]
        column = self._column(self.scrollable_content_region.width)
        roomy = self._mark(width) > 2
        mark = f"{symbol} {word:<11}" if roomy else f"{symbol} "
        left_style = style if line.state in ("missing", "awaited", "optional") else ""
        right_style = "warning" if line.state == "unexpected" else "quiet" if line.state == "between" else ""
        left, right = self._halves(line, word, roomy)
        return [
            (mark, style),
            (_window(left, shift, column), left_style if line.left else "quiet"),
            (" │ ", "quiet"),
            (_window(right, shift, column), right_style if line.right else style),
        ]

    def _halves(self, line: CompareLine, word: str, roomy: bool) -> tuple[str, str]:
        """Where a half is empty and there is no room for the word, the word stands in it."""
        if roomy:
            return line.left, line.right
        return line.left or f"({word})", line.right or f"({word})"


def _window(text: str, shift: int, width: int, fill: bool = True) -> str:
    """``width`` columns of ``text`` from column ``shift``; an ellipsis where it goes on."""
    if shift:
        text = Strip([Segment(text)]).crop(shift, cell_len(text)).text if shift < cell_len(text) else ""
    if cell_len(text) > width:
        return set_cell_size(text, width - 1) + "…"
    return set_cell_size(text, width) if fill else text
