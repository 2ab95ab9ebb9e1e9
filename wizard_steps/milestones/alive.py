"""After vLLM has failed: does what holds it still run? A container that is gone explains every other line."""

from __future__ import annotations

from wizard_steps.engine.step import Known
from wizard_steps.milestones.common import placed
from wizard_steps.model import Check, Results, Work
from wizard_steps.node.place import ALIVE, RAY, Service


def looks(known: Known) -> tuple[Work, ...]:
    """A look at Ray, or at the container, on every node; nothing where neither was started."""
    place, port = placed(known), known.cluster.ray.port
    if place.idle:
        return ()
    return tuple((n, place.look(Service(n, RAY, port), key=ALIVE)) for n in known.nodes)


def dead(known: Known, done: Results) -> list[Check]:
    """The nodes where it has ended, and how."""
    place = placed(known)
    found = [
        (node, place.gone(node, r.text)) for node in known.nodes if (r := done.get(ALIVE, node)) and r.ok
    ]
    name, wanted = ("container", "running") if place.contained else ("Ray", "running")
    hint = "go back to the step that starts it and retry: milepost starts it again, and vLLM after it"
    return [Check(name, False, text, wanted, node.name, hint) for node, text in found if text]
