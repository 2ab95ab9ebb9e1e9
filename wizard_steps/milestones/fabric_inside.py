"""How fast the GPUs of one node are among themselves, beside what their NVLinks can carry."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from wizard_steps.engine.step import Known
from wizard_steps.milestones.fabric_facts import Links
from wizard_steps.model import Check, Node, Results
from wizard_steps.node import collective

#: An all_reduce of each node by itself; a cluster of one node has none beside the one of all ranks.
KEY = "inside"


def nodes(known: Known, found: Mapping[str, Links]) -> list[Node]:
    """Those with several GPUs whose NVLinks have told their rate."""
    told = [node for node in known.nodes if node.gpus > 1 and node.name in found]
    return [] if known.cluster.simulated else [node for node in told if found[node.name].nvlink]


def checks(known: Known, done: Results, found: Mapping[str, Links]) -> Iterator[Check]:
    key = KEY if len(known.nodes) > 1 else "allreduce"
    for node in nodes(known, found):
        result = done.get(key, node)
        if result is None or result.reason == "dry":
            continue
        told = collective.told(result)
        if told.problem or not told.gbytes:
            hint = "its GPUs do not work together: `nvidia-smi topo -p2p r`, `sudo dmesg | grep -i xid`"
            found_ = told.problem or "it reported no bandwidth"
            yield Check("inside the node", False, found_, "an all_reduce of its own GPUs", node.name, hint)
        else:
            yield _judged(known, node, told.gbytes, found[node.name].nvlink)


def _judged(known: Known, node: Node, gbytes: float, nvlink: float) -> Check:
    limits, share = known.cluster.fabric, gbytes / nvlink
    text = (
        f"{node.gpus} GPUs: bus bandwidth {gbytes:.2f} GB/s of {nvlink:.2f} GB/s (the NVLinks of a GPU, one "
        f"direction): {share:.2f}"
    )
    if share >= limits.warn_below_inside:
        return Check("inside the node", True, text, node=node.name)
    low = share < limits.fail_below
    accepted = not low or "slow" in limits.accept
    least = limits.fail_below if low else limits.warn_below_inside
    hint = (
        "does NCCL use NVLink (P2P channels)? Look for NCCL_P2P_DISABLE, links that are down "
        '(`nvidia-smi nvlink -s`), the fabric manager. To go on: fabric.accept = ["slow"]'
    )
    wanted = f"at least {least:g} of what NVLink can do"
    return Check("inside the node", accepted, text, wanted, node.name, hint, warning=accepted)
