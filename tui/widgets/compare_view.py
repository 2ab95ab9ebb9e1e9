"""Expected | real, row beside row. A symbol and a word say how each row compares.

In little room a real line that nothing is expected beside takes both columns, so that it can be read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from textual.strip import Strip

from tui.app.compare import CompareLine
from tui.app.text import ROW_STATES, cut, is_picture, is_rule, wrapped
from tui.widgets.line_view import LineView

#: From this width on (columns) the word stands in a column of its own.
_ROOMY = 92
_ACROSS = {"command": ("$ ", "command"), "fold": ("· ", "quiet"), "note": ("", "quiet")}


@dataclass(frozen=True, slots=True)
class _Part:
    """One drawn line: a part of a row (the first carries the mark), its halves as they fit.

    ``across``: the real line stands over both columns, for nothing is expected beside it.
    """

    line: CompareLine
    left: str
    right: str
    first: bool
    across: bool = False


class CompareView(LineView):
    """Shows CompareLines. Long lines are wrapped; tables are not: they scroll sideways under fixed marks."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._rows: Sequence[CompareLine] = ()
        self._parts: list[_Part] = []

    def show_lines(self, lines: Sequence[CompareLine]) -> None:
        if list(lines) == list(self._rows):
            return
        self._rows = lines
        self._fit()
        self.refresh()

    def on_resize(self) -> None:
        self._fit()

    def _fit(self) -> None:
        """Wrap what can be; as wide as needed to bring the end of what cannot into its column."""
        width = self.scrollable_content_region.width
        if width <= 0:
            return
        column = self._column(width)
        self._parts = [part for line in self._rows for part in _parts(line, column, width)]
        halves = [part for part in self._parts if part.line.state not in _ACROSS and not part.across]
        longest = max((max(cell_len(part.left), cell_len(part.right)) for part in halves), default=0)
        self.resized(width + max(longest - column, 0))

    def _mark(self, width: int) -> int:
        return 13 if width >= _ROOMY else 2

    def _column(self, width: int) -> int:
        return max(4, (width - self._mark(width) - 3) // 2)

    def line_total(self) -> int:
        return len(self._parts)

    def page_left_edge(self) -> int:
        return 0

    def plain(self, first: int, count: int) -> list[str]:
        found = []
        for line in self._rows[first : first + count]:
            if line.state in _ACROSS:
                found.append(_ACROSS[line.state][0] + line.left)
            else:
                symbol, word, _ = ROW_STATES[line.state]
                found.append(f"{symbol} {word:<10}  {line.left}  |  {line.right}")
        return found

    def pieces(self, y: int, width: int) -> list[tuple[str, str]]:
        part = self._parts[y]
        state = part.line.state
        if state in _ACROSS:
            return [(part.left, _ACROSS[state][1])]
        symbol, word, style = ROW_STATES[state]
        space = self.scrollable_content_region.width
        column, roomy = self._column(space), self._mark(space) > 2
        mark = (f"{symbol} {word:<11}" if roomy else f"{symbol} ") if part.first else " " * self._mark(space)
        left, right = part.left, part.right
        if part.across:
            return [(mark, style), (right, "quiet")]
        if part.first and not roomy and state != "between":
            # Where a half is empty, and there is no room for the word elsewhere, the word stands in it.
            left, right = left or f"({word})", right or f"({word})"
        left_style = style if state in ("missing", "awaited", "optional") else ""
        right_style = {"unexpected": "warning", "between": "quiet"}.get(state, "")
        return [
            (mark, style),
            (_window(left, self.scroll_offset.x, column), left_style if part.line.left else "quiet"),
            (" │ ", "quiet"),
            (_window(right, self.scroll_offset.x, column), right_style if part.line.right else style),
        ]


def _parts(line: CompareLine, column: int, width: int) -> list[_Part]:
    if line.state in _ACROSS:
        texts = wrapped(_ACROSS[line.state][0] + line.left, width)
        return [_Part(line, text, "", n == 0) for n, text in enumerate(texts)]
    if width < _ROOMY and line.state == "between" and (is_rule(line.right) or not is_picture(line.right)):
        texts = [cut(line.right, width - 2)] if is_rule(line.right) else wrapped(line.right, width - 2)
        return [_Part(line, "", text, n == 0, across=True) for n, text in enumerate(texts)]
    halves = [[t] if is_picture(t) else wrapped(t, column) for t in (line.left, line.right)]
    pairs = zip_longest(*halves, fillvalue="")
    return [_Part(line, left, right, n == 0) for n, (left, right) in enumerate(pairs)]


def _window(text: str, shift: int, width: int) -> str:
    """``width`` columns of ``text`` from column ``shift``; an ellipsis where it goes on."""
    if shift:
        text = Strip([Segment(text)]).crop(shift, cell_len(text)).text if shift < cell_len(text) else ""
    if cell_len(text) > width:
        return set_cell_size(text, width - 1) + "…"
    return set_cell_size(text, width)
