"""The walk folder: what a run recorded, and how it is read back.

    meta.json       schema, versions, when, where, simulated or not
    events.jsonl    one event a line, appended as it happens
    out/            cleaned and redacted output, one file a (node, step, command)
    evidence/       the picture and the text of every passed gate

Only ever appended to; a SIGKILL in mid-write costs at most the last line, which a reader drops.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, Protocol

import msgspec
from msgspec import Struct, field

from wizard_steps import versions
from wizard_steps.errors import WalkError
from wizard_steps.events import AnyEvent
from wizard_steps.spool import DiskSpool, MemorySpool, Spool


class Meta(Struct, frozen=True):
    """``recorded`` is UTC, ISO 8601. ``note`` and ``provenance`` are for the reader."""

    schema: int = versions.WALK_SCHEMA
    milepost: str = ""
    recorded: str = ""
    title: str = ""
    simulated: bool = False
    machine: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    provenance: str = ""
    note: str = ""


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

    def close(self) -> None:
        pass


class WalkFolder:
    """A run being recorded. Raises WalkError when the disk refuses (full, read-only, no permission)."""

    def __init__(self, folder: Path, meta: Meta) -> None:
        self.folder = folder
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if (folder / "events.jsonl").exists():
                raise WalkError(f"{folder}: already holds a walk; choose another folder with --walk DIR")
            _write(folder / "meta.json", msgspec.json.format(msgspec.json.encode(meta), indent=2) + b"\n")
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
            self._events = os.open(folder / "events.jsonl", flags, 0o600)
        except OSError as error:
            raise WalkError(f"{folder}: cannot record here: {error.strerror or error}") from None
        self.spool: Spool = DiskSpool(folder / "out")

    def append(self, event: AnyEvent) -> None:
        line = msgspec.json.encode(event) + b"\n"
        try:
            done = os.write(self._events, line)
        except OSError as error:
            raise self._full(error) from None
        if done != len(line):
            raise self._full(OSError(28, "No space left on device"))

    def evidence(self, name: str, data: str) -> None:
        """Keep a picture (.svg) or a text (.txt) of a passed gate."""
        place = self.folder / "evidence"
        try:
            place.mkdir(mode=0o700, exist_ok=True)
            _write(place / name, data.encode("utf-8", "replace"))
        except OSError as error:
            raise self._full(error) from None

    def close(self) -> None:
        self.spool.close()
        if self._events >= 0:
            os.close(self._events)
            self._events = -1

    def _full(self, error: OSError) -> WalkError:
        return WalkError(
            f"{self.folder}: cannot record: {error.strerror or error}. What was recorded so far is kept. "
            "Free some space or choose another folder with --walk DIR, and run again: passed steps are found."
        )


def _write(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)


class Walk(Struct, frozen=True):
    """A recording that was read back."""

    folder: Path
    meta: Meta
    events: tuple[AnyEvent, ...]
    read: Callable[[str, int, int], bytes]


def load(folder: Path) -> Walk:
    """Read a walk folder. Raises WalkError for a missing, damaged or newer one."""
    meta = _load_meta(folder)
    try:
        lines = (folder / "events.jsonl").read_bytes().split(b"\n")
    except OSError as error:
        raise WalkError(f"{folder / 'events.jsonl'}: cannot be read: {error.strerror or error}") from None
    decoder = msgspec.json.Decoder(AnyEvent)
    events: list[AnyEvent] = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            events.append(decoder.decode(line))
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            if number == len(lines):
                break  # the writer was killed in mid-line
            raise WalkError(f"{folder / 'events.jsonl'}:{number}: not an event: {error}") from None
    if not events:
        raise WalkError(f"{folder / 'events.jsonl'}: holds no events")
    return Walk(folder=folder, meta=meta, events=tuple(events), read=DiskSpool(folder / "out").read)


def _load_meta(folder: Path) -> Meta:
    path = folder / "meta.json"
    if not folder.is_dir():
        raise WalkError(f"{folder}: no such walk folder")
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise WalkError(
            f"{path}: cannot be read: {error.strerror or error}; is this a walk folder?"
        ) from None
    try:
        meta = msgspec.json.decode(raw, type=Meta)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise WalkError(f"{path}: not a walk's meta.json: {error}") from None
    if meta.schema > versions.WALK_SCHEMA:
        raise WalkError(
            f"{path}: schema {meta.schema} is newer than this milepost reads ({versions.WALK_SCHEMA}); "
            "upgrade milepost"
        )
    return meta
