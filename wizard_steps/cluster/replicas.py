"""Which node runs which replica: data parallelism dealt out over the machines, as vLLM would do it.

A replica has TP x PP ranks, each on a GPU of its own. Either whole replicas run inside each node, or each
replica spans several nodes. Sources: vllm 0.33, engine/arg_utils.py create_engine_config (mp, --nnodes) and
v1/engine/utils.py create_dp_placement_groups (Ray: "strict" inside nodes, "span" over them).
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from wizard_steps.cluster.values import Cluster
from wizard_steps.model import Node

#: one: a single replica, wherever its ranks are; inside: whole replicas in each node; across: each replica
#: takes several whole nodes.
Kind = Literal["one", "inside", "across"]


class Share(Struct, frozen=True):
    """What a node runs: ``count`` replicas from number ``first`` on; across nodes, 1 for a part of one."""

    node: Node
    first: int
    count: int


class Dealt(Struct, frozen=True):
    """``shares`` in the order of the ranks, only of nodes that run any; ``problem``: why it cannot be."""

    kind: Kind
    shares: tuple[Share, ...] = ()
    problem: str = ""

    def of(self, node: Node) -> Share | None:
        return next((share for share in self.shares if share.node == node), None)


def deal(cluster: Cluster, without_ray: bool | None = None) -> Dealt:
    """Never raises. ``without_ray`` is for a person's later choice; else as the cluster file says."""
    serve = cluster.serve
    mp = cluster.without_ray if without_ray is None else without_ray
    if serve.data_parallel == 1:
        shares = tuple(Share(node, 0, 1) for node in cluster.node_list)
        return Dealt("one", shares, _unequal(cluster) if mp else "")
    if mp and not cluster.head.gpus:
        return Dealt("inside", problem="without Ray the head runs ranks too: give it GPUs, or leave it out")
    nodes = [cluster.server, *(n for n in cluster.node_list if n != cluster.server and n.gpus)]
    room = [node.gpus // serve.world_size for node in nodes]
    if not any(room):
        return _across(cluster, nodes, mp)
    counts = _even(room, serve.data_parallel) if mp else _strict(room, serve.data_parallel)
    if not counts:
        return Dealt("inside", problem=_too_many(serve.data_parallel, serve.world_size, nodes, room, mp))
    idle = [node.name for node, count in zip(nodes, counts, strict=True) if not count]
    if mp and idle:
        return Dealt(
            "inside",
            problem=f"{serve.data_parallel} replicas on {len(nodes)} nodes leave {', '.join(idle)} without "
            "one: raise it, or leave that node out of the file",
        )
    return Dealt("inside", _shares(nodes, counts))


def _unequal(cluster: Cluster) -> str:
    """vLLM's --nnodes gives every node world size / nodes ranks, each on a GPU of its own."""
    world, count = cluster.serve.world_size, len(cluster.nodes)
    what = f"without Ray every node runs the same number of ranks: TP x PP = {world}"
    if world % count:
        return f"{what} is not a multiple of {count} nodes"
    small = next((node for node in cluster.node_list if node.gpus < world // count), None)
    if small is None:
        return ""
    return f"{what} on {count} nodes is {world // count} a node, but {small.name} has gpus = {small.gpus}"


def _shares(nodes: list[Node], counts: list[int]) -> tuple[Share, ...]:
    shares, first = [], 0
    for node, count in zip(nodes, counts, strict=True):
        if count:
            shares.append(Share(node, first, count))
            first += count
    return tuple(shares)


def _even(room: list[int], wanted: int) -> list[int]:
    """One at a time to the node with the fewest that has room, the first of them; [] when there is none."""
    counts = [0] * len(room)
    for _ in range(min(wanted, sum(room) + 1)):
        free = [i for i, most in enumerate(room) if counts[i] < most]
        if not free:
            return []
        counts[min(free, key=lambda i: counts[i])] += 1
    return counts


def _strict(room: list[int], wanted: int) -> list[int]:
    """Ray gives every node as many as the first one (--data-parallel-size-local), the last what is left, and
    passes over nodes that have no room for that many; [] when no number fits."""
    for each in range(1, room[0] + 1):
        counts, left = [], wanted
        for most in room:
            counts.append(min(each, left) if most >= each else 0)
            left -= counts[-1]
        if not left:
            return counts
    return []


def _too_many(wanted: int, size: int, nodes: list[Node], room: list[int], mp: bool) -> str:
    most = sum(room)
    held = ", ".join(f"{node.name} {count}" for node, count in zip(nodes, room, strict=True))
    if wanted > most:
        return f"{wanted} replicas of {size} GPUs, but the nodes hold {most} ({held})"
    return (
        f"{wanted} replicas of {size} GPUs do not fit as Ray places them: as many on every node as on the "
        f'first (room: {held}). Choose another number, or serve.executor = "mp"'
    )


def _across(cluster: Cluster, nodes: list[Node], mp: bool) -> Dealt:
    """Each replica on the same number of whole nodes, one after the other."""
    serve, count = cluster.serve, len(nodes)
    what = f"{serve.data_parallel} replicas of {serve.world_size} GPUs on {count} nodes"
    per = count // serve.data_parallel
    if per < 1 or count % serve.data_parallel or serve.world_size % per:
        return Dealt(
            "across",
            problem=f"{what}: a replica is larger than a node, so each must take the same number of nodes, "
            "and of GPUs in each",
        )
    ranks = serve.world_size // per
    small = next((node for node in nodes if node.gpus < ranks), None)
    if small is not None:
        return Dealt(
            "across", problem=f"{what} is {ranks} ranks a node, but {small.name} has gpus = {small.gpus}"
        )
    if not mp and any(node.gpus != ranks for node in nodes):
        return Dealt(
            "across",
            problem=f"{what}: Ray spreads a replica over nodes only where all of them have the same number "
            f'of GPUs and it takes all ({ranks} a node). Choose other sizes, or serve.executor = "mp"',
        )
    return Dealt("across", tuple(Share(node, i // per, 1) for i, node in enumerate(nodes)))
