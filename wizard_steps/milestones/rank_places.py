"""Where vLLM's ranks run, once it serves: Ray may put all of them on one node and leave another idle."""

from __future__ import annotations

from wizard_steps.engine.step import Known
from wizard_steps.milestones.common import placed
from wizard_steps.model import Check, Node, Result, Results, Round, Work
from wizard_steps.node.place import RAY, SERVE

KEY = "ranks"
#: Names of the checks that say which ranks, or how many, a node has.
SAYS = ("rank", "ranks")


def rounds(known: Known, done: Results) -> Round | None:
    """Counts vLLM's workers on each node with GPUs; nothing to count where there is one such node. Replicas
    are proved by their tokens (see the probe), and an engine of one GPU has no worker beside it."""
    it = known.cluster
    if done.has(KEY) or len(_nodes(known)) < 2 or it.simulated or it.serve.data_parallel > 1:
        return None
    place = placed(known)
    role = SERVE if place.without_ray else RAY
    work: tuple[Work, ...] = tuple((node, place.workers(node, role, KEY)) for node in _nodes(known))
    return Round(work=work)


def _nodes(known: Known) -> tuple[Node, ...]:
    return tuple(node for node in known.nodes if node.gpus)


def counts(known: Known, done: Results) -> dict[str, int]:
    """Ranks by node; empty where it is not known of every node, or where no worker was recognised at all."""
    found = {node.name: _count(done.get(KEY, node)) for node in _nodes(known)}
    known_ = {name: count for name, count in found.items() if count is not None}
    return known_ if len(known_) == len(found) and any(known_.values()) else {}


def _count(result: Result | None) -> int | None:
    if result is None or not result.ok or "workers: counted" not in result.lines:
        return None
    return sum(line.startswith("worker: ") for line in result.lines)


def checks(known: Known, done: Results) -> list[Check]:
    """How many ranks each node runs. One without any fails where TP x PP is enough for all of them."""
    found, world = counts(known, done), known.cluster.serve.world_size
    if not found:
        return []
    shut = world >= len(found)
    hint = (
        f"Ray filled the other nodes first: {known.cluster.total_gpus} GPUs for {world} ranks. Raise TP or "
        "PP, lower gpus of each node to what it should give, or remove the idle node from the cluster file"
        if shut
        else "TP x PP is less than one rank for each node: raise it, or remove the node from the cluster file"
    )
    return [
        Check(
            "ranks",
            bool(count) or not shut,
            f"runs {count} of {world} {'rank' if world == 1 else 'ranks'}"
            + ("" if count else ": it is idle"),
            "at least one rank",
            name,
            "" if count else hint,
            warning=not count,
        )
        for name, count in found.items()
    ]
