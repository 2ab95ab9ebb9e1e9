"""Where a long line is broken to fit a width. Nothing is kept: only what is on the screen is broken."""

from __future__ import annotations

from rich.cells import cell_len, get_character_cell_size

#: Rows after the first begin with this.
INDENT = "  "


def breaks(text: str, width: int, most: int) -> list[tuple[int, int]]:
    """The rows of a line, each as (start, end) in columns: at least one, at most ``most``.

    Rows after the first leave room for INDENT. What does not fit into ``most`` rows is left out.
    """
    narrow = max(1, width - len(INDENT))
    width = max(1, width)
    text = text[: width * most + 1]
    total = cell_len(text)
    if total <= width:
        return [(0, total)]
    rows: list[tuple[int, int]] = []
    start = 0
    if total == len(text):
        while start < total and len(rows) < most:
            end = _end(text, start, start + (narrow if rows else width))
            rows.append((start, end))
            start = end
        return rows
    at = 0
    for character in text:
        size = get_character_cell_size(character)
        if at + size - start > (narrow if rows else width):
            rows.append((start, at))
            start = at
        at += size
    return [*rows, (start, at)][:most]


def _end(text: str, start: int, limit: int) -> int:
    """Where a row ends: after the last blank that leaves it half full, else where there is no more room."""
    if limit >= len(text):
        return len(text)
    blank = text.rfind(" ", (start + limit) // 2, limit)
    return blank + 1 if blank >= 0 else limit
