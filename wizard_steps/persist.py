"""Keeps the cluster file up to date with the answers a person gives, comments and all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from wizard_steps.cluster.edit import with_values
from wizard_steps.cluster.file import Cluster, dump, load
from wizard_steps.errors import UsageError
from wizard_steps.model import Question
from wizard_steps.recording import events as ev
from wizard_steps.recording.state import State


class Persist:
    """Told every event; writes answers that belong in the file (a chosen IP, an edited value) at once.

    The file is read again before each write: what somebody else changed in it meanwhile stays.
    Raises UsageError when the file cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._asked: dict[str, Question] = {}

    def __call__(self, event: ev.AnyEvent, state: State) -> None:
        match event:
            case ev.Asked():
                self._asked[event.question.id] = event.question
            case ev.Answered(question="gate", value="edit"):
                self._set(*(event.edits or ((event.where, event.text),)))
            case ev.Answered() if asked := self._asked.get(event.question):
                if edits := asked.edits(event.value):
                    self._set(*edits)
            case ev.ClusterEdited() if event.where.startswith("env."):
                self._set((event.where, event.value))
            case _:
                pass

    def _set(self, *edits: tuple[str, str]) -> None:
        write(self.path, with_values(load(self.path), edits))


def write(path: Path, cluster: Cluster) -> None:
    """Write the cluster file in one move: a crash leaves the old one or the new one, never half."""
    try:
        previous = path.read_text(encoding="utf-8") if path.exists() else ""
        mode = path.stat().st_mode & 0o777 if path.exists() else 0o644
        _move(path, dump(cluster, previous), mode)
    except OSError as error:
        raise UsageError(f"{path}: cannot be written: {error.strerror or error}") from None


def keep(path: Path, beside: Path) -> None:
    """Copies the cluster file as it is, comments and all, over what is at ``beside``."""
    try:
        _move(beside, path.read_text(encoding="utf-8"), path.stat().st_mode & 0o777)
    except OSError as error:
        raise UsageError(f"{beside}: cannot be written: {error.strerror or error}") from None


def _move(path: Path, text: str, mode: int) -> None:
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.resolve().parent)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
    os.chmod(name, mode)
    os.replace(name, path.resolve())
