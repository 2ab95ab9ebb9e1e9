"""The walk folder: what a run recorded, and how it is read back. This is the format, schema 1.

    meta.json       one JSON object, see Meta: schema, when, on what, by which milepost, what was edited since
    events.jsonl    one event a line, appended as it happens; the first is walk-started, see events.py
    out/            cleaned and redacted output, one file a (node, step, command): NODE.STEP.KEY.log
                    an ``output`` event says which bytes of it came when: {"run": 3, "start": 0, "end": 812}
    notes.jsonl     optional: what the author says beside a step, one note a line, see walks/notes.py
    evidence/       optional: the picture (.svg) and the text (.txt) of every passed gate

Rules. Times are seconds since the walk began (``t``); ``recorded`` is UTC. Bytes reach out/ before the event
that points at them is written, so an event never promises what is not there. Files are only ever appended to
while a walk is recorded; a SIGKILL in mid-write costs at most the last line of events.jsonl, which a reader
drops. When a walk ends, files of 4 KiB and more in out/ become NAME.log.gz (blocked gzip: ``zcat`` reads it,
offsets stay those of the plain bytes); a reader takes NAME.log first and NAME.log.gz where there is none. A
reader ignores fields that it does not know and refuses a larger ``schema``. No secret is in any file: output,
command texts and answers pass the redactor before they are written.
"""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, Protocol

import msgspec
from msgspec import Struct, field

from wizard_steps.cluster import versions
from wizard_steps.errors import WalkError
from wizard_steps.recording import intake, notes
from wizard_steps.recording.events import AnyEvent
from wizard_steps.recording.notes import Note
from wizard_steps.recording.safe import safe_bytes, safe_line
from wizard_steps.recording.spool import DiskSpool, MemorySpool, Spool, write_all


class NewerWalkError(WalkError):
    """A recording in a schema from the future: exit status 3, as for all recordings that do not fit."""

    code = 3


class WalkTaken(WalkError):
    """Another walk is, or is being, recorded in that folder."""


class Meta(Struct, frozen=True):
    """``recorded`` is UTC, ISO 8601. ``note`` and ``provenance`` are for the reader.

    ``edited`` says in words what was changed after the recording, oldest first.
    """

    schema: int = versions.WALK_SCHEMA
    milepost: str = ""
    recorded: str = ""
    title: str = ""
    simulated: bool = False
    machine: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    provenance: str = ""
    note: str = ""
    edited: tuple[str, ...] = ()


def new_meta(**changes: Any) -> Meta:
    """A Meta for a recording that begins now, on this machine."""
    values = {
        "milepost": milepost_version(),
        "recorded": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "versions": {"vllm": versions.VLLM, "ray": versions.RAY},
    }
    return Meta(**{**values, **changes})


def milepost_version() -> str:
    """The installed version; "0+unknown" when run from a source tree that is not installed."""
    try:
        return metadata.version("milepost")
    except metadata.PackageNotFoundError:
        return "0+unknown"


class Journal(Protocol):
    """Where events and output of a run go."""

    spool: Spool

    def append(self, event: AnyEvent) -> None: ...

    def evidence(self, name: str, data: str) -> None: ...

    def close(self) -> None: ...


class MemoryJournal:
    """Keeps a run in memory only."""

    def __init__(self) -> None:
        self.spool: Spool = MemorySpool()
        self.events: list[AnyEvent] = []

    def append(self, event: AnyEvent) -> None:
        self.events.append(event)

    def evidence(self, name: str, data: str) -> None:
        pass

    def forget(self) -> None:
        self.events.clear()

    def close(self) -> None:
        pass


class WalkFolder:
    """A run being recorded. Raises WalkError when the disk refuses (full, read-only, no permission)."""

    def __init__(self, folder: Path, meta: Meta, new: bool = False) -> None:
        """``new``: the folder must not be there yet. Raises WalkTaken where another walk was faster."""
        self.folder = folder
        self._disk = DiskSpool(folder / "out")
        self.spool: Spool = self._disk
        taken = f"{folder}: already holds a walk; choose another folder with --walk DIR"
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise WalkError(f"{folder.parent}: cannot be made: {error.strerror or error}") from None
        try:
            self._made = not folder.exists()
            folder.mkdir(mode=0o700, exist_ok=not new)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_NOFOLLOW
            self._events = os.open(folder / "events.jsonl", flags, 0o600)
        except FileExistsError:
            raise WalkTaken(taken) from None
        except OSError as error:
            raise WalkError(f"{folder}: cannot record here: {error.strerror or error}") from None
        try:
            _write(folder / "meta.json", msgspec.json.format(msgspec.json.encode(meta), indent=2) + b"\n")
        except OSError as error:
            os.close(self._events)
            self._forget()
            raise WalkError(f"{folder}: cannot record here: {error.strerror or error}") from None

    def append(self, event: AnyEvent) -> None:
        try:
            write_all(self._events, msgspec.json.encode(event) + b"\n")
        except OSError as error:
            raise self._full(error) from None

    def evidence(self, name: str, data: str) -> None:
        """Keep a picture (.svg) or a text (.txt) of a passed gate."""
        place = self.folder / "evidence"
        try:
            place.mkdir(mode=0o700, exist_ok=True)
            _write(place / name, data.encode("utf-8", "replace"))
        except OSError as error:
            raise self._full(error) from None

    def note(self, note: Note) -> None:
        """Keep what the author says beside a step, while the walk goes on."""
        notes.append(self.folder, note)

    def forget(self) -> None:
        """Keep nothing: a walk that was refused before it began is no recording. Can be called twice."""
        self.spool.close()
        if self._events >= 0:
            os.close(self._events)
            self._events = -1
            self._forget()

    def close(self) -> None:
        """End the recording and pack its output; one without an event is not kept. Can be called twice."""
        self.spool.close()
        if self._events < 0:
            return
        if not os.fstat(self._events).st_size:
            self.forget()
            return
        os.close(self._events)
        self._events = -1
        self._disk.pack()

    def _forget(self) -> None:
        """A walk that never began must not stand in the way of the next one of that name."""
        if self._made:
            shutil.rmtree(self.folder, ignore_errors=True)
            return
        # The folder is the person's own: only what this walk put there goes.
        with contextlib.suppress(OSError):
            for name in ("events.jsonl", "meta.json"):
                (self.folder / name).unlink(missing_ok=True)
            self._disk.forget()

    def _full(self, error: OSError) -> WalkError:
        return WalkError(
            f"{self.folder}: cannot record: {error.strerror or error}. What was recorded so far is kept. "
            "Free some space or choose another folder with --walk DIR, and run again: passed steps are found."
        )


def _write(path: Path, data: bytes) -> None:
    """A whole file, or none: half a file would be read as one that was damaged."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    try:
        write_all(descriptor, data)
    except OSError:
        path.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)


class Walk(Struct, frozen=True):
    """A recording that was read back."""

    folder: Path
    meta: Meta
    events: tuple[AnyEvent, ...]
    read: Callable[[str, int, int], bytes]
    notes: tuple[Note, ...] = ()


def load(folder: Path) -> Walk:
    """Read a walk folder, see intake.py. Raises WalkError for a missing, damaged, hostile or newer one."""
    meta = _load_meta(folder)
    path = folder / "events.jsonl"
    try:
        lines = intake.read(path, intake.MOST_EVENTS).split(b"\n")
    except FileNotFoundError:
        raise WalkError(f"{path}: cannot be read: no such file") from None
    events: list[AnyEvent] = []
    story = intake.Story()
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            event = intake.decode(line, AnyEvent)
        except ValueError as error:
            if number == len(lines):
                break  # the writer was killed in mid-line
            raise WalkError(f"{path}:{number}: not an event: {safe_line(str(error))}") from None
        try:
            story.take(event)
        except ValueError as error:
            raise WalkError(f"{path}:{number}: does not fit what came before: {error}") from None
        events.append(event)
    if not events:
        raise WalkError(f"{path}: holds no events")
    return Walk(folder, meta, tuple(events), _exact(DiskSpool(folder / "out")), notes.load(folder))


def is_walk(folder: Path) -> bool:
    """Whether a folder looks like a walk, whole or not."""
    return (folder / "events.jsonl").is_file() or (folder / "meta.json").is_file()


def _exact(spool: DiskSpool) -> Callable[[str, int, int], bytes]:
    """Reads what an event promises, or raises WalkError: a replay must not judge half an output."""

    def read(name: str, start: int, end: int) -> bytes:
        data = spool.read(name, start, end)
        if len(data) != end - start:
            raise WalkError(f"{spool.folder / name}: ends before byte {end}, which an event points at")
        return safe_bytes(data)

    return read


def _load_meta(folder: Path) -> Meta:
    path = folder / "meta.json"
    if not folder.is_dir():
        raise WalkError(f"{folder}: no such walk folder")
    try:
        raw = intake.read(path, intake.MOST_META)
    except FileNotFoundError:
        raise WalkError(f"{path}: cannot be read: no such file; is this a walk folder?") from None
    try:
        meta: Meta = intake.decode(raw, Meta)
    except ValueError as error:
        raise WalkError(f"{path}: not a walk's meta.json: {safe_line(str(error))}") from None
    if meta.schema > versions.WALK_SCHEMA:
        raise NewerWalkError(
            f"{path}: schema {meta.schema} is newer than this milepost reads ({versions.WALK_SCHEMA}); "
            "upgrade milepost"
        )
    return meta
