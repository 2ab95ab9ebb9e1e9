"""What the advisor gets from gathered facts."""

from __future__ import annotations

from tests.facts.test_cases import ROOT, node_facts
from wizard_steps.cluster.file import Cluster, load, parse
from wizard_steps.facts.boxes import MIB, topology_of
from wizard_steps.facts.gpu import Gpu, GpuFacts
from wizard_steps.facts.netstate import parse_topology
from wizard_steps.facts.node import NodeFacts
from wizard_steps.facts.rules_gpu import judge
from wizard_steps.facts.sections import FactSection


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


#: vllm-project/vllm, a collect_env of four RTX A6000 in two bridged pairs.
PAIRS = """\
        GPU0    GPU1    GPU2    GPU3    NIC0    CPU Affinity    NUMA Affinity   GPU NUMA ID
GPU0     X      NV4     SYS     SYS     SYS     0-23,48-71      0               N/A
GPU1    NV4      X      SYS     SYS     SYS     0-23,48-71      0               N/A
GPU2    SYS     SYS      X      NV4     PXB     24-47,72-95     1               N/A
GPU3    SYS     SYS     NV4      X      PIX     24-47,72-95     1               N/A
NIC0    SYS     SYS     PXB     PIX      X
"""


def test_only_the_gpus_in_use_count() -> None:
    """Two of four that a bridge joins, beside a small card for the screen."""
    cards = [Gpu(i, "NVIDIA RTX A6000", 49140) for i in range(4)] + [Gpu(4, "NVIDIA T400 4GB", 4096)]
    facts = NodeFacts(gpu=GpuFacts(gpus=tuple(cards)), topology=parse_topology(FactSection(PAIRS, 0)))

    def cluster(gpus: int) -> Cluster:
        return parse(f'[[nodes]]\nname = "a"\nhost = "a"\nrole = "head"\ngpus = {gpus}\n')

    two, four = (topology_of(cluster(count), {"a": facts}) for count in (2, 4))
    assert (two.gpu_bytes, two.nvlink, two.mixed) == (49140 * MIB, True, False)
    assert (four.gpu_bytes, four.nvlink, four.mixed) == (49140 * MIB, False, False)
    for count, verdict, found in ((2, "ok", "NVLink between all (NV4)"), (4, "warn", "SYS")):
        made = cluster(count)
        links = [one for one in judge(made.head, facts, made) if one.fact == "GPU links"]
        assert [(one.verdict, one.found) for one in links] == [(verdict, found)]


def test_one_gpu_without_nvlink_among_others_is_named() -> None:
    """Form of NVIDIA/open-gpu-kernel-modules#1150: a card whose links are all inactive, until a reboot."""
    rows = [["X" if i == j else "NODE" if 2 in (i, j) else "NV18" for j in range(4)] for i in range(4)]
    text = "\n".join(f"GPU{i} {' '.join(row)} 0-47 0 N/A" for i, row in enumerate(rows))
    cards = tuple(Gpu(i, "NVIDIA B200", 183359) for i in range(4))
    facts = NodeFacts(gpu=GpuFacts(gpus=cards), topology=parse_topology(FactSection(text, 0)))
    cluster = parse('[[nodes]]\nname = "a"\nhost = "a"\nrole = "head"\ngpus = 4\n')
    (found,) = [one for one in judge(cluster.head, facts, cluster) if one.fact == "GPU links"]
    assert (found.verdict, found.found) == ("warn", "NODE")
    assert "GPU 2 has no NVLink" in found.message
