"""The GPUs of all nodes as rows; only those that are seen are drawn: hundreds of nodes cost nothing."""

from __future__ import annotations

import time
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual.geometry import Size
from textual.scroll_view import ScrollView
from textual.strip import Strip

from tui.app.text import cut, safe
from wizard_steps.monitor.board import COLUMNS, Board, gpu_rows

#: The theme's colour of a row, by its state.
_COLOURS = {"bad": "error", "warn": "warning", "old": "secondary", "ok": "foreground"}


class GpuGrid(ScrollView):
    """``show`` it anew when the board has changed."""

    DEFAULT_CSS = "GpuGrid { max-height: 60%; } GpuGrid:focus { background-tint: $foreground 3%; }"
    COMPONENT_CLASSES: ClassVar[set[str]] = set()
    can_focus = True

    def __init__(self, board: Board) -> None:
        super().__init__()
        self._board = board
        self._rows: list[tuple[str, tuple[str, ...], str]] = []

    def show(self) -> None:
        self._rows = gpu_rows(self._board, time.monotonic())
        self.styles.height = len(self._rows) + 1  # the page gives it less where there is less
        self.virtual_size = Size(self.size.width, len(self._rows) + 1)
        self.refresh()

    def render_line(self, y: int) -> Strip:
        theme = self.app.theme_variables
        width = self.size.width
        if y == 0:
            head = "  ".join(title.ljust(columns) for title, columns in COLUMNS)
            style = Style(bold=True, color=theme["secondary"])
            return Strip([Segment(cut(head, width).ljust(width), style)], width)
        place = y - 1 + self.scroll_offset.y
        if place >= len(self._rows):
            return Strip.blank(width)
        state, cells, _ = self._rows[place]
        widths = [columns for _, columns in COLUMNS]
        padded = [cut(safe(cell), n).ljust(n) for cell, n in zip(cells, widths, strict=False)]
        if state == "bad":
            padded[-1] = safe(cells[-1])
        line = "  ".join([*padded, *map(safe, cells[len(widths) :])])
        return Strip([Segment(cut(line, width).ljust(width), Style(color=theme[_COLOURS[state]]))], width)
