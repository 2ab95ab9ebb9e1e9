"""What the gates of a recorded walk found: said where no rule knows an output of it."""

from __future__ import annotations

import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

from wizard_steps.diagnose.model import Action, Diagnosis
from wizard_steps.errors import MilepostError
from wizard_steps.recording import journal
from wizard_steps.recording.safe import safe_line
from wizard_steps.recording.state import State, StepState, fold

#: Failing checks, and things to try, that one gate lists.
_MOST = 6
#: What a walk's events and its description may take in an archive, bytes each.
_LARGEST = 1 << 26
#: Files of a walk that its state is made of.
_OF_STATE = ("meta.json", "events.jsonl")


def failed(state: State) -> list[Diagnosis]:
    """One finding for each gate whose latest attempt failed, in the order of the steps."""
    return [_finding(step) for step in state.steps if step.status == "failed" and step.verdict]


def _finding(step: StepState) -> Diagnosis:
    assert step.verdict is not None
    failing = step.verdict.failures
    told = [
        f"{f'{check.node}: ' if check.node else ''}{check.name}: found {check.found or 'nothing'}"
        + (f", wanted {check.wanted}" if check.wanted else "")
        for check in failing[:_MOST]
    ]
    more = [f"and {len(failing) - _MOST} more"] if len(failing) > _MOST else []
    nodes = {check.node for check in failing}
    hints = dict.fromkeys(check.hint for check in failing if check.hint)
    return Diagnosis(
        rule=f"gate {step.id}",
        family="gate",
        kind="gate",
        cause=safe_line(" · ".join([f"{step.title}: {step.verdict.summary}", *dict.fromkeys(told), *more])),
        node=nodes.pop() if len(nodes) == 1 else "",
        evidence=(),
        try_=tuple(Action(hint) for hint in list(hints)[:_MOST]),
        confidence=1.0,
        source="the recording",
    )


def state_of(name: str) -> State | None:
    """The state of the recorded walk that a folder, an unpacked bundle or a bundle holds; None for what is no
    recording or cannot be read."""
    path = Path(name)
    try:
        folder = next((one for one in (path, path / "walk") if journal.is_walk(one)), None)
        if folder is not None:
            return fold(journal.load(folder).events)
        return (
            _of_archive(path) if path.name.endswith((".tar.gz", ".tgz", ".tar")) and path.is_file() else None
        )
    except (MilepostError, OSError, tarfile.TarError, EOFError, ValueError):
        return None


def _of_archive(path: Path) -> State | None:
    with tarfile.open(path) as archive, tempfile.TemporaryDirectory() as place:
        for name, data in _members(archive):
            Path(place, name).write_bytes(data)
        return fold(journal.load(Path(place)).events) if journal.is_walk(Path(place)) else None


def _members(archive: tarfile.TarFile) -> Iterator[tuple[str, bytes]]:
    for member in archive:
        # NAME/walk/events.jsonl in a bundle, NAME/events.jsonl in the archive of a walk.
        name = member.name.rsplit("/", 1)[-1]
        if name in _OF_STATE and member.name.count("/") <= 2 and member.isreg() and member.size <= _LARGEST:
            file = archive.extractfile(member)
            if file is not None:
                yield name, file.read()
