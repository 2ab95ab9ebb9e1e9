"""Today's milestone and knowledge for a step of a recorded or running walk."""

from __future__ import annotations

import msgspec

from wizard_steps.cluster.file import Cluster
from wizard_steps.engine.expected import Expected, load
from wizard_steps.engine.step import Known, Step
from wizard_steps.errors import MilepostError
from wizard_steps.plan import milestone
from wizard_steps.recording.state import State


def known_of(state: State) -> Known | None:
    """What the walk knows so far; None where its cluster does not fit today's cluster file."""
    try:
        return Known(msgspec.convert(state.cluster, Cluster), state.facts)
    except msgspec.ValidationError:
        return None


def document(state: State, step_id: str, step: Step | None = None) -> Expected | None:
    """The expected file of a step, with what holds for this walk; None when it has none that can be read.

    ``step``: for a milestone that is in no plan of ours.
    """
    step, known = step or milestone(step_id), known_of(state)
    try:
        return load(step.id if step else step_id).on(step.ways(known) if step and known else ())
    except MilepostError:
        return None
