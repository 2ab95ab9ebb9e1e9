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
from tui.app.pattern import differing
from tui.app.text import ROW_STATES, cut, is_picture, is_rule, wrapped
from tui.widgets.line_view import LineView

#: From this width on (columns) the word stands in a column of its own.
_ROOMY = 92
_ACROSS = {
    "command": ("$ ", "command"),
    "titles": ("", "quiet"),
    "fold": ("· ", "quiet"),
    "note": ("", "quiet"),
}


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

    def show_lines(self, lines: Sequence[CompareLine], to_miss: bool = False) -> None:
        """``to_miss``: the first line that is not as expected comes into sight."""
        if list(lines) == list(self._rows):
            return
        self._rows = lines
        self._fit()
        self.refresh()
        if to_miss:
            self.call_after_refresh(self._to_miss)

    def _to_miss(self) -> None:
        at = next((y for y, part in enumerate(self._parts) if part.line.state in ("near", "missing")), None)
        if at is not None:
            self.scroll_to(y=max(0, at - self.size.height // 2), animate=False)

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
        tables = [cell_len(part.right) for part in self._parts if part.across and _table(part.line)]
        beyond = max(tables, default=0) - (width - self._mark(width))
        self.resized(width + max(longest - column, beyond, 0))

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
            if line.state == "titles":
                found.append(f"{'':12}  {line.left}  |  {line.right}")
            elif line.state in _ACROSS:
                found.append(_ACROSS[line.state][0] + line.left)
            else:
                symbol, word, _ = ROW_STATES[line.state]
                found.append(f"{symbol} {word:<10}  {line.left}  |  {line.right}")
        return found

    def pieces(self, y: int, width: int) -> list[tuple[str, str]]:
        part = self._parts[y]
        state = part.line.state
        if state == "titles":
            return self._titles(part.line)
        if state in _ACROSS:
            return [(part.left, _ACROSS[state][1])]
        symbol, word, style = ROW_STATES[state]
        space = self.scrollable_content_region.width
        column, roomy = self._column(space), self._mark(space) > 2
        mark = (f"{symbol} {word:<11}" if roomy else f"{symbol} ") if part.first else " " * self._mark(space)
        left, right = part.left, part.right
        if part.across:
            return [(mark, style), (self._across(part), _ACROSS_STYLES.get(state, "quiet"))]
        if part.first and not roomy and state != "between":
            # Where a half is empty, and there is no room for the word elsewhere, the word stands in it.
            left, right = left or f"({word})", right or f"({word})"
        left_style = style if state in ("missing", "awaited", "optional") else ""
        right_style = {"unexpected": "warning", "between": "quiet"}.get(state, "")
        shown = _window(right, self.scroll_offset.x, column)
        halves = [(shown, right_style if part.line.right else style)]
        if state == "near":
            halves = marked(part.line.left, shown)
        return [
            (mark, style),
            (_window(left, self.scroll_offset.x, column), left_style if part.line.left else "quiet"),
            (" │ ", "quiet"),
            *halves,
        ]

    def _across(self, part: _Part) -> str:
        space = self.scrollable_content_region.width
        return _window(part.right, self.scroll_offset.x, space - self._mark(space))

    def _titles(self, line: CompareLine) -> list[tuple[str, str]]:
        """What the columns are: they stand over the halves of the rows."""
        space = self.scrollable_content_region.width
        column = self._column(space)
        left = " " * self._mark(space) + _window(line.left, 0, column)
        return [(left, "accent"), (" │ ", "quiet"), (_window(line.right, 0, column), "accent")]


#: Of what stands over both columns: a table's line that is as expected, one that is not there.
_ACROSS_STYLES = {
    "matched": "good",
    "missing": "bad",
    "awaited": "accent",
    "unexpected": "warning",
    "near": "bad",
}


def marked(wanted: str, shown: str) -> list[tuple[str, str]]:
    """A real line with what differs from the wanted one in the colour of a failure."""
    pieces, at = [], 0
    for begin, end in differing(wanted, shown.rstrip()):
        pieces += [(shown[at:begin], ""), (shown[begin:end], "bad")]
        at = end
    return [*pieces, (shown[at:], "")]


def _table(line: CompareLine) -> bool:
    """A line of a drawn table: it is only read at its own width."""
    text = (line.right or line.left).strip()
    return text[:1] in ("|", "+", "│", "┌", "└", "├") and len(text) > 20


def _parts(line: CompareLine, column: int, width: int) -> list[_Part]:
    if line.state in _ACROSS:
        texts = wrapped(_ACROSS[line.state][0] + line.left, width)
        return [_Part(line, text, "", n == 0) for n, text in enumerate(texts)]
    if line.state == "titles":
        return [_Part(line, "", "", True)]
    if _table(line):
        return [_Part(line, "", line.right or line.left, True, across=True)]
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
