"""`milepost --replay WALK …`: verdicts of recordings against today's steps, for CI."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from msgspec import Struct

from tui.cli.door import outside
from tui.cli.files import write_text
from tui.cli.plain import PlainReport
from wizard_steps.errors import MilepostError
from wizard_steps.model import counted, with_warnings
from wizard_steps.recording.journal import Meta, is_walk, load
from wizard_steps.recording.safe import safe_line
from wizard_steps.walks import verdicts as vs
from wizard_steps.walks.replay import replay
from wizard_steps.walks.shipped import find
from wizard_steps.walks.verdict_files import as_annotations, as_json, as_junit
from wizard_steps.walks.verdicts import WalkVerdict

#: From this many walks on they are replayed by several processes.
_MANY = 24


class Options(Struct, frozen=True):
    """How to tell. ``as_recorded``: a recorded failure that happens again is right. ``strict``: each command
    must be the recorded one, helper scripts too."""

    quiet: bool = False
    junit: Path | None = None
    json: bool = False
    annotations: bool = False
    as_recorded: bool = False
    strict: bool = False


def run_replays(folders: Sequence[Path], options: Options | None = None) -> int:
    """Replay each walk, and each walk below a folder that is none itself. Returns the exit status."""
    options = options or Options()
    lines = not options.json
    found = []
    for verdict in _verdicts(list(expand(folders)), options):
        found.append(verdict)
        if lines:
            _told(verdict, options)
    code = vs.exit_status(v.as_recorded if options.as_recorded else v.code for v in found)
    if options.json:
        print(json.dumps(as_json(found, code), indent=1))
    elif len(found) > 1:
        _totals(found)
    if options.annotations or os.environ.get("GITHUB_ACTIONS") == "true":
        for line in as_annotations(found, options.as_recorded):
            print(line, file=outside(sys.stderr if options.json else sys.stdout))
    if options.junit:
        write_text(options.junit, as_junit(found, options.as_recorded))
    return code


def expand(folders: Sequence[Path]) -> Iterator[Path]:
    """Walk folders; a folder of walks stands for the walks in it, in the order of their names."""
    for folder in map(find, folders):
        inner = [] if is_walk(folder) or not folder.is_dir() else sorted(folder.iterdir())
        walks = [path for path in inner if path.is_dir() and is_walk(path)]
        yield from walks or [folder]


def _verdicts(folders: Sequence[Path], options: Options) -> Iterator[WalkVerdict]:
    """In the order of the folders; many at once where they are many and nothing is printed on the way."""
    if len(folders) < _MANY or not (options.quiet or options.json):
        yield from (_one(folder, options) for folder in folders)
        return
    from concurrent.futures import ProcessPoolExecutor

    with ProcessPoolExecutor() as pool:
        yield from pool.map(
            _one, folders, [Options(json=True, strict=options.strict)] * len(folders), chunksize=8
        )


def _one(folder: Path, options: Options) -> WalkVerdict:
    try:
        walk = load(folder)
        if options.quiet or options.json:
            result = asyncio.run(replay(walk))
        else:
            print(heading(folder, walk.meta))
            result = asyncio.run(replay(walk, PlainReport(None)))
        return vs.of_replay(result.strict() if options.strict else result)
    except MilepostError as error:
        return vs.of_error(folder, error)


def heading(folder: Path, meta: Meta) -> str:
    """Where a recording comes from, in one line."""
    kind = "RECORDED, SIMULATED" if meta.simulated else "RECORDED"
    edited = f", edited: {'; '.join(meta.edited)}" if meta.edited else ""
    said = f"{folder}: {kind} {meta.recorded} on {meta.machine} by milepost {meta.milepost}{edited}"
    return safe_line(said)


def _told(verdict: WalkVerdict, options: Options) -> None:
    if options.quiet and verdict.meta:
        print(heading(verdict.folder, verdict.meta))
    for text in _remarks(verdict, options.quiet):
        print(f"milepost: {verdict.folder}: note: {text}", file=sys.stderr)
    for drift in verdict.drifts:
        print(f"milepost: {verdict.folder}: drift ({drift.kind}): {drift.text}", file=sys.stderr)
    if verdict.status == "unreadable":
        print(f"milepost: {verdict.detail}", file=sys.stderr)
    elif verdict.status != "drift":
        judged = [m for m in verdict.milestones if m.status in ("passed", "warning", "failed")]
        passed = sum(m.status != "failed" for m in judged)
        said = with_warnings("passed", sum(len(m.warnings) for m in judged))
        print(f"replayed: {passed} of {len(judged)} verdicts {said}, all as recorded")


def _remarks(verdict: WalkVerdict, quiet: bool) -> Iterator[str]:
    """``quiet``: helper scripts that changed in one line, for an old recording has dozens of them."""
    helpers = [remark for remark in verdict.remarks if quiet and remark.kind == "helper"]
    yield from (remark.text for remark in verdict.remarks if remark not in helpers)
    if len(helpers) == 1:
        yield helpers[0].text
    elif helpers:
        yield (
            f"the helper scripts behind {counted(len(helpers), 'command')} have changed since; "
            "the commands a person sees have not (without --quiet: which)"
        )


def _totals(found: Sequence[WalkVerdict]) -> None:
    kinds = ("passed", "failed", "interrupted", "drift", "unreadable")
    counts = {kind: sum(v.status == kind for v in found) for kind in kinds}
    said = ", ".join(f"{n} {kind}" for kind, n in counts.items() if n)
    print(f"\n{len(found)} walks: {said}")
