"""Where the lines of a growing output lie: a newline count at every block of bytes, nothing per line.

Ten million lines of 60 bytes cost 19,000 numbers of 8 bytes; a line is found by bisection and one short read.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Callable

#: Bytes between two remembered counts. A jump reads at most this much before its line.
BLOCK = 32 * 1024
#: Of one line, at most this many bytes are read and shown.
LINE_BYTES = 16 * 1024

#: Reads (start, end) byte offsets of a spool file.
Read = Callable[[int, int], bytes]


class ByteIndex:
    """The lines of the bytes [start, end) of a file. ``feed`` them in order, then ask for lines by number."""

    def __init__(self, start: int = 0) -> None:
        self.start = start
        self.end = start
        self._counts = array("Q", [0])
        self._newlines = 0
        self._open = False

    def __len__(self) -> int:
        """Lines so far, an unfinished last one included."""
        return self._newlines + self._open

    def feed(self, data: bytes) -> None:
        """The next bytes of the file, beginning at ``end``."""
        if not data:
            return
        at = 0
        while at < len(data):
            room = BLOCK - (self.end - self.start) % BLOCK
            piece = min(room, len(data) - at)
            self._newlines += data.count(b"\n", at, at + piece)
            at += piece
            self.end += piece
            if piece == room:
                self._counts.append(self._newlines)
        self._open = not data.endswith(b"\n")

    def lines(self, first: int, count: int, read: Read) -> list[str]:
        """``count`` lines from number ``first`` (0-based); fewer at the end."""
        count = min(count, len(self) - first)
        if count <= 0:
            return []
        block = max(0, bisect_left(self._counts, first) - 1) if first else 0
        skip = first - self._counts[block]
        at = self.start + block * BLOCK
        found: list[str] = []
        rest = b""
        while len(found) < count and at < self.end:
            until = min(at + BLOCK, self.end)
            pieces = (rest + read(at, until)).split(b"\n")
            at = until
            rest = pieces.pop()[:LINE_BYTES]
            if skip >= len(pieces):
                skip -= len(pieces)
                continue
            found += [_text(piece) for piece in pieces[skip : skip + count - len(found)]]
            skip = 0
        if len(found) < count:
            found.append(_text(rest))
        return found

    def offset_of(self, line: int, read: Read) -> int:
        """The byte offset at which a line (0-based number) begins."""
        if line <= 0:
            return self.start
        block = bisect_left(self._counts, line) - 1
        skip = line - self._counts[block]
        begin = self.start + block * BLOCK
        data = read(begin, min(begin + BLOCK, self.end))
        at = -1
        for _ in range(skip):
            at = data.index(b"\n", at + 1)
        return begin + at + 1

    def number_at(self, offset: int, read: Read) -> int:
        """The number of the line that holds the byte at ``offset``."""
        block = (offset - self.start) // BLOCK
        begin = self.start + block * BLOCK
        return self._counts[block] + read(begin, offset).count(b"\n")


def _text(piece: bytes) -> str:
    return piece[:LINE_BYTES].decode("utf-8", "replace")
