"""What the advisor gets from gathered facts."""

from __future__ import annotations

from tests.facts.test_cases import ROOT, node_facts
from wizard_steps.cluster.file import load
from wizard_steps.facts.boxes import MIB, topology_of


def test_machines_memory_and_links_come_from_the_facts() -> None:
    cluster = load(ROOT / "gpu-kinds" / "cluster.toml")
    expect = {"base": "h100x8"}
    facts = {n: node_facts(ROOT / "gpu-kinds", n, expect) for n in "abc"}
    topology = topology_of(cluster, facts)
    assert [(box.name, box.gpus) for box in topology.boxes] == [("a", 8), ("b", 8), ("c", 8)]
    assert topology.gpu_bytes == 40960 * MIB, "the smallest GPU counts"
    assert topology.nvlink is True
    slow = {n: node_facts(ROOT / "no-nvlink", n, expect) for n in "abc"}
    assert topology_of(cluster, slow).nvlink is False
    assert topology_of(cluster, {}).gpu_bytes == 0
