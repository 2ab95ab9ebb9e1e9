"""Leaves out parts of a recording that teach nothing: an attempt that went wrong, what came after a step."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from msgspec.structs import replace

from wizard_steps.errors import UsageError
from wizard_steps.recording import events as ev
from wizard_steps.walks.texts import Draft

#: The events of one attempt at a step, up to the start of the next.
Segment = list[ev.AnyEvent]


def attempt(item: Draft, step: str, number: int) -> Draft:
    """The walk without one attempt at a step: later ones are counted anew, their times move up."""
    head, segments, end = _parts(item.walk.events)
    found = [n for n, s in enumerate(segments) if _of(s, step, number)]
    if not found:
        raise UsageError(f"{step}:{number}: the walk has no such attempt. It has {_attempts(segments)}")
    if len([s for s in segments if _first(s).step == step]) == 1:
        raise UsageError(
            f"{step}:{number}: the only attempt at {step}; use --cut-after to end the walk earlier"
        )
    (at,) = found
    after = [event for segment in segments[at + 1 :] for event in segment] + end
    gone = (after[0].t if after else segments[at][-1].t) - segments[at][0].t
    kept = [event for segment in segments[:at] for event in segment]
    events = _numbered([*head, *kept, *(_earlier(event, gone) for event in after)])
    notes = tuple(n for n in item.walk.notes if (n.step, n.attempt) != (step, number))
    notes = tuple(replace(n, attempt=n.attempt - (n.step == step and n.attempt > number)) for n in notes)
    return item.but(f"cut {step} attempt {number} ({gone:.0f} s)", events=tuple(events), notes=notes)


def after(item: Draft, step: str) -> Draft:
    """The walk up to the last verdict on ``step``. It ends there as a stop would have ended it."""
    events = list(item.walk.events)
    at = max((n for n, e in enumerate(events) if isinstance(e, ev.Judged) and e.step == step), default=-1)
    if at < 0:
        raise UsageError(f"{step}: the walk has no verdict on it")
    last = events[at]
    assert isinstance(last, ev.Judged)
    outcome: ev.Outcome = "interrupted" if last.verdict.passed else "failed"
    gone = [e for e in events[at + 1 :] if not isinstance(e, ev.WalkEnded)]
    if not gone:
        return item
    kept = (*events[: at + 1], ev.WalkEnded(last.t, outcome))
    steps = {e.step for e in kept if isinstance(e, ev.StepStarted)}
    notes = tuple(n for n in item.walk.notes if not n.step or n.step in steps)
    return item.but(f"cut what came after {step}", events=kept, notes=notes)


def _parts(events: Sequence[ev.AnyEvent]) -> tuple[Segment, list[Segment], Segment]:
    head: Segment = []
    segments: list[Segment] = []
    end: Segment = []
    for event in events:
        if isinstance(event, ev.WalkEnded):
            end.append(event)
        elif isinstance(event, ev.StepStarted):
            segments.append([event])
        else:
            (segments[-1] if segments else head).append(event)
    return head, segments, end


def _first(segment: Segment) -> ev.StepStarted:
    first = segment[0]
    assert isinstance(first, ev.StepStarted)
    return first


def _of(segment: Segment, step: str, number: int) -> bool:
    return (_first(segment).step, _first(segment).attempt) == (step, number)


def _attempts(segments: Sequence[Segment]) -> str:
    return ", ".join(f"{_first(s).step}:{_first(s).attempt}" for s in segments)


def _earlier(event: ev.AnyEvent, seconds: float) -> ev.AnyEvent:
    """The event with every time in it moved; a poll decides by differences, so it decides alike."""
    changes = {"t": event.t - seconds}
    if isinstance(event, ev.CommandEnded):
        changes |= {"started": event.started - seconds, "ended": event.ended - seconds}
    if isinstance(event, ev.Waiting):
        changes["deadline"] = event.deadline - seconds
    return replace(event, **changes)


def _numbered(events: Sequence[ev.AnyEvent]) -> list[ev.AnyEvent]:
    """Attempts and uses counted as if what is gone had never been."""
    attempts: Counter[str] = Counter()
    uses: Counter[tuple[str, str]] = Counter()
    done: list[ev.AnyEvent] = []
    for event in events:
        if isinstance(event, ev.StepStarted):
            attempts[event.step] += 1
            event = replace(event, attempt=attempts[event.step])
        elif isinstance(event, ev.Judged):
            event = replace(event, attempt=attempts[event.step])
        elif isinstance(event, ev.CommandStarted):
            event = replace(event, use=uses[event.node, event.text])
            uses[event.node, event.text] += 1
        done.append(event)
    return done
