"""What the facts say about the machines that the TP x PP advisor plans for."""

from __future__ import annotations

from collections.abc import Mapping

from wizard_steps.advisor.plan import Box, ParallelTopology
from wizard_steps.cluster.file import Cluster
from wizard_steps.facts.node import NodeFacts

MIB = 1 << 20


def topology_of(cluster: Cluster, facts: Mapping[str, NodeFacts]) -> ParallelTopology:
    """Machines in rank order (the head first) with the GPUs that the cluster file gives to them.

    GPU memory is that of the smallest GPU that was seen, 0 when none was; ``nvlink`` is False as soon as
    one node has GPUs without it, None when no node told.
    """
    nodes = sorted(cluster.node_list, key=lambda node: node.role != "head")
    boxes = tuple(Box(node.name, node.gpus) for node in nodes if node.gpus)
    seen = [one for one in facts.values() if one.gpu.gpus]
    memory = min((one.gpu.memory_mib for one in seen if one.gpu.memory_mib), default=0) * MIB
    links = [one.topology.nvlink for one in seen if one.topology.nvlink is not None]
    return ParallelTopology(
        boxes=boxes,
        gpu_bytes=memory,
        gpu_name=seen[0].gpu.gpus[0].name if seen else "",
        nvlink=all(links) if links else None,
        mixed=len({gpu.name for one in seen for gpu in one.gpu.gpus}) > 1,
        told="nvidia-smi of the nodes" if memory else "",
    )
