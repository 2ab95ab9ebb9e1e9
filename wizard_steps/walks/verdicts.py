"""What replays found, milestone by milestone. verdict_files.py writes it down for machines."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from msgspec import Struct

from wizard_steps.errors import MilepostError
from wizard_steps.recording import events as ev
from wizard_steps.recording.journal import Meta, NewerWalkError
from wizard_steps.recording.state import State, apply
from wizard_steps.walks.drift import Drift, Remark
from wizard_steps.walks.replay import Replayed

#: warning: passed with warnings. skipped: the walk never came to it.
Status = Literal["passed", "warning", "failed", "drift", "skipped"]
#: What became of one walk. unreadable: the folder is damaged or no walk.
WalkStatus = Literal["passed", "failed", "drift", "interrupted", "unreadable"]
_CODES: dict[WalkStatus, int] = {"passed": 0, "failed": 1, "interrupted": 130, "unreadable": 2, "drift": 3}
#: Which exit status tells more, when walks differ.
_RANK = (0, 1, 130, 2, 3)


class MilestoneVerdict(Struct, frozen=True):
    """One attempt at a step. ``seconds`` it took when recorded; ``line`` of events.jsonl has its verdict."""

    step: str
    title: str
    status: Status
    attempt: int = 1
    seconds: float = 0.0
    summary: str = ""
    failures: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    line: int = 0
    drifts: tuple[Drift, ...] = ()
    notes: tuple[str, ...] = ()


class WalkVerdict(Struct, frozen=True):
    """One walk's replay. ``code`` is what it adds to the exit status. ``detail`` and ``kind``: the first
    drift, or why the walk cannot be read. ``remarks``: what differs and changes no exit status."""

    folder: Path
    status: WalkStatus
    milestones: tuple[MilestoneVerdict, ...] = ()
    detail: str = ""
    kind: str = ""
    drifts: tuple[Drift, ...] = ()
    remarks: tuple[Remark, ...] = ()
    meta: Meta | None = None

    @property
    def code(self) -> int:
        return _CODES[self.status]

    @property
    def as_recorded(self) -> int:
        """The exit status when a failure that was recorded is what is wanted: a lesson, a bug report."""
        return 0 if self.status in ("passed", "failed", "interrupted") else self.code


def exit_status(codes: Iterable[int]) -> int:
    """The one that tells most: drift 3, unreadable 2, interrupted 130, failed 1, passed 0."""
    return max(codes, key=_RANK.index, default=0)


def of_error(folder: Path, error: MilepostError) -> WalkVerdict:
    """A walk that could not even be read."""
    text = str(error)
    if error.code == 3:
        drift = Drift("schema" if isinstance(error, NewerWalkError) else "cluster", text)
        return WalkVerdict(folder, "drift", detail=text, kind=drift.kind, drifts=(drift,))
    return WalkVerdict(folder, "unreadable", detail=text, kind="unreadable")


def of_replay(result: Replayed) -> WalkVerdict:
    """A replay's result as the status that CI acts on."""
    walk = result.walk
    status: WalkStatus = "failed"
    if result.drifted:
        status = "drift"
    elif result.outcome in ("passed", "listed"):
        status = "passed"
    elif result.outcome == "interrupted":
        status = "interrupted"
    return WalkVerdict(
        folder=walk.folder,
        status=status,
        milestones=tuple(_milestones(result)),
        detail=result.drift,
        kind=result.drifted.kind if result.drifted else "",
        drifts=result.drifts,
        remarks=result.remarks,
        meta=walk.meta,
    )


def _milestones(result: Replayed) -> Iterable[MilestoneVerdict]:
    titles = {step.id: step.title for step in result.state.steps}
    places = _places(result.walk.events)
    told: set[int] = set()
    for event in result.judged:
        key = (event.step, event.attempt)
        drifts = tuple(d for d in result.drifts if (d.step, d.attempt) == key)
        told.update(map(id, drifts))
        seconds, line = places.get(key, (0.0, 0))
        yield MilestoneVerdict(
            step=event.step,
            title=titles.get(event.step, event.step),
            status="drift" if drifts else event.verdict.state,
            attempt=event.attempt,
            seconds=seconds,
            summary=event.verdict.summary,
            failures=tuple(_failure(check) for check in event.verdict.failures),
            warnings=tuple(_failure(check) for check in event.verdict.warnings),
            line=line,
            drifts=drifts,
            notes=tuple(r.text for r in result.remarks if (r.step, r.attempt) == key),
        )
    seen = {event.step for event in result.judged}
    left = [d for d in result.drifts if id(d) not in told and d.step]
    for step in dict.fromkeys([*titles, *(d.step for d in left)]):
        drifts = tuple(d for d in left if d.step == step)
        if drifts or step not in seen:
            status: Status = "drift" if drifts else "skipped"
            yield MilestoneVerdict(step=step, title=titles.get(step, step), status=status, drifts=drifts)


def _places(events: Iterable[ev.AnyEvent]) -> dict[tuple[str, int], tuple[float, int]]:
    """For each attempt that was judged when recorded: the seconds it took, its line in events.jsonl."""
    found: dict[tuple[str, int], tuple[float, int]] = {}
    state = State()
    for line, event in enumerate(events, 1):
        if isinstance(event, ev.WalkStarted | ev.StepStarted | ev.Asked | ev.Answered):
            state = apply(state, event)
        if isinstance(event, ev.Judged):
            found[event.step, event.attempt] = (round(state.step(event.step).elapsed(event.t), 3), line)
    return found


def _failure(check: Any) -> str:
    where = f" [{check.node}]" if check.node else ""
    wanted = f"; wanted: {check.wanted}" if check.wanted else ""
    hint = f"; try: {check.hint}" if check.hint else ""
    return f"{check.name}{where}: {check.found}{wanted}{hint}"
