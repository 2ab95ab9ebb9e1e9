"""Walks today's steps against a recording and compares the verdicts. No network, no screen."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
from msgspec import Struct

from wizard_steps import events as ev
from wizard_steps.clock import ZeroClock
from wizard_steps.cluster import Cluster
from wizard_steps.engine import Engine, OnEvent
from wizard_steps.errors import DriftError, MilepostError, WalkError
from wizard_steps.plan import plan_for
from wizard_steps.transport.replay import EndOfRecording, RecordedDecider, Replay
from wizard_steps.walk import MemoryJournal, Walk

Verdicts = list[tuple[str, int, bool]]


class Replayed(Struct, frozen=True):
    """How a replay went. ``drift`` says why the recording does not fit today's steps; empty when it does."""

    outcome: ev.Outcome
    recorded: ev.Outcome | None
    judged: tuple[ev.Judged, ...]
    drift: str = ""

    @property
    def code(self) -> int:
        if self.drift:
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


def engine_for(walk: Walk, clock: ZeroClock, on_event: OnEvent, pace: object = None) -> Engine:
    """An engine whose hosts and person are the recording."""
    cluster = cluster_of(walk)
    return Engine(
        plan=plan_for(cluster),
        cluster=cluster,
        transport=Replay(walk.events, walk.read, clock, pace),  # type: ignore[arg-type]
        decider=RecordedDecider(walk.events),
        clock=clock,
        journal=MemoryJournal(),
        on_event=on_event,
    )


async def replay(walk: Walk, on_event: OnEvent = lambda event, state: None) -> Replayed:
    """Never raises for a drift: it is in the answer."""
    judged: list[ev.Judged] = []

    def watch(event: ev.AnyEvent, state: object) -> None:
        if isinstance(event, ev.Judged):
            judged.append(event)
        on_event(event, state)  # type: ignore[arg-type]

    recorded = outcome_of(walk.events)
    outcome: ev.Outcome = "error"
    drift = ""
    try:
        outcome = await engine_for(walk, ZeroClock(), watch).walk()
    except EndOfRecording:
        outcome = "interrupted"
    except DriftError as error:
        drift = str(error)
    except MilepostError as error:
        drift = "" if recorded == "error" else str(error)
    return Replayed(outcome, recorded, tuple(judged), drift or _compare(walk, judged))


def outcome_of(events: Iterable[ev.AnyEvent]) -> ev.Outcome | None:
    return next((e.outcome for e in reversed(list(events)) if isinstance(e, ev.WalkEnded)), None)


def _verdicts(events: Iterable[ev.AnyEvent]) -> Verdicts:
    return [(e.step, e.attempt, e.verdict.passed) for e in events if isinstance(e, ev.Judged)]


def _compare(walk: Walk, judged: list[ev.Judged]) -> str:
    """The first verdict that differs from the recorded one, in words."""
    then, now = _verdicts(walk.events), _verdicts(judged)
    for old, new in zip(then, now, strict=False):
        if old != new:
            return f"{new[0]}: today's verdict is {_word(new)}, the recorded one was {old[0]} {_word(old)}"
    if len(then) != len(now):
        return f"today's walk has {len(now)} verdicts, the recorded one {len(then)}"
    return ""


def _word(verdict: tuple[str, int, bool]) -> str:
    return f"{'passed' if verdict[2] else 'failed'} (attempt {verdict[1]})"
