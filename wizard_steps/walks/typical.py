"""How long each milestone took in earlier recordings of the same cluster, for those who wait."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from wizard_steps.errors import MilepostError
from wizard_steps.model import counted
from wizard_steps.recording.journal import load
from wizard_steps.recording.state import State, fold
from wizard_steps.walks.handover import seconds

#: So many recordings are read, the newest ones; none with more events than this (bytes).
_WALKS, _EVENTS = 8, 4 << 20
#: What took less than this (seconds) is not waited for.
_SHORT = 3.0


@dataclass(frozen=True, slots=True)
class Usual:
    """Seconds of the quickest and the slowest of ``count`` passes."""

    low: float
    high: float
    count: int

    @property
    def words(self) -> str:
        low, high = seconds(self.low), seconds(self.high)
        span = low if low == high else f"{low} to {high}"
        return f"{span} in {counted(self.count, 'earlier walk')}"


def usual(folder: Path, cluster: str, simulated: bool) -> dict[str, Usual]:
    """By id of a milestone, from the readable recordings in the same folder as ``folder``."""
    states = (found for other in _newest(folder) if (found := _state(other)) is not None)
    return summed(one for one in states if one.cluster.get("name") == cluster and one.simulated == simulated)


def summed(states: Iterable[State]) -> dict[str, Usual]:
    """A milestone that only found what was there already did not take its time: it is not counted."""
    times: dict[str, list[float]] = {}
    for state in states:
        changed = {run.step for run in state.runs.values() if run.mutates}
        for step in state.steps:
            took = step.elapsed(state.t)
            if step.passed and step.attempt == 1 and took >= _SHORT and step.id in changed:
                times.setdefault(step.id, []).append(took)
    return {step: Usual(min(took), max(took), len(took)) for step, took in times.items()}


def _newest(folder: Path) -> list[Path]:
    try:
        here = folder.resolve()
        found = [one.parent for one in here.parent.glob("*/events.jsonl") if one.parent != here]
        small = [one for one in found if (one / "events.jsonl").stat().st_size <= _EVENTS]
        return sorted(small, key=lambda one: one.stat().st_mtime, reverse=True)[:_WALKS]
    except OSError:
        return []


def _state(folder: Path) -> State | None:
    try:
        return fold(load(folder).events)
    except (MilepostError, OSError):
        return None
