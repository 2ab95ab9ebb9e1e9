"""Reads the files of a recording that may come from a stranger: plain files, of bounded size and nesting.

A link could bring in a file of this machine, a pipe or a device would hang or never end, and what the events
say of one another is believed by everything behind this door. Everything raises WalkError in one sentence.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from wizard_steps.errors import WalkError
from wizard_steps.files import open_plain
from wizard_steps.model import Verdict
from wizard_steps.recording import events as ev
from wizard_steps.recording.safe import safe

#: Bytes that a file of a recording may have.
MOST_META, MOST_EVENTS, MOST_NOTES, MOST_EVIDENCE = 1 << 20, 1 << 28, 16 << 20, 32 << 20
#: Bytes of one event: a verdict with its comparisons is the largest.
MOST_EVENT = 64 << 20
#: Bytes that one ``output`` event may point at.
MOST_PIECE = 64 << 20
#: Seconds a walk can have lasted, and milestones it can have.
MOST_SECONDS, MOST_STEPS = 1e9, 1000
#: Checks of a verdict; checks and compared lines of all verdicts. 256 nodes make about 4,000 checks.
MOST_CHECKS, MOST_JUDGED = 30_000, 500_000
#: Lists and objects in one another; milepost's own have six.
DEEPEST = 64


def open_folder(path: Path) -> int:
    """A folder that is no link, to open names in. The caller closes it. Raises OSError."""
    return os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_DIRECTORY | os.O_CLOEXEC)


def why(error: OSError) -> str:
    """An OSError of the above in words."""
    if error.errno == errno.ELOOP:
        return "it is a link, and a recording has none"
    if error.errno == errno.ENOTDIR:
        return "not a folder (a link to one counts for none)"
    return error.strerror or str(error)


def read(path: Path, most: int) -> bytes:
    """A whole file. Raises FileNotFoundError, and WalkError for anything else."""
    try:
        with open_plain(path) as file:
            return _whole(file, path, most)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise WalkError(f"{path}: cannot be read: {why(error)}") from None


def read_in(folder: Path, name: str, most: int) -> bytes:
    """The same for a file in a folder that must be no link either."""
    try:
        place = open_folder(folder)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise WalkError(f"{folder}: cannot be read: {why(error)}") from None
    try:
        with open_plain(Path(name), place) as file:
            return _whole(file, folder / name, most)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise WalkError(f"{folder / name}: cannot be read: {why(error)}") from None
    finally:
        os.close(place)


def _whole(file: BinaryIO, path: Path, most: int) -> bytes:
    """A file that is too large by its size is not read: a sparse one costs its maker nothing."""
    data = b"" if (large := os.fstat(file.fileno()).st_size > most) else file.read(most + 1)
    if large or len(data) > most:
        raise WalkError(f"{path}: larger than {most >> 20} MiB, which no recording's is")
    return data


def names(folder: Path) -> list[str]:
    """The names in a folder that is no link, in order; none where there is no such folder."""
    try:
        place = open_folder(folder)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise WalkError(f"{folder}: cannot be read: {why(error)}") from None
    try:
        return sorted(os.listdir(place))
    finally:
        os.close(place)


def decode(line: bytes, kind: Any) -> Any:
    """One JSON value of a type, every text in it made safe. Raises ValueError in words."""
    if len(line) > MOST_EVENT:
        raise ValueError(f"larger than {MOST_EVENT >> 20} MiB")
    try:
        text = line.decode()
        if "\\u" not in text and safe(text) == text:
            found = _decoder(kind).decode(line)
            for field in ("cluster", "verdict"):  # they have values of any type in them
                _clean(msgspec.to_builtins(getattr(found, field, None)), DEEPEST)
            return found
        return msgspec.convert(_clean(msgspec.json.decode(line), DEEPEST), kind)
    except RecursionError:
        raise ValueError("nested too deep") from None
    except (msgspec.MsgspecError, UnicodeError, OverflowError) as error:
        raise ValueError(str(error)) from None


@lru_cache(maxsize=8)
def _decoder(kind: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(kind)


def _clean(value: Any, depth: int) -> Any:
    if isinstance(value, str):
        return safe(value)
    if depth <= 0 and isinstance(value, Mapping | list):
        raise ValueError("nested too deep")
    if isinstance(value, Mapping):
        return {safe(k): _clean(inner, depth - 1) for k, inner in value.items()}
    if isinstance(value, list):
        return [_clean(inner, depth - 1) for inner in value]
    return value


class Story:
    """What one event says must fit those before it. ``take`` raises ValueError in words where it does not."""

    def __init__(self) -> None:
        self._steps: set[str] | None = None
        self._spools: dict[int, str] = {}
        self._ends: dict[str, int] = {}
        self._judged = 0

    def take(self, event: ev.AnyEvent) -> None:
        for number in _times(event):
            if not 0 <= number <= MOST_SECONDS:
                raise ValueError(f"{number:g} is not a time of a walk")
        if isinstance(event, ev.WalkStarted):
            self._begin(event)
            return
        if self._steps is None:
            raise ValueError("comes before the walk has started")
        step = getattr(event, "step", None)
        if step is not None and step not in self._steps:
            raise ValueError(f"the walk has no step {step[:80]!r}")
        match event:
            case ev.StepStarted() | ev.Judged():
                if not 1 <= event.attempt <= 10**6:
                    raise ValueError(f"{event.attempt} is not the number of an attempt")
                if isinstance(event, ev.Judged):
                    self._count(event.verdict)
            case ev.CommandStarted():
                if event.run in self._spools or not 0 <= event.run < 1 << 31:
                    raise ValueError(f"the run {event.run} cannot start here")
                self._spools[event.run] = event.spool
            case ev.Output():
                self._output(event)
            case ev.CommandEnded():
                self._spool(event.run)
            case _:
                pass

    def _begin(self, event: ev.WalkStarted) -> None:
        if self._steps is not None:
            raise ValueError("the walk starts a second time")
        self._steps = {step for step, _ in event.steps}
        if len(self._steps) != len(event.steps):
            raise ValueError("two steps have one id")
        if len(self._steps) > MOST_STEPS:
            raise ValueError(f"more than {MOST_STEPS} steps")

    def _count(self, verdict: Verdict) -> None:
        if len(verdict.checks) > MOST_CHECKS:
            raise ValueError(f"{len(verdict.checks):,} checks, which no verdict has")
        self._judged += len(verdict.checks) + sum(len(one.rows) for one in verdict.comparisons)
        if self._judged > MOST_JUDGED:
            raise ValueError(f"more than {MOST_JUDGED:,} checks and compared lines")

    def _spool(self, run: int) -> str:
        if run not in self._spools:
            raise ValueError(f"the run {run} has not started")
        return self._spools[run]

    def _output(self, event: ev.Output) -> None:
        """Outputs follow one another in their file: what overlaps could be read a thousand times."""
        name = self._spool(event.run)
        if not 0 <= event.start <= event.end < 1 << 60 or event.end - event.start > MOST_PIECE:
            raise ValueError(f"bytes {event.start} to {event.end} are not a piece of an output")
        if event.start < self._ends.get(name, 0):
            raise ValueError(f"bytes {event.start} to {event.end} were read before")
        self._ends[name] = event.end


def _times(event: ev.AnyEvent) -> Iterable[float]:
    yield event.t
    if isinstance(event, ev.CommandEnded):
        yield event.started
        yield event.ended
    if isinstance(event, ev.Waiting):
        yield event.deadline
