"""Which pairs of nodes are tried where all of them together fail or are slow, and what the pairs said."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

from wizard_steps.engine.step import Known
from wizard_steps.model import Check, Node, Results
from wizard_steps.node import collective

#: Pairs that are tried at the same time, and in all.
AT_ONCE, MOST = 8, 64
Pair = tuple[str, str]


def pairs(known: Known) -> list[tuple[int, int]]:
    """Indexes into (head, workers...): the head with each, then workers, neighbours first."""
    count = len(known.nodes)
    others = sorted(combinations(range(1, count), 2), key=lambda pair: pair[1] - pair[0])
    return [*((0, i) for i in range(1, count)), *others][:MOST]


def key(pair: tuple[int, int]) -> str:
    return f"pair-{pair[0]}-{pair[1]}"


def problem(nodes: tuple[Node, ...], pair: tuple[int, int], done: Results) -> str:
    said = [collective.told(done.get(key(pair), nodes[i])) for i in pair]
    return next((one.problem for one in said if one.problem), "")


def slow_pair(known: Known, done: Results) -> list[Check]:
    """Which two nodes are slow with each other, or which node is slow with all, where one stands out."""
    nodes = (known.head, *known.workers)
    speeds = {
        (nodes[a].name, nodes[b].name): collective.told(done.get(key((a, b)), nodes[a])).gbytes
        for a, b in pairs(known)
        if done.has(key((a, b)))
    }
    share = known.cluster.fabric.slow_pair_below
    slow, least = slow_ones({pair: value for pair, value in speeds.items() if value}, share)
    if not slow:
        return []
    values = sorted(speeds[pair] for pair in slow)
    said = f"{values[0]:.2f}" if len(values) == 1 else f"{values[0]:.2f} to {values[-1]:.2f}"
    text = f"{said} GB/s; the other pairs reach {least:.2f} GB/s or more"
    shared = set(slow[0]).intersection(*slow[1:])
    if len(slow) > 1 and len(shared) == 1:
        (node,) = shared
        hint = "its own link, cable, switch port or PCIe slot: it is slow with each of the others"
        return [Check(f"node {node}", True, text, "as fast as the others", node, hint, warning=True)]
    hint = "the link, cable, switch port or PCIe slot of these two: compare both with a third node"
    return [
        Check(f"pair {a} - {b}", True, text, "about as fast as the others", hint=hint, warning=True)
        for a, b in slow
    ]


def slow_ones(speeds: Mapping[Pair, float], share: float) -> tuple[list[Pair], float]:
    """The pairs with less than ``share`` of what the rest reaches, and the least of the rest; none where half
    are slow without a node in common."""
    if len(speeds) < 2:
        return [], 0.0
    values = sorted(speeds.values())
    slow = [pair for pair, value in speeds.items() if value < share * values[-1]]
    rest = [value for pair, value in speeds.items() if pair not in slow]
    apart = bool(slow) and max(speeds[pair] for pair in slow) < share * min(rest)
    shared = len(slow) == 1 or (bool(slow) and bool(set(slow[0]).intersection(*slow[1:])))
    return (slow, min(rest)) if apart and shared else ([], 0.0)
