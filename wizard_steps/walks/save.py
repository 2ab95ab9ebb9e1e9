"""Writes an edited recording: never with a secret in it, never half of it, never one with other verdicts."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from msgspec.structs import replace

from wizard_steps.errors import WalkError
from wizard_steps.recording import events as ev
from wizard_steps.recording import notes
from wizard_steps.recording.journal import Walk, WalkFolder
from wizard_steps.recording.redact import Redactor
from wizard_steps.walks.identify import secrets
from wizard_steps.walks.rename import fingerprints, rename
from wizard_steps.walks.replay import Replayed, replay
from wizard_steps.walks.texts import Draft

#: Containers of one recording, at most, whose fingerprint is looked after.
_CONTAINERS = 512


def refuse_secrets(item: Draft, redactor: Redactor) -> None:
    """Raises WalkError that names the places, never the secret."""
    places = secrets(item, redactor)
    if places:
        more = f" and {len(places) - 8} more places" if len(places) > 8 else ""
        raise WalkError(
            f"{item.walk.folder}: a known secret is in it: {', '.join(places[:8])}{more}. "
            "Nothing was written. Take it out with --redact, and revoke it: it has been on disk"
        )


async def with_new_fingerprints(item: Draft) -> Draft:
    """After a rename: a container's label has a hash of its whole command line, names included. A replay
    stops at the first that differs, so each is put right in turn; `refuse_drift` tells what is left."""
    for _ in range(_CONTAINERS):
        found = fingerprints((await replay(item.walk)).drifts)
        if not found:
            break
        item = rename(item, found)
    return item


async def refuse_drift(before: Walk, after: Walk) -> str:
    """Raises WalkError when the edit changed what a replay says. Returns why that could not be checked."""
    old, new = await replay(before), await replay(after)
    if old.drifted:
        return (
            f"the recording drifted before it was edited ({old.drift}); the edit was not checked by a replay"
        )
    if new.drifted:
        raise WalkError(
            f"{before.folder}: the edited walk would not replay: {new.drift}. Nothing was written"
        )
    if after_cut(old, new) != _passed(new):
        raise WalkError(f"{before.folder}: the edited walk gives other verdicts. Nothing was written")
    return ""


def after_cut(old: Replayed, new: Replayed) -> list[tuple[str, bool]]:
    """The old verdicts that the new walk can still have: a cut takes some away and adds none."""
    kept: list[tuple[str, bool]] = []
    wanted = iter(_passed(new))
    want = next(wanted, None)
    for verdict in _passed(old):
        if verdict == want:
            kept.append(verdict)
            want = next(wanted, None)
    return kept


def _passed(result: Replayed) -> list[tuple[str, bool]]:
    return [(e.step, e.verdict.passed) for e in result.judged]


def save(item: Draft, folder: Path, redactor: Redactor) -> None:
    """Write the recording to a new folder. Raises WalkError; then nothing is left there."""
    refuse_secrets(item, redactor)
    if folder.exists():
        raise WalkError(f"{folder}: is there already; choose another folder")
    part = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    try:
        _write(item, part)
        part.rename(folder)
    except OSError as error:
        raise WalkError(f"{folder}: cannot be written: {error.strerror or error}") from None
    finally:
        shutil.rmtree(part, ignore_errors=True)


def save_in_place(item: Draft, redactor: Redactor) -> None:
    """Put the edited recording where the old one was; a crash leaves one of them."""
    folder = item.walk.folder
    old = folder.with_name(f"{folder.name}.before-edit")
    if old.exists():
        raise WalkError(f"{old}: is left from an earlier edit; move it away first")
    new = folder.with_name(f"{folder.name}.edited")
    save(item, new, redactor)
    try:
        folder.rename(old)
        new.rename(folder)
    except OSError as error:
        raise WalkError(
            f"{folder}: cannot be replaced: {error.strerror or error}; see {old} and {new}"
        ) from None
    shutil.rmtree(old, ignore_errors=True)


def _write(item: Draft, folder: Path) -> None:
    walk = item.walk
    target = WalkFolder(folder, walk.meta)
    spools = {e.run: e.spool for e in walk.events if isinstance(e, ev.CommandStarted)}
    try:
        for event in walk.events:
            if isinstance(event, ev.Output):
                data = walk.read(spools[event.run], event.start, event.end)
                start, end = target.spool.append(spools[event.run], data)
                event = replace(event, start=start, end=end)
            target.append(event)
        for name, text in item.evidence.items():
            target.evidence(name, text)
    finally:
        target.close()
    for note in walk.notes:
        notes.append(folder, note)
