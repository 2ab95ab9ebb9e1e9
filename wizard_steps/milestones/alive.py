"""After vLLM has failed: does what holds it still run? A container that is gone explains every other line."""

from __future__ import annotations

from wizard_steps.engine.step import Known
from wizard_steps.milestones.common import placed
from wizard_steps.model import Check, Node, Results, Work
from wizard_steps.node.place import ALIVE, RAY, Service
from wizard_steps.node.remote import instance


def looks(known: Known) -> tuple[Work, ...]:
    """A look at Ray, or at the container, on every node; nothing where neither was started."""
    place, port = placed(known), known.cluster.ray.port
    if place.idle:
        return ()
    return tuple((n, place.look(Service(n, RAY, port), key=ALIVE)) for n in known.nodes)


def dead(known: Known, done: Results) -> list[Check]:
    """The nodes where it has ended, and how; where somebody started it again since; and what the kernel has
    killed in it."""
    place = placed(known)
    looks = [(node, r.text) for node in known.nodes if (r := done.get(ALIVE, node)) and r.ok]
    found = [(node, place.gone(node, text) or _again(known, node, text)) for node, text in looks]
    name, wanted = ("container", "running") if place.contained else ("Ray", "running")
    hint = "go back to the step that starts it and retry: milepost starts it again, and vLLM after it"
    killed = [check for node, text in looks if (check := place.oom_kills(node, text))]
    return [*killed, *(Check(name, False, text, wanted, node.name, hint) for node, text in found if text)]


def _again(known: Known, node: Node, look: str) -> str:
    """What runs is another start than that of the gate before: what had run in it has ended with it."""
    then, now = str(known.facts.get("starts", {}).get(node.name, "")), instance(look)
    if not (then and now) or then == now:
        return ""
    at = now.partition("@")[2].replace("_", " ")[:19]
    what = placed(known).holder(node) or "Ray"
    return f"{what} was started again{f' at {at}' if at else ''}: what ran in it then has ended"
