"""Which pairs of nodes are tried where all of them together fail or are slow, and what the pairs said."""

from __future__ import annotations

from itertools import combinations

from wizard_steps.engine.step import Known
from wizard_steps.milestones import fabric_links
from wizard_steps.model import Check, Node, Results
from wizard_steps.node import collective

#: Pairs that are tried at the same time, and in all.
AT_ONCE, MOST = 8, 64


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
    """Which two nodes are slow with each other, where one pair stands out."""
    nodes = (known.head, *known.workers)
    speeds = {
        f"{nodes[a].name} - {nodes[b].name}": collective.told(done.get(key((a, b)), nodes[a])).gbytes
        for a, b in pairs(known)
        if done.has(key((a, b)))
    }
    found = fabric_links.slow_pair({pair: value for pair, value in speeds.items() if value})
    if found is None:
        return []
    pair, value, middle = found
    text = f"{value:.2f} GB/s; the other pairs reach {middle:.2f} GB/s"
    hint = "the link, cable, switch port or PCIe slot of these two: compare both with a third node"
    return [Check(f"pair {pair}", True, text, "about as fast as the others", hint=hint, warning=True)]
