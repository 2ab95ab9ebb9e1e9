"""The recordings that come with milepost, found by name alone, and what each one shows."""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct

from wizard_steps.engine.expected import SNAPSHOTS
from wizard_steps.errors import MilepostError, UsageError
from wizard_steps.recording.journal import is_walk, load
from wizard_steps.walks.player import Timeline

FOLDER = SNAPSHOTS / "walks"


class About(Struct, frozen=True):
    """``seconds``: how long it plays at speed 1, without the time for questions."""

    name: str
    title: str
    note: str
    seconds: float
    simulated: bool

    @property
    def length(self) -> str:
        """``1 min``, ``40 s``."""
        return f"{self.seconds / 60:.0f} min" if self.seconds >= 55 else f"{self.seconds:.0f} s"


def names() -> list[str]:
    """The walks that come with milepost, sorted."""
    return sorted(path.name for path in FOLDER.iterdir() if is_walk(path)) if FOLDER.is_dir() else []


def find(folder: Path) -> Path:
    """The folder itself, or the shipped walk of that name where there is no such folder."""
    if not folder.exists() and len(folder.parts) == 1 and folder.name in names():
        return FOLDER / folder.name
    return folder


def about(name: str) -> About:
    """What a shipped walk shows. Raises MilepostError when it cannot be read."""
    walk = load(FOLDER / name)
    meta = walk.meta
    return About(name, meta.title or name, meta.note, Timeline(walk.events).length, meta.simulated)


def listing() -> str:
    """The shipped walks, one a line and what it shows below."""
    lines = ["Recordings that come with milepost:", ""]
    for name in names():
        try:
            one = about(name)
        except MilepostError as error:
            lines.append(f"  {name}  cannot be read: {error}")
            continue
        kind = ", SIMULATED GPUs" if one.simulated else ""
        lines += [f"  {name:<26}{one.title}  ({one.length}{kind})", f"  {'':<26}{one.note}"]
    return "\n".join(
        [*lines, "", "Watch one with `milepost --watch NAME`; `milepost learn` is a course with them."]
    )


def watchable(folder: Path) -> Path:
    """The walk to watch. Raises UsageError with the list of shipped walks when there is none."""
    found = find(folder)
    if not found.exists():
        raise UsageError(f"{folder}: no such walk.\n{listing()}")
    return found
