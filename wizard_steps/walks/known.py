"""Today's milestone and knowledge for a step of a recorded or running walk."""

from __future__ import annotations

import msgspec

from wizard_steps.cluster.file import Cluster
from wizard_steps.engine.expected import Expected, load
from wizard_steps.engine.prose import filled
from wizard_steps.engine.step import Known, Step, standard_variables
from wizard_steps.errors import MilepostError
from wizard_steps.plan import milestone
from wizard_steps.recording.state import State


def known_of(state: State) -> Known | None:
    """What the walk knows so far; None where its cluster does not fit today's cluster file."""
    try:
        cluster = msgspec.convert(state.cluster, Cluster)
    except msgspec.ValidationError:
        return None
    heads = sum(node.role == "head" for node in cluster.node_list)
    return Known(cluster, state.facts) if heads == 1 else None


def document(state: State, step_id: str, step: Step | None = None, node: str = "") -> Expected | None:
    """The expected file of a step, with what holds for this walk; None when it has none that can be read.

    Its prose has the names and addresses of this cluster in it. ``step``: for a milestone that is in no
    plan of ours. ``node``: whose address and user the prose names; else the head's.
    """
    step, known = step or milestone(step_id), known_of(state)
    try:
        found = load(step.id if step else step_id).on(step.ways(known) if step and known else ())
    except MilepostError:
        return None
    return filled(found, _values(known, node))


def _values(known: Known | None, name: str) -> dict[str, str]:
    if known is None:
        return {}
    node = next((one for one in known.nodes if one.name == name), known.head)
    return standard_variables(known, node)
