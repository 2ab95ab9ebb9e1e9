"""From the bytes of a file to its text: packed or not, in any encoding. Bounded memory, never raises."""

from __future__ import annotations

import bz2
import codecs
import lzma
import shutil
import subprocess
import zlib
from collections.abc import Callable, Iterator
from importlib import import_module
from itertools import chain
from typing import Protocol

#: How much of a file decides what it is, in bytes.
HEAD = 1 << 16
#: More text than this is not taken out of a packed file: a small file can hold endless text.
MOST = 4 << 30
#: A zstd file that no module can read is handed to the zstd program as a whole; larger ones are not read.
_WHOLE = 1 << 28
_STEP = 1 << 19


class _Unpacker(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = ..., /) -> bytes: ...


_MAGIC: tuple[tuple[bytes, Callable[[], _Unpacker]], ...] = (
    (b"\x1f\x8b", lambda: zlib.decompressobj(31)),
    (b"\xfd7zXZ\x00", lzma.LZMADecompressor),
    (b"BZh", bz2.BZ2Decompressor),
)
_ZSTD = b"\x28\xb5\x2f\xfd"
_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


def texts(pieces: Iterator[bytes]) -> Iterator[str]:
    """The text of a file that comes in pieces. What cannot be read becomes replacement marks, or ends it."""
    head, pieces = _head(_unpacked(pieces))
    coding, skip = coding_of(head)
    decoder = codecs.getincrementaldecoder(coding)("replace")
    for piece in chain([head[skip:]], pieces):
        if text := decoder.decode(piece):
            yield text.replace("\x00", "")
    yield decoder.decode(b"", final=True).replace("\x00", "")


def coding_of(head: bytes) -> tuple[str, int]:
    """The encoding of a text that begins with ``head``, and the length of its byte order mark."""
    for mark, coding in _BOMS:
        if head.startswith(mark):
            return coding, len(mark)
    sample = head[:4096]
    even, odd = sample[::2].count(0), sample[1::2].count(0)
    half = max(1, len(sample) // 2)
    # Latin text in UTF-16 has a zero in every second byte, and hardly one elsewhere.
    if len(sample) >= 8 and max(even, odd) > 0.6 * half and min(even, odd) < 0.1 * half:
        return ("utf-16-be" if even > odd else "utf-16-le"), 0
    return "utf-8", 0


def _head(pieces: Iterator[bytes]) -> tuple[bytes, Iterator[bytes]]:
    """Enough of the beginning, and the rest."""
    head = b""
    for piece in pieces:
        head += piece
        if len(head) >= HEAD:
            break
    return head, pieces


def _unpacked(pieces: Iterator[bytes], depth: int = 2) -> Iterator[bytes]:
    head, pieces = _head(pieces)
    whole = chain([head], pieces)
    if depth == 0:
        return whole
    for magic, unpacker in _MAGIC:
        if head.startswith(magic):
            return _unpacked(_members(whole, unpacker), depth - 1)
    if head.startswith(_ZSTD):
        return _unpacked(_zstd(whole), depth - 1)
    return whole


def _members(pieces: Iterator[bytes], unpacker: Callable[[], _Unpacker]) -> Iterator[bytes]:
    """The content of all members of a packed file; ends where it is cut off or broken."""
    one, left = unpacker(), MOST
    for piece in pieces:
        rest = piece
        while rest and left > 0:
            try:
                for data in _step(one, rest):
                    left -= len(data)
                    yield data
                    if left <= 0:
                        return
            except (zlib.error, lzma.LZMAError, OSError, EOFError, ValueError):
                return
            rest = one.unused_data if one.eof else b""
            if one.eof:
                one = unpacker()


def _step(one: _Unpacker, data: bytes) -> Iterator[bytes]:
    """What ``data`` unpacks to, a bounded piece at a time."""
    while True:
        out = one.decompress(data, _STEP)
        if out:
            yield out
        # zlib hands back what it did not look at, the others keep it.
        data = getattr(one, "unconsumed_tail", b"")
        if one.eof or (not out and not data) or (not data and getattr(one, "needs_input", True)):
            return


def _zstd(pieces: Iterator[bytes]) -> Iterator[bytes]:
    for name, make in (("compression.zstd", "ZstdDecompressor"), ("zstandard", "")):
        try:
            module = import_module(name)
        except ImportError:
            continue
        return _members(pieces, getattr(module, make) if make else module.ZstdDecompressor().decompressobj)
    return _zstd_program(pieces)


def _zstd_program(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Through the zstd program, which most Linux systems have; without it there is no text."""
    program = shutil.which("zstd")
    data = b""
    for piece in pieces:
        data += piece
        if len(data) > _WHOLE:
            return
    if program is None:
        yield b"ERROR: this is a zstd file, and neither a Python module nor the zstd program can unpack it\n"
        return
    done = subprocess.run([program, "-dcq"], input=data, capture_output=True, timeout=300, check=False)
    yield done.stdout
