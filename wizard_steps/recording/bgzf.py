"""Blocked gzip (BGZF): ``zcat`` reads it, and any place in it is found without unpacking what is before.

Each block holds at most 64 KiB of data and tells its own packed length in a gzip extra field ("BC"), as
section 4.1 of the SAM/BAM format specification says. A file without the empty block at its end was cut.
"""

from __future__ import annotations

import os
import struct
import zlib
from bisect import bisect_right
from collections.abc import Iterator
from typing import BinaryIO

#: Plain bytes a block. The packed length must fit 16 bits, also for what does not shrink.
_BLOCK = 0xFF00
_HEAD = struct.Struct("<4sIBBH2sHH")
_TAIL = struct.Struct("<II")
_MAGIC = b"\x1f\x8b\x08\x04"
#: Above this many plain bytes speed matters more than size.
_FAST = 16 << 20


#: An output of this many plain bytes and more that grows this many times is a bomb and no output.
_GROWS_FROM, _GROWS = 64 << 20, 300


class Damaged(ValueError):
    """Not a BGZF file, or one that was cut or changed."""


def pack(source: BinaryIO, target: BinaryIO) -> None:
    """Write what ``source`` holds to ``target`` as BGZF."""
    size = source.seek(0, os.SEEK_END)
    source.seek(0)
    level = 1 if size > _FAST else 6
    while data := source.read(_BLOCK):
        target.write(_block(data, level))
    target.write(_block(b"", level))


def _block(data: bytes, level: int) -> bytes:
    packer = zlib.compressobj(level, zlib.DEFLATED, -15)
    body = packer.compress(data) + packer.flush()
    size = _HEAD.size + len(body) + _TAIL.size
    head = _HEAD.pack(_MAGIC, 0, 0, 255, 6, b"BC", 2, size - 1)
    return head + body + _TAIL.pack(zlib.crc32(data), len(data))


class BgzfReader:
    """Random access to a BGZF file. Raises Damaged; keeps no file open."""

    def __init__(self, file: BinaryIO) -> None:
        self._plain = [0]
        self._packed: list[int] = []
        at, last = 0, -1
        for size, last in _sizes(file):
            self._packed.append(at)
            self._plain.append(self._plain[-1] + last)
            at += size
        if last != 0:
            raise Damaged("cut off")
        if self.size > _GROWS_FROM and self.size > at * _GROWS:
            raise Damaged(f"grows {self.size // at}-fold to {self.size >> 20} MiB, which no output does")

    @property
    def size(self) -> int:
        """Plain bytes in the file."""
        return self._plain[-1]

    def read(self, file: BinaryIO, start: int, end: int) -> bytes:
        """The plain bytes from ``start`` to ``end``; fewer at the end of the file."""
        start, end = max(0, start), min(end, self.size)
        if start >= end:
            return b""
        first = bisect_right(self._plain, start) - 1
        parts = []
        for n in range(first, len(self._packed)):
            if self._plain[n] >= end:
                break
            parts.append(_unpack(file, self._packed[n], self._plain[n + 1] - self._plain[n]))
        return b"".join(parts)[start - self._plain[first] : end - self._plain[first]]


def _sizes(file: BinaryIO) -> Iterator[tuple[int, int]]:
    """(packed, plain) length of each block."""
    at, whole = 0, file.seek(0, os.SEEK_END)
    while at < whole:
        size = _packed_size(file, at)
        if at + size > whole:
            raise Damaged("cut off")
        file.seek(at + size - 4)
        plain = int.from_bytes(file.read(4), "little")
        if plain > 1 << 16:
            raise Damaged("a block says it is too large")
        yield size, plain
        at += size


def _packed_size(file: BinaryIO, at: int) -> int:
    file.seek(at)
    head = file.read(_HEAD.size)
    if len(head) < _HEAD.size:
        raise Damaged("cut off")
    magic, _, _, _, extra, name, length, size = _HEAD.unpack(head)
    if (magic, extra, name, length) != (_MAGIC, 6, b"BC", 2) or size + 1 < _HEAD.size + _TAIL.size:
        raise Damaged("not a blocked gzip file")
    return int(size) + 1


def _unpack(file: BinaryIO, at: int, plain: int) -> bytes:
    size = _packed_size(file, at)
    file.seek(at + _HEAD.size)
    body, tail = file.read(size - _HEAD.size - _TAIL.size), file.read(_TAIL.size)
    try:
        data = zlib.decompressobj(-15).decompress(body, plain + 1)
    except zlib.error as error:
        raise Damaged(str(error)) from None
    if len(tail) < _TAIL.size or _TAIL.unpack(tail) != (zlib.crc32(data), plain) or len(data) != plain:
        raise Damaged("a block does not fit its checksum")
    return data
