"""The recordings that come with milepost, found by name alone."""

from __future__ import annotations

from pathlib import Path

from wizard_steps.engine.expected import SNAPSHOTS
from wizard_steps.recording.journal import is_walk

FOLDER = SNAPSHOTS / "walks"


def names() -> list[str]:
    """The walks that come with milepost, sorted."""
    return sorted(path.name for path in FOLDER.iterdir() if is_walk(path)) if FOLDER.is_dir() else []


def find(folder: Path) -> Path:
    """The folder itself, or the shipped walk of that name where there is no such folder."""
    if not folder.exists() and len(folder.parts) == 1 and folder.name in names():
        return FOLDER / folder.name
    return folder
