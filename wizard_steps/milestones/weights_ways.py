"""How the model gets from node to node: a chain over the GPU network, rsync, or through the wizard."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace

from wizard_steps.engine.step import Known
from wizard_steps.milestones import weights_need as need
from wizard_steps.milestones.common import placed
from wizard_steps.model import Cmd, Forward, Node, Results
from wizard_steps.node import weights
from wizard_steps.node.place import SHARE, Service

CHAIN, RSYNC, WIZARD = "chain", "rsync", "wizard"
#: The same once more, through the wizard, for nodes that the chain could not reach.
AGAIN = "-2"


def way(known: Known) -> str:
    """Which one is tried first."""
    return CHAIN if known.cluster.weights.copy == "auto" else known.cluster.weights.copy


def what(known: Known, done: Results) -> str:
    """The model in words."""
    source = need.source(known, done)
    return source.folder or f"{source.repo} at {source.revision}"


def share(known: Known, done: Results, node: Node, chain: Sequence[Node], by: str, key: str) -> Cmd:
    """The start of a node's part in it. ``chain``: who has the model, and then the others."""
    at, source, place = chain.index(node), need.source(known, done), placed(known)
    service = weights.service(
        known.cluster, place.program("python3"), node, SHARE, source, _more(known, done, at, chain, by)
    )
    model = what(known, done)
    shown = f"take {model} from {chain[at - 1].name}, verify it" if at else "hand it to the next node"
    if by == WIZARD:
        shown = (
            f"take {model} from {chain[0].name} through the wizard, verify it"
            if at
            else "hand it to the others"
        )
    if by == RSYNC:
        shown = f"rsync {model} from {chain[0].name}, verify it"
    return replace(place.launch(service), key=key, show=f"({shown})")


def _more(known: Known, done: Results, at: int, chain: Sequence[Node], by: str) -> dict[str, Any]:
    port, first = known.cluster.weights.port, chain[0]
    if by == WIZARD:
        return weights.through_wizard(at, len(chain) - 1, port)
    if by == CHAIN:
        return weights.in_chain(at, [known.ip(one) for one in chain], port)
    user = f"{first.user}@" if first.user else ""
    view = need.seen(known, done).get(first.name)
    folder = view.folder if view is not None else ""
    return {"rsync": {"host": f"{user}{known.ip(first)}", "port": first.port or 22, "folder": folder}}


def follow(known: Known, node: Node, first: Node, by: str, key: str) -> Cmd:
    """Its log; through the wizard it is the tunnel as well."""
    cmd = placed(known).follow(Service(node, SHARE, 0), key, weights.LONGEST, weights.over)
    if by != WIZARD:
        return cmd
    port = known.cluster.weights.port
    return replace(cmd, forward=Forward(first, weights.LOOPBACK, port, at=port + 1))


def unreached(known: Known, done: Results) -> list[Node]:
    """The nodes that no source answered over the GPU network, while the model is complete on the first."""
    fetched = all(weights.complete(result) for result in done.of("fetch").values())
    if known.cluster.weights.copy != "auto" or not fetched:
        return []
    return without_source(done)


def without_source(done: Results) -> list[Node]:
    """The nodes whose copy found nobody to take it from."""
    return [r.node for r in done.of("copy").values() if weights.failed(r)[0] == "source"]
