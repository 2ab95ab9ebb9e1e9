"""What the facts say about the machines that the TP x PP advisor plans for."""

from __future__ import annotations

from collections.abc import Mapping

from wizard_steps.advisor.plan import Box, ParallelTopology
from wizard_steps.cluster.file import Cluster
from wizard_steps.facts import rules_cards
from wizard_steps.facts.node import NodeFacts

MIB = 1 << 20


def topology_of(cluster: Cluster, facts: Mapping[str, NodeFacts]) -> ParallelTopology:
    """Machines in rank order (the head first) with the GPUs that the cluster file gives to them.

    Only the GPUs that are used count: a small card for the screen beside them sets no pace. GPU memory is
    that of the smallest one, 0 when none was seen; ``nvlink`` is False as soon as one node has none between
    them, None when no node told.
    """
    nodes = sorted(cluster.node_list, key=lambda node: node.role != "head")
    boxes = tuple(Box(node.name, node.gpus) for node in nodes if node.gpus)
    used = {
        node.name: rules_cards.chosen(node, facts[node.name].gpu, cluster)
        for node in nodes
        if node.gpus and node.name in facts
    }
    seen = [gpu for some in used.values() for gpu in some]
    memory = min((gpu.memory_mib for gpu in seen if gpu.memory_mib and gpu.usable), default=0) * MIB
    joined = [facts[name].topology.among([gpu.index for gpu in some]) for name, some in used.items()]
    links = [one.nvlink for one in joined if one.nvlink is not None]
    return ParallelTopology(
        boxes=boxes,
        gpu_bytes=memory,
        gpu_name=seen[0].name if seen else "",
        nvlink=all(links) if links else None,
        mixed=len({gpu.name for gpu in seen}) > 1,
        told="nvidia-smi of the nodes" if memory else "",
    )
