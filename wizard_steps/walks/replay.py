"""Walks today's steps against a recording and compares the verdicts. No network, no screen.

A failure and a drift are two things. A failure is what the recording shows: a gate that stayed shut then
and stays shut today. A drift is that the recording does not fit today's steps: a command that changed, an
expected line that no longer matches the recorded output, another verdict, a schema from the future.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Literal

import msgspec
from msgspec import Struct

from wizard_steps.cluster.file import Cluster
from wizard_steps.engine.clock import ZeroClock
from wizard_steps.engine.engine import Engine, OnEvent
from wizard_steps.errors import DriftError, MilepostError, WalkError
from wizard_steps.plan import plan_for
from wizard_steps.recording import events as ev
from wizard_steps.recording.journal import MemoryJournal, Walk
from wizard_steps.recording.state import State
from wizard_steps.transport.replay import EndOfRecording, RecordedDecider, Replay

DriftKind = Literal["command", "expectation", "verdict", "cluster", "schema"]


class Drift(Struct, frozen=True):
    """Why a recording does not fit today's steps. ``step`` is empty when no step was reached."""

    kind: DriftKind
    text: str
    step: str = ""


class Replayed(Struct, frozen=True):
    """How a replay went. ``notes`` says what differs without being a drift: a gate that is shut for another
    reason than when it was recorded."""

    outcome: ev.Outcome
    recorded: ev.Outcome | None
    judged: tuple[ev.Judged, ...]
    drifted: Drift | None = None
    notes: tuple[str, ...] = ()
    state: State = State()

    @property
    def drift(self) -> str:
        return self.drifted.text if self.drifted else ""

    @property
    def code(self) -> int:
        if self.drifted:
            return 3
        return 0 if self.outcome in ("passed", "listed") else 130 if self.outcome == "interrupted" else 1


def cluster_of(walk: Walk) -> Cluster:
    """The cluster file as it was when the walk began. Raises WalkError when it is damaged."""
    first = walk.events[0]
    if not isinstance(first, ev.WalkStarted):
        raise WalkError(f"{walk.folder / 'events.jsonl'}:1: a walk begins with walk-started")
    try:
        return msgspec.convert(first.cluster, Cluster)
    except msgspec.ValidationError as error:
        raise DriftError(f"{walk.folder}: its cluster does not fit today's cluster file: {error}") from None


def engine_for(
    walk: Walk,
    clock: ZeroClock,
    on_event: OnEvent,
    pace: Callable[[float], float] | None = None,
) -> Engine:
    """An engine whose hosts and person are the recording."""
    cluster = cluster_of(walk)
    return Engine(
        plan=plan_for(cluster),
        cluster=cluster,
        transport=Replay(walk.events, walk.read, clock, pace),
        decider=RecordedDecider(walk.events),
        clock=clock,
        journal=MemoryJournal(),
        on_event=on_event,
    )


async def replay(walk: Walk, on_event: OnEvent = lambda event, state: None) -> Replayed:
    """Never raises for a drift: it is in the answer. Raises WalkError for a damaged recording."""
    judged: list[ev.Judged] = []
    last = State()
    switched = _switched(walk.events)
    starts = 0

    def watch(event: ev.AnyEvent, state: State) -> None:
        nonlocal last, starts
        last = state
        if isinstance(event, ev.StepStarted):
            starts += 1
            if starts in switched:
                engine.cluster = switched[starts]
        if isinstance(event, ev.Judged):
            judged.append(event)
        on_event(event, state)

    recorded = outcome_of(walk.events)
    outcome: ev.Outcome = "error"
    drifted: Drift | None = None
    engine = engine_for(walk, ZeroClock(), watch)
    try:
        outcome = await engine.walk(gated=recorded != "listed")
    except EndOfRecording:
        outcome = "interrupted"
    except WalkError:
        raise
    except MilepostError as error:
        drifted = _raised(error, recorded, last)
    now = tuple(judged)
    differs, notes = compare([e for e in walk.events if isinstance(e, ev.Judged)], now)
    if recorded in (None, "interrupted") and len(now) >= _verdicts(walk.events) and not differs:
        # What would have come after the interruption is not known; it can be no drift.
        return Replayed("interrupted", recorded, now[: _verdicts(walk.events)], None, notes, last)
    drifted = drifted or differs or _count(now, _verdicts(walk.events), last)
    return Replayed(outcome, recorded, now, drifted, notes, last)


def _switched(events: Iterable[ev.AnyEvent]) -> Mapping[int, Cluster]:
    """The clusters that a person's switch (NCCL_DEBUG) led to, by the n-th step start they hold from.

    A switch is no answer to a question, so the recorded decider does not bring it back.
    """
    found: dict[int, Cluster] = {}
    starts = 0
    for event in events:
        if isinstance(event, ev.StepStarted):
            starts += 1
        if isinstance(event, ev.ClusterEdited) and event.where == "env":
            found[starts + 1] = msgspec.convert(event.cluster, Cluster)
    return found


def outcome_of(events: Iterable[ev.AnyEvent]) -> ev.Outcome | None:
    """How a walk ended; None where its recording was cut off."""
    return next((e.outcome for e in reversed(list(events)) if isinstance(e, ev.WalkEnded)), None)


def _raised(error: MilepostError, recorded: ev.Outcome | None, state: State) -> Drift | None:
    if recorded == "error" and not isinstance(error, DriftError):
        return None
    return Drift("command" if state.steps else "cluster", str(error), state.current)


def _verdicts(events: Iterable[ev.AnyEvent]) -> int:
    return sum(isinstance(e, ev.Judged) for e in events)


def _count(now: tuple[ev.Judged, ...], then: int, state: State) -> Drift | None:
    if len(now) == then:
        return None
    return Drift("verdict", f"today's walk has {len(now)} verdicts, the recorded one {then}", state.current)


def compare(then: Iterable[ev.Judged], now: Iterable[ev.Judged]) -> tuple[Drift | None, tuple[str, ...]]:
    """The first verdict that differs from the recorded one; and gates that are shut for another reason."""
    notes: list[str] = []
    for old, new in zip(then, now, strict=False):
        if (old.step, old.attempt) != (new.step, new.attempt):
            text = f"today {new.step} {_word(new)} is judged, recorded was {old.step} {_word(old)}"
            return Drift("verdict", text, new.step), tuple(notes)
        if old.verdict.passed != new.verdict.passed:
            return _changed(old, new), tuple(notes)
        before, after = _reasons(old), _reasons(new)
        if before != after:
            said = "; ".join(sorted(after - before) or sorted(before - after))
            notes.append(f"{new.step}: shut for another reason than recorded: {said}")
    return None, tuple(notes)


def _changed(old: ev.Judged, new: ev.Judged) -> Drift:
    lines = [c for c in new.verdict.failures if c.name == "expected line"]
    others = [c for c in new.verdict.failures if c.name != "expected line"]
    if lines and not others:
        line = lines[0]
        text = (
            f"{new.step}: the expected line {line.wanted!r} does not match what {line.node or 'the node'} "
            f"printed when this was recorded; {len(lines)} line(s) in all. Today's verdict is failed"
        )
        return Drift("expectation", text, new.step)
    why = f": {others[0].name}: {others[0].found}" if others else ""
    return Drift(
        "verdict",
        f"{new.step}: today's verdict is {_word(new)}, the recorded one was {_word(old)}{why}",
        new.step,
    )


def _reasons(event: ev.Judged) -> set[str]:
    """What shut a gate, without the wording that differs from run to run."""
    return {
        f"{c.name}{f' on {c.node}' if c.node else ''}{f' ({c.wanted})' if c.name == 'expected line' else ''}"
        for c in event.verdict.failures
    }


def _word(event: ev.Judged) -> str:
    return f"{'passed' if event.verdict.passed else 'failed'} (attempt {event.attempt})"
