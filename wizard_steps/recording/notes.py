"""What an author says beside a step of a recording: ``notes.jsonl``, one note a line."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import stat
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Literal

import msgspec
from msgspec import Struct

from wizard_steps.errors import WalkError
from wizard_steps.recording import intake
from wizard_steps.recording.spool import write_all

FILE = "notes.jsonl"
#: A note is shown next to a step. ask: a question put before the answer at the step's failed gate is shown.
NoteKind = Literal["note", "ask"]


class Note(Struct, frozen=True):
    """``attempt`` 0 means every attempt; an empty ``step`` the whole walk. ``written`` is UTC, ISO 8601."""

    step: str
    text: str
    kind: NoteKind = "note"
    attempt: int = 0
    author: str = ""
    written: str = ""


def now(step: str, text: str, kind: NoteKind = "note", attempt: int = 0, author: str = "") -> Note:
    """A note written now."""
    stamp = datetime.now(UTC).isoformat(timespec="seconds")
    return Note(step=step, text=text, kind=kind, attempt=attempt, author=author, written=stamp)


def append(folder: Path, note: Note) -> None:
    """Add a note to a walk folder; one that is being recorded too. Raises WalkError when the disk refuses."""
    line = msgspec.json.encode(note) + b"\n"
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        descriptor = os.open(folder / FILE, flags, 0o600)
        with os.fdopen(descriptor, "r+b", buffering=0) as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise OSError(errno.EINVAL, "not a plain file")
            if file.seek(0, os.SEEK_END) and not _ended(file):
                line = b"\n" + line
            write_all(descriptor, line)
    except OSError as error:
        raise WalkError(f"{folder / FILE}: cannot be written: {intake.why(error)}") from None


def _ended(file: BinaryIO | io.FileIO) -> bool:
    """Whether the last line is whole: a writer may have been killed in the middle of one."""
    file.seek(-1, os.SEEK_END)
    return file.read(1) == b"\n"


def load(folder: Path) -> tuple[Note, ...]:
    """The notes of a walk, oldest first. A line that a killed writer left unfinished is dropped."""
    try:
        lines = intake.read(folder / FILE, intake.MOST_NOTES).split(b"\n")
    except FileNotFoundError:
        return ()
    notes: list[Note] = []
    for line in lines:
        with contextlib.suppress(ValueError):
            notes.append(intake.decode(line, Note))
    return tuple(notes)


def of_step(notes: tuple[Note, ...], step: str, attempt: int, kind: NoteKind = "note") -> tuple[Note, ...]:
    """The notes of one kind that belong beside an attempt at a step."""
    return tuple(n for n in notes if n.step == step and n.attempt in (0, attempt) and n.kind == kind)
