"""Walks today's steps against a recording and compares the verdicts. No network, no screen.

A failure and a drift are two things. A failure is what the recording shows: a gate that failed then and fails
today. A drift is that the recording does not fit today's steps: a command that a person would see changed, an
expected line that no longer matches the recorded output or is not looked for any more, another verdict, a
schema from the future. What else differs is remarked, and changes no exit status: see drift.py.

The plan is the recorded one: today's steps of the ids that the recording names, in its order.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from wizard_steps.cluster.checks import problems
from wizard_steps.cluster.file import Cluster
from wizard_steps.engine.clock import ZeroClock
from wizard_steps.engine.engine import Engine, OnEvent
from wizard_steps.engine.step import Step
from wizard_steps.errors import DriftError, ExpectedTextError, MilepostError, WalkError
from wizard_steps.plan import plan_like
from wizard_steps.recording import events as ev
from wizard_steps.recording.journal import MemoryJournal, Walk
from wizard_steps.recording.state import State
from wizard_steps.transport.replay import CUT_OFF, EndOfRecording, RecordedDecider, Replay
from wizard_steps.walks import drift
from wizard_steps.walks.drift import Drift, Remark
from wizard_steps.walks.renamed import in_todays_names


class Replayed(Struct, frozen=True):
    """How a replay went. ``walk`` is the recording with today's ids. ``drifts`` in the order of the walk;
    ``remarks``: what differs without being one."""

    walk: Walk
    outcome: ev.Outcome
    recorded: ev.Outcome | None
    judged: tuple[ev.Judged, ...]
    drifts: tuple[Drift, ...] = ()
    remarks: tuple[Remark, ...] = ()
    state: State = State()

    @property
    def drifted(self) -> Drift | None:
        """The first drift."""
        return self.drifts[0] if self.drifts else None

    @property
    def drift(self) -> str:
        return self.drifts[0].text if self.drifts else ""

    @property
    def notes(self) -> tuple[str, ...]:
        return tuple(remark.text for remark in self.remarks)

    @property
    def code(self) -> int:
        if self.drifts:
            return 3
        return 0 if self.outcome in ("passed", "listed") else 130 if self.outcome == "interrupted" else 1

    def strict(self) -> Replayed:
        """The same, where each command must be the recorded one: helper scripts too."""
        drifts, rest = drift.strict(self.remarks)
        return replace(self, drifts=(*self.drifts, *drifts), remarks=rest)


def cluster_of(walk: Walk) -> Cluster:
    """The cluster file as it was when the walk began. Raises WalkError when it is damaged."""
    first = walk.events[0]
    if not isinstance(first, ev.WalkStarted):
        raise WalkError(f"{walk.folder / 'events.jsonl'}:1: a walk begins with walk-started")
    return _cluster(walk, first.cluster)


def _cluster(walk: Walk, plain: Mapping[str, object]) -> Cluster:
    try:
        cluster = msgspec.convert(plain, Cluster)
    except msgspec.ValidationError as error:
        raise DriftError(f"{walk.folder}: its cluster does not fit today's cluster file: {error}") from None
    for where, message in problems(cluster):
        # What the steps cannot work with. A redacted recording may break other rules, and still replays.
        if where == "docker.command" or where.endswith(".role"):
            raise DriftError(
                f"{walk.folder}: its cluster does not fit today's cluster file: {where}: {message}"
            )
    return cluster


def plan_of(walk: Walk, cluster: Cluster) -> list[Step]:
    """Today's plan for a recording: the milestones of its cluster, and the optional ones it names."""
    first = walk.events[0]
    return plan_like(cluster, [name for name, _ in first.steps] if isinstance(first, ev.WalkStarted) else [])


def recorded_plan(walk: Walk, today: Sequence[Step]) -> tuple[list[Step], list[Drift], list[Remark]]:
    """The steps that a recording names, as they are today; what became of the others."""
    first = walk.events[0]
    named = dict(first.steps) if isinstance(first, ev.WalkStarted) else {}
    known = {step.id: step for step in today}
    judged = {event.step for event in walk.events if isinstance(event, ev.Judged)}
    drifts = [
        Drift("verdict", f"{gone}: was judged in the recording, and today's plan does not have it", gone)
        for gone in named
        if gone not in known and gone in judged
    ]
    remarks = [
        Remark(
            "step", f"{gone}: today's plan does not have this step; the recording did not come to it", gone
        )
        for gone in named
        if gone not in known and gone not in judged
    ]
    remarks += [
        Remark("step", f"{step.id}: new since this was recorded ({step.title}): not replayed", step.id)
        for step in today
        if step.id not in named
    ]
    return [known[name] for name in named if name in known], drifts, remarks


async def replay(walk: Walk, on_event: OnEvent = lambda event, state: None) -> Replayed:
    """Never raises for a drift: it is in the answer. Raises WalkError for a damaged recording."""
    cluster = cluster_of(walk)
    today = plan_of(walk, cluster)
    walk = in_todays_names(walk, today)
    plan, drifts, remarks = recorded_plan(walk, today)
    return await _Replaying(walk, cluster, plan, on_event).run(drifts, remarks)


class _Diverged(Exception):
    """Today's verdict is not the recorded one: what would come next was never recorded."""


class _Replaying:
    """One replay. It ends at the first verdict that differs."""

    def __init__(self, walk: Walk, cluster: Cluster, plan: list[Step], on_event: OnEvent) -> None:
        steps = {step.id for step in plan}
        self._walk = walk
        self._then = [e for e in walk.events if isinstance(e, ev.Judged) and e.step in steps]
        self._recorded = outcome_of(walk.events)
        self._cut = self._recorded in CUT_OFF
        self._switched = _switched(walk)
        self._starts: dict[tuple[str, int], int] = {}
        self._now: list[ev.Judged] = []
        self._last = State()
        self._drifts: list[Drift] = []
        self._remarks: list[Remark] = []
        self._tell = on_event
        clock = ZeroClock()
        self._hosts = Replay(walk.events, walk.read, clock)
        decider, journal = RecordedDecider(walk.events), MemoryJournal()
        self._engine = Engine(plan, cluster, self._hosts, decider, clock, journal, self._watch)

    async def run(self, drifts: Iterable[Drift], remarks: Iterable[Remark]) -> Replayed:
        outcome: ev.Outcome = "error"
        failed: MilepostError | None = None
        try:
            outcome = await self._engine.walk(gated=self._recorded != "listed")
        except EndOfRecording:
            outcome = "error" if self._recorded == "error" else "interrupted"
        except _Diverged:
            pass
        except WalkError:
            raise
        except MilepostError as error:
            failed = error
        outcome = self._end(outcome, failed)
        commands, more = drift.of_commands([*self._hosts.differences, *self._hosts.unused(self._compared())])
        found = self._in_order([*drifts, *commands, *self._drifts])
        notes = (*remarks, *more, *self._remarks)
        return Replayed(
            self._walk, outcome, self._recorded, tuple(self._now), tuple(found), notes, self._last
        )

    def _watch(self, event: ev.AnyEvent, state: State) -> None:
        self._last = state
        if isinstance(event, ev.StepStarted):
            self._started(event)
        same = not isinstance(event, ev.Judged) or self._judged(event)
        self._tell(event, state)
        if not same:
            raise _Diverged

    def _started(self, event: ev.StepStarted) -> None:
        self._starts[event.step, event.attempt] = number = len(self._starts) + 1
        self._hosts.at(event.step, event.attempt)
        for where, value in self._switched.get(number, {}).items():
            self._engine.edit((where, value))

    def _judged(self, new: ev.Judged) -> bool:
        """Whether the verdict is the recorded one."""
        place = len(self._now)
        if place == len(self._then):
            if self._cut:
                # What would have come after the interruption is not known; it can be no drift.
                raise EndOfRecording
            self._now.append(new)
            text = f"{new.step} is judged today; the recorded walk ended before it"
            self._drifts.append(Drift("verdict", text, new.step, new.attempt))
            return False
        self._now.append(new)
        old = self._then[place]
        if differs := drift.of_verdicts(old, new):
            self._drifts.append(differs)
            return False
        if gone := drift.of_comparisons(old, new):
            self._drifts.append(gone)
        if remark := drift.of_reasons(old, new):
            self._remarks.append(remark)
        return True

    def _end(self, outcome: ev.Outcome, failed: MilepostError | None) -> ev.Outcome:
        """The outcome; a walk that ended in another way than it was recorded is a drift."""
        at = self._last.current
        attempt = self._last.step(at).attempt if at else 0
        complete = len(self._now) >= len(self._then)
        if isinstance(failed, ExpectedTextError):
            self._drifts.append(Drift("expectation", str(failed)))
            return outcome
        if self._cut and complete and not any(d.kind == "verdict" for d in self._drifts):
            return "error" if self._recorded == "error" else "interrupted"
        if failed is not None:
            self._drifts.append(Drift("command" if at else "cluster", str(failed), at, attempt))
        elif not complete and not self._drifts:
            text = f"today's walk has {len(self._now)} verdicts, the recorded one {len(self._then)}"
            self._drifts.append(Drift("verdict", text, at, attempt))
        return outcome

    def _compared(self) -> Iterable[tuple[str, int]]:
        return ((event.step, event.attempt) for event in self._now)

    def _in_order(self, drifts: Sequence[Drift]) -> list[Drift]:
        """As the walk came to them; within a step commands come before what they led to."""
        return sorted(drifts, key=lambda d: self._starts.get((d.step, d.attempt), 0))


def _switched(walk: Walk) -> Mapping[int, Mapping[str, str]]:
    """The edits that a person's switch (NCCL_DEBUG) made, by the n-th step start they hold from.

    A switch is no answer to a question, so the recorded decider does not bring it back. Older recordings name
    the whole table (``env``), newer ones the variable (``env.NCCL_DEBUG``).
    """
    found: dict[int, dict[str, str]] = {}
    starts, env = 0, dict[str, str](cluster_of(walk).env)
    for event in walk.events:
        if isinstance(event, ev.StepStarted):
            starts += 1
        if isinstance(event, ev.ClusterEdited) and event.where.partition(".")[0] == "env":
            now = _cluster(walk, event.cluster).env
            changed = {name: now.get(name, "") for name in {*env, *now} if env.get(name) != now.get(name)}
            found.setdefault(starts + 1, {}).update({f"env.{name}": text for name, text in changed.items()})
            env = dict(now)
    return found


def outcome_of(events: Iterable[ev.AnyEvent]) -> ev.Outcome | None:
    """How a walk ended; None where its recording was cut off."""
    return next((e.outcome for e in reversed(list(events)) if isinstance(e, ev.WalkEnded)), None)
