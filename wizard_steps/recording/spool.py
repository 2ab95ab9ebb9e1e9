"""Output on disk, offsets in memory. Files are private (0600) and only ever appended to.

When a walk ends its larger files are packed (``NAME.log`` becomes ``NAME.log.gz``, see walks/bgzf.py). The
packed file is complete before the plain one goes, so a crash in between loses nothing; offsets stay the same.
"""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path
from typing import BinaryIO, Protocol

from wizard_steps.errors import WalkError
from wizard_steps.files import open_plain
from wizard_steps.recording import bgzf, intake


class Spool(Protocol):
    """Where cleaned, redacted output is kept."""

    def append(self, name: str, data: bytes) -> tuple[int, int]:
        """Write ``data`` at the end of the named file; its (start, end) offsets in bytes."""
        ...

    def read(self, name: str, start: int = 0, end: int | None = None) -> bytes: ...

    def close(self) -> None: ...


def file_name(*parts: str) -> str:
    """A file name that stays in its folder, whatever a node is called."""
    safe = [re.sub(r"[^A-Za-z0-9_-]", lambda m: f"%{ord(m.group()):02x}", part) for part in parts]
    return ".".join(safe)[:200] + ".log"


#: A walk may come from a stranger: no name in it may leave the folder.
_NAME = re.compile(r"[A-Za-z0-9_%.-]+\.log")
#: Smaller files stay plain: a disk block is the least a file takes.
_PACK_FROM = 4096


class MemorySpool:
    """For replays, edits and tests that leave nothing behind."""

    def __init__(self) -> None:
        self._files: dict[str, bytearray] = {}

    def append(self, name: str, data: bytes) -> tuple[int, int]:
        file = self._files.setdefault(name, bytearray())
        start = len(file)
        file += data
        return start, len(file)

    def read(self, name: str, start: int = 0, end: int | None = None) -> bytes:
        return bytes(self._files.get(name, b"")[start:end])

    def close(self) -> None:
        self._files.clear()


class DiskSpool:
    """One file a (node, step, command). At most ``_OPEN`` of them are held open."""

    _OPEN = 64

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._open: dict[str, BinaryIO] = {}
        self._sizes: dict[str, int] = {}
        self._packed: dict[str, bgzf.BgzfReader] = {}

    def append(self, name: str, data: bytes) -> tuple[int, int]:
        try:
            file = self._file(name)
            write_all(file.fileno(), data)
        except OSError as error:
            raise WalkError(
                f"{self.folder / name}: cannot record output: {error.strerror or error}. "
                "Free some space or choose another folder with --walk DIR; what was recorded so far is kept."
            ) from None
        start = self._sizes[name]
        self._sizes[name] = start + len(data)
        return start, self._sizes[name]

    def read(self, name: str, start: int = 0, end: int | None = None) -> bytes:
        """Bytes of an output; fewer where the file is shorter, none where there is no file.

        Raises WalkError for a name that would leave the folder, a link, or a damaged file.
        """
        if not _NAME.fullmatch(name):
            raise WalkError(f"{self.folder}: {name!r} is not the name of an output file")
        if start < 0 or (end is not None and end < start):
            raise WalkError(f"{self.folder / name}: {start} to {end} are not positions in a file")
        try:
            place = intake.open_folder(self.folder)
        except FileNotFoundError:
            return b""
        except OSError as error:
            raise WalkError(f"{self.folder}: cannot be read: {intake.why(error)}") from None
        try:
            return self._read_plain(place, name, start, end)
        finally:
            os.close(place)

    def _read_plain(self, place: int, name: str, start: int, end: int | None) -> bytes:
        try:
            with open_plain(Path(name), place) as file:
                size = os.fstat(file.fileno()).st_size
                file.seek(min(start, size))
                return file.read(max(0, (size if end is None else min(end, size)) - start))
        except FileNotFoundError:
            return self._read_packed(place, f"{name}.gz", start, end)
        except OSError as error:
            raise WalkError(f"{self.folder / name}: cannot be read: {intake.why(error)}") from None

    def _read_packed(self, place: int, name: str, start: int, end: int | None) -> bytes:
        path = self.folder / name
        try:
            with open_plain(Path(name), place) as file:
                reader = self._packed.get(name)
                if reader is None:
                    reader = self._packed[name] = bgzf.BgzfReader(file)
                return reader.read(file, start, reader.size if end is None else end)
        except FileNotFoundError:
            return b""
        except OSError as error:
            raise WalkError(f"{path}: cannot be read: {intake.why(error)}") from None
        except bgzf.Damaged as error:
            raise WalkError(f"{path}: damaged: {error}") from None

    def close(self) -> None:
        for file in self._open.values():
            file.close()
        self._open.clear()

    def forget(self) -> None:
        """Remove what was appended here, and the folder when that leaves it empty."""
        self.close()
        with contextlib.suppress(OSError):
            for name in self._sizes:
                (self.folder / name).unlink(missing_ok=True)
            self.folder.rmdir()

    def pack(self) -> None:
        """Compress the larger files of this folder. A disk that refuses leaves them plain."""
        self.close()
        self._sizes.clear()
        for path in sorted(self.folder.glob("*.log")):
            with contextlib.suppress(OSError):
                if path.stat().st_size >= _PACK_FROM and not path.is_symlink():
                    _pack(path)

    def _file(self, name: str) -> BinaryIO:
        if name in self._open:
            return self._open[name]
        if len(self._open) >= self._OPEN:
            self._open.pop(next(iter(self._open))).close()
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self.folder / name
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
        file = os.fdopen(descriptor, "ab", buffering=0)
        self._sizes[name] = path.stat().st_size
        self._open[name] = file
        return file


def write_all(descriptor: int, data: bytes) -> None:
    """All of ``data`` at the end of a file, or none of it: a disk that fills up takes a part and says so only
    by a number. Raises OSError."""
    size = os.fstat(descriptor).st_size
    rest = memoryview(data)
    try:
        while rest:
            rest = rest[os.write(descriptor, rest) :]
    except OSError:
        with contextlib.suppress(OSError):
            os.ftruncate(descriptor, size)
        raise


def _pack(path: Path) -> None:
    part = path.with_name(path.name + ".gz.part")
    try:
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        with path.open("rb") as source, os.fdopen(descriptor, "wb") as target:
            bgzf.pack(source, target)
            target.flush()
            os.fsync(target.fileno())
        part.rename(path.with_name(path.name + ".gz"))
    except OSError:
        part.unlink(missing_ok=True)
        raise
    path.unlink()
