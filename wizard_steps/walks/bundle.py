"""One redacted archive for a ticket: what somebody needs who was not there, and nothing that is secret.

What it holds is listed in its README, with the number of places where something was redacted.
"""

from __future__ import annotations

import contextlib
import io
import tarfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec
from msgspec import Struct

from wizard_steps.diagnose import as_json, as_text
from wizard_steps.diagnose.explain import findings_of
from wizard_steps.errors import WalkError
from wizard_steps.model import counted
from wizard_steps.plan import milestone
from wizard_steps.recording import intake
from wizard_steps.recording.journal import Walk
from wizard_steps.recording.redact import MARK, Redactor
from wizard_steps.recording.safe import safe, safe_json
from wizard_steps.recording.spool import DiskSpool
from wizard_steps.recording.state import Run, State, fold
from wizard_steps.walks.texts import evidence

#: The first error of vLLM stands near the beginning of its log; this much of it (bytes) is put in.
FIRST = 256 * 1024
#: The files of a walk that are no output, and the bytes they may have.
_OWN = (
    ("events.jsonl", intake.MOST_EVENTS),
    ("meta.json", intake.MOST_META),
    ("notes.jsonl", intake.MOST_NOTES),
)


#: Bytes of all outputs in a bundle.
_MOST_OUTPUT = 256 << 20


class Piece(Struct, frozen=True):
    """One file of the bundle, and what it is, for its README."""

    name: str
    text: str
    about: str


def pieces(walk: Walk, fresh: Mapping[str, str] | None = None) -> list[Piece]:
    """The files of a bundle but the walk's own. ``fresh`` adds files gathered just now (name to text)."""
    state = fold(walk.events)
    made = [
        Piece("summary.txt", _summary(walk, state), "which path, versions, milestones and their verdicts"),
        *_diagnosis(walk, state),
        *_outputs(walk, state),
    ]
    return made + [
        Piece(name, text, "gathered when the bundle was made") for name, text in (fresh or {}).items()
    ]


def write(walk: Walk, target: Path, redactor: Redactor, fresh: Mapping[str, str] | None = None) -> list[str]:
    """Write the archive (.tar.gz); what it holds, as lines of its README. Raises WalkError.

    Everything passes the redactor once more: a secret that became known after the recording is taken out.
    """
    files: dict[str, str] = {piece.name: redactor.text(piece.text) for piece in pieces(walk, fresh)}
    about = {piece.name: piece.about for piece in pieces(walk, fresh)}
    for path, text in _walk_files(walk):
        files[f"walk/{path}"] = redactor.text(text)
    lines = [_line(name, text, about.get(name, "")) for name, text in files.items()]
    files = {"README.md": _readme(walk, lines), **files}
    try:
        _tar(target, files)
    except OSError as error:
        raise WalkError(f"{target}: cannot be written: {error.strerror or error}") from None
    return lines


def _line(name: str, text: str, about: str) -> str:
    count = text.count(MARK)
    hidden = f", {counted(count, 'place')} redacted" if count else ""
    return f"{name} ({len(text.encode()):,} bytes{hidden})" + (f": {about}" if about else "")


def _readme(walk: Walk, lines: list[str]) -> str:
    kind = "SIMULATED: recorded on the embedded lab. " if walk.meta.simulated else ""
    return "\n".join(
        [
            "# A walk of milepost, for a ticket",
            "",
            f"{kind}Recorded {walk.meta.recorded} on {walk.meta.machine} by milepost {walk.meta.milepost}.",
            "Begin with diagnosis.txt and summary.txt. `milepost --replay walk` replays it,",
            "`milepost diagnose` reads any of the texts.",
            "",
            f"Secrets were removed before anything was written ({MARK} marks where one was). Host, user",
            "and interface names and addresses are in it; `milepost edit` can replace them first.",
            "",
            *(f"- {line}" for line in lines),
            "",
        ]
    )


def _summary(walk: Walk, state: State) -> str:
    meta = walk.meta
    lines = [
        f"path: {state.path}",
        f"outcome: {state.outcome or 'cut off'}{' - ' + state.detail if state.detail else ''}",
        f"recorded: {meta.recorded} by milepost {meta.milepost}",
        *(f"pinned {name}: {version}" for name, version in meta.versions.items()),
        "",
    ]
    for step in state.steps:
        said = step.verdict.summary if step.verdict else ""
        lines.append(f"{step.status:8} {step.title} ({step.elapsed(state.t):.1f} s) {said}".rstrip())
        for check in step.verdict.failures if step.verdict else ():
            lines.append(f"           {check.node} {check.name}: {check.found} (wanted: {check.wanted})")
    return "\n".join([*lines, ""])


def _diagnosis(walk: Walk, state: State) -> Iterator[Piece]:
    failed = next((s.id for s in reversed(state.steps) if s.verdict and not s.verdict.passed), "")
    found = findings_of(state, failed, DiskSpool(walk.folder / "out")) if failed else []
    text = (
        "\n".join([*as_text(found), ""])
        if found
        else "No known failure was found in the output of this walk.\n"
    )
    yield Piece("diagnosis.txt", text, f"the cause as milepost sees it ({failed or 'no gate failed'})")
    yield Piece("diagnosis.json", msgspec.json.encode(as_json(found)).decode(), "the same for programs")


def _text(walk: Walk, run: Run, most: int | None = None) -> str:
    start, end = run.start or 0, run.end or 0
    return walk.read(run.spool, start, min(end, start + most) if most else end).decode("utf-8", "replace")


def _outputs(walk: Walk, state: State) -> Iterator[Piece]:
    """What the milestones themselves name for a ticket: of each node the last output, files in plan order."""
    parts: dict[tuple[str, str], list[str]] = {}
    for step in state.steps:
        today = milestone(step.id)
        for bundled in today.bundled if today is not None else ():
            latest = {
                (run.node, run.key): run
                for key in bundled.keys
                for run in state.runs.values()
                if (run.step, run.key) == (step.id, key) and run.end
            }
            for (node, key), run in latest.items():
                text = f"== {node}: {key}\n{_text(walk, run, FIRST)}"
                parts.setdefault((bundled.name, bundled.about), []).append(text)
    for (name, about), texts in parts.items():
        yield Piece(name, "\n".join(texts), about)


def _walk_files(walk: Walk) -> Iterator[tuple[str, str]]:
    """The recording itself: what the events point at and no more, plain. (A bundle is packed as a whole.)"""
    for name, most in _OWN:
        with contextlib.suppress(FileNotFoundError):
            yield name, safe_json(_decoded(intake.read(walk.folder / name, most)))
    ends: dict[str, int] = {}
    for run in fold(walk.events).runs.values():
        ends[run.spool] = max(ends.get(run.spool, 0), run.end or 0)
    left = _MOST_OUTPUT
    for name, end in sorted(ends.items()):
        left -= end
        if left < 0:
            left += end
            yield (
                f"out/{name}.txt",
                f"Left out: {end:,} bytes. A bundle takes {_MOST_OUTPUT >> 20} MiB of output.\n",
            )
        elif end:
            yield f"out/{name}", safe(_decoded(walk.read(name, 0, end)))
    for name, text in evidence(walk.folder).items():
        if name.endswith(".txt"):
            yield f"evidence/{name}", text


def _decoded(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def _tar(target: Path, files: Mapping[str, str]) -> None:
    # A folder with the archive's own name could not be unpacked beside it.
    stem = target.name.removesuffix(".gz").removesuffix(".tar").removesuffix(".tgz")
    stem = f"{stem}-files" if stem == target.name else stem or "bundle"
    with tarfile.open(target, "w:gz") as archive:
        for name, text in files.items():
            data = text.encode()
            info = tarfile.TarInfo(f"{stem}/{name}")
            info.size, info.mode, info.mtime = len(data), 0o600, int(time.time())
            archive.addfile(info, io.BytesIO(data))
    target.chmod(0o600)
