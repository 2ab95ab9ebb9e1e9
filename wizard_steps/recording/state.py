"""State = fold(events): one fold serves the live screen, resume, replay, review and report."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from msgspec import Struct, field
from msgspec.structs import replace

from wizard_steps.model import Question, Reason, Verdict
from wizard_steps.recording import events as ev
from wizard_steps.recording.runs import Runs

#: ``warning``: passed with warnings.
StepStatus = Literal["pending", "running", "asking", "passed", "warning", "failed", "listed"]


class Run(Struct, frozen=True):
    """One use of a command on one node, with its place in the node's spool."""

    number: int
    step: str
    attempt: int
    node: str
    key: str
    text: str
    use: int
    spool: str = ""
    mutates: bool = False
    quiet: bool = False
    show: str = ""
    started: float = 0.0
    ended: float | None = None
    code: int | None = None
    reason: Reason | None = None
    detail: str = ""
    start: int | None = None
    end: int | None = None

    @property
    def running(self) -> bool:
        return self.code is None


class StepState(Struct, frozen=True):
    id: str
    title: str
    status: StepStatus = "pending"
    attempt: int = 0
    started: float | None = None
    ended: float | None = None
    verdict: Verdict | None = None
    waiting: ev.Waiting | None = None
    #: When the open question was asked; seconds that answered ones waited for a person.
    asked: float | None = None
    thought: float = 0.0

    def elapsed(self, now: float) -> float:
        """Seconds this attempt has taken so far, or took, without those in which a person was asked."""
        if self.started is None:
            return 0.0
        end = now if self.ended is None else self.ended
        return (end if self.asked is None else min(end, self.asked)) - self.started - self.thought

    @property
    def passed(self) -> bool:
        """With warnings or without."""
        return self.status in ("passed", "warning")


class State(Struct, frozen=True):
    """A walk so far: the sum of its events. ``t``: when the last one came, seconds since the walk began."""

    path: str = ""
    steps: tuple[StepState, ...] = ()
    runs: Runs[Run] = field(default_factory=Runs)
    cluster: Mapping[str, Any] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    question: Question | None = None
    current: str = ""
    outcome: ev.Outcome | None = None
    detail: str = ""
    simulated: bool = False
    t: float = 0.0

    @property
    def warnings(self) -> int:
        """Warnings of the latest verdict of every step."""
        return sum(len(step.verdict.warnings) for step in self.steps if step.verdict)

    def step(self, step_id: str) -> StepState:
        """A step's state; an empty one for an id that the walk does not name."""
        unknown = StepState(id=step_id, title=step_id)
        return next((step for step in self.steps if step.id == step_id), unknown)

    def runs_of(self, step_id: str, node: str | None = None) -> list[Run]:
        """The runs of a step's latest attempt, oldest first; of one node if it is named."""
        attempt = self.step(step_id).attempt
        return [
            run
            for run in self.runs.values()
            if run.step == step_id and run.attempt == attempt and (node is None or run.node == node)
        ]


def fold(events: Iterable[ev.AnyEvent], state: State | None = None) -> State:
    """The state after ``events``. Pure: the same events give the same state."""
    current = state or State()
    for event in events:
        current = apply(current, event)
    return current


def apply(state: State, event: ev.AnyEvent) -> State:
    """The state after one more event. Costs little, also in walks of many thousand runs."""
    state = replace(state, t=max(state.t, event.t))
    match event:
        case ev.WalkStarted():
            steps = tuple(StepState(id=i, title=title) for i, title in event.steps)
            return replace(
                state, path=event.path, steps=steps, cluster=event.cluster, simulated=event.simulated
            )
        case ev.ClusterEdited():
            return replace(state, cluster=event.cluster)
        case ev.WalkEnded():
            return replace(state, outcome=event.outcome, detail=event.detail, question=None)
        case ev.CommandStarted() | ev.Output() | ev.CommandEnded():
            return _run(state, event)
        case _:
            return _step(state, event)


def _step(state: State, event: ev.AnyEvent) -> State:
    match event:
        case ev.StepStarted():
            fresh = {
                "status": "running",
                "attempt": event.attempt,
                "started": event.t,
                "ended": None,
                "verdict": None,
                "waiting": None,
                "asked": None,
                "thought": 0.0,
            }
            return replace(_update(state, event.step, **fresh), current=event.step)
        case ev.Asked():
            updated = _update(state, event.step, status="asking", waiting=None)
            if event.question.kind == "gate":
                updated = _update(updated, event.step, status="failed")
            elif state.step(event.step).ended is None:
                updated = _update(updated, event.step, asked=event.t)
            return replace(updated, question=event.question)
        case ev.Answered():
            step = state.step(event.step)
            status = "running" if step.status == "asking" else step.status
            thought = step.thought if step.asked is None else step.thought + event.t - step.asked
            updated = _update(state, event.step, status=status, asked=None, thought=thought)
            return replace(updated, question=None)
        case ev.Waiting():
            return _update(state, event.step, waiting=event)
        case ev.Listed():
            return _update(state, event.step, status="listed", ended=event.t, waiting=None)
        case ev.Judged():
            status = event.verdict.state
            updated = _update(
                state, event.step, status=status, verdict=event.verdict, ended=event.t, waiting=None
            )
            if event.verdict.passed:
                updated = replace(updated, facts={**state.facts, **event.verdict.facts})
            return updated
    return state


def _update(state: State, step_id: str, **changes: Any) -> State:
    steps = tuple(replace(step, **changes) if step.id == step_id else step for step in state.steps)
    return replace(state, steps=steps)


def _run(state: State, event: ev.CommandStarted | ev.Output | ev.CommandEnded) -> State:
    match event:
        case ev.CommandStarted():
            run = Run(
                number=event.run,
                step=event.step,
                attempt=state.step(event.step).attempt,
                node=event.node,
                key=event.key,
                text=event.text,
                use=event.use,
                spool=event.spool,
                mutates=event.mutates,
                quiet=event.quiet,
                show=event.show,
                started=event.t,
            )
        case _ if event.run not in state.runs:
            return state  # a recording that was changed by hand
        case ev.Output():
            run = state.runs[event.run]
            start = event.start if run.start is None else run.start
            run = replace(run, start=start, end=event.end)
        case ev.CommandEnded():
            run = replace(
                state.runs[event.run],
                code=event.code,
                reason=event.reason,
                detail=event.detail,
                started=event.started,
                ended=event.ended,
            )
    return replace(state, runs=state.runs.plus(run.number, run))
