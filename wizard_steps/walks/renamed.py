"""A recording in today's step ids and command keys; each step says what it was called before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from wizard_steps.engine.step import Step
from wizard_steps.model import Verdict
from wizard_steps.recording import events as ev
from wizard_steps.recording.journal import Walk

#: Recorded step id -> (today's id, {recorded key: today's key}).
_Names = Mapping[str, tuple[str, Mapping[str, str]]]


def in_todays_names(walk: Walk, plan: Sequence[Step]) -> Walk:
    """The same recording with the ids and keys of ``plan``; what no step of it claims stays."""
    names = _names(walk, plan)
    if not names:
        return walk
    events = tuple(_event(event, names) for event in walk.events)
    notes = tuple(replace(note, step=_step(note.step, names)) for note in walk.notes)
    return replace(walk, events=events, notes=notes)


def _names(walk: Walk, plan: Sequence[Step]) -> _Names:
    recorded = {i for e in walk.events if isinstance(e, ev.WalkStarted) for i, _ in e.steps}
    today = {step.id for step in plan}
    return {
        old: (step.id, keys)
        for step in plan
        for old, keys in step.formerly
        if old in recorded and (old == step.id or (old not in today and step.id not in recorded))
    }


def _step(step: str, names: _Names) -> str:
    return names[step][0] if step in names else step


def _event(event: ev.AnyEvent, names: _Names) -> ev.AnyEvent:
    if isinstance(event, ev.WalkStarted):
        return replace(event, steps=tuple((_step(i, names), title) for i, title in event.steps))
    known = names.get(getattr(event, "step", ""))
    if known is None:
        return event
    step, keys = known
    changes: dict[str, Any] = {"step": step}
    if isinstance(event, ev.CommandStarted | ev.Waiting):
        changes["key"] = keys.get(event.key, event.key)
    if isinstance(event, ev.Judged):
        changes["verdict"] = _verdict(event.verdict, keys)
    return replace(event, **changes)


def _verdict(verdict: Verdict, keys: Mapping[str, str]) -> Verdict:
    compared = tuple(replace(c, key=keys.get(c.key, c.key)) for c in verdict.comparisons)
    return replace(verdict, comparisons=compared)
