"""`milepost --replay WALK …`: verdicts of recordings against today's steps, for CI."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

from tui.plain import PlainReport
from wizard_steps.errors import WalkError
from wizard_steps.replaying import Replayed, replay
from wizard_steps.walk import Walk, load


def run_replays(folders: Sequence[Path], quiet: bool = False) -> int:
    """Replay each walk. The exit status is the worst: drift 3, unreadable 2, failed 1, passed 0."""
    codes = []
    for folder in folders:
        try:
            codes.append(_one(load(folder), quiet))
        except WalkError as error:
            print(f"milepost: {error}", file=sys.stderr)
            codes.append(error.code)
    rank = {0: 0, 1: 1, 130: 2, 2: 3, 3: 4}
    return max(codes, key=lambda code: rank.get(code, 5))


def _one(walk: Walk, quiet: bool) -> int:
    meta = walk.meta
    kind = "RECORDED, SIMULATED" if meta.simulated else "RECORDED"
    print(f"{walk.folder}: {kind} {meta.recorded} on {meta.machine} by milepost {meta.milepost}")
    report = PlainReport(None, verbose=not quiet)
    result = asyncio.run(replay(walk, report))
    _summary(result, walk)
    return result.code


def _summary(result: Replayed, walk: Walk) -> None:
    if result.drift:
        print(f"milepost: {walk.folder}: drift: {result.drift}", file=sys.stderr)
        return
    passed = sum(event.verdict.passed for event in result.judged)
    print(f"replayed: {passed} of {len(result.judged)} verdicts passed, all as recorded")
