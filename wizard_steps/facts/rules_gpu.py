"""Judges GPUs: driver, CUDA, count, memory, who is on them, how they are joined."""

from __future__ import annotations

from collections.abc import Iterator

from wizard_steps.cluster.file import Cluster
from wizard_steps.facts import needs as wanted
from wizard_steps.facts.finding import Finding, ok
from wizard_steps.facts.gpu import remedy
from wizard_steps.facts.node import NodeFacts
from wizard_steps.facts.rules_software import is_ours
from wizard_steps.model import Node

#: The advisor says the same of such a box.
WITHOUT_NVLINK = "TP answers a single request sooner, PP inside the machine serves more at once: measure both"
#: Share of a GPU that others may hold while vLLM still gets its default 0.92.
BUSY_SHARE = 0.08


def judge(node: Node, facts: NodeFacts, cluster: Cluster) -> Iterator[Finding]:
    gpu = facts.gpu
    if gpu.problem != "ok":
        yield _no_gpu(node, facts, cluster)
        return
    need = wanted.needs(cluster.serve.vllm_version)
    yield _driver(node.name, facts, need, cluster.serve.vllm_version)
    yield _cuda(node.name, facts, need)
    yield _count(node, facts)
    yield from _capability(node.name, facts, need)
    yield _busy(node.name, facts)
    yield from _fabric(node.name, facts)
    if len(gpu.gpus) > 1:
        yield _links(node.name, facts)


def _no_gpu(node: Node, facts: NodeFacts, cluster: Cluster) -> Finding:
    gpu = facts.gpu
    if cluster.simulated:
        return ok("GPUs", node.name, f"SIMULATED: {node.gpus} logical GPUs, none real")
    if not node.gpus and gpu.problem == "not-installed":
        return ok("GPUs", node.name, "none, and none promised")
    found = "none" if gpu.problem == "not-installed" else gpu.message[:80]
    message = (
        f"{node.gpus} GPU(s) are promised in the cluster file" if node.gpus else "the GPUs do not answer"
    )
    return Finding("GPUs", node.name, "fail", found, message, remedy(gpu.problem))


def _driver(node: str, facts: NodeFacts, need: wanted.Needs | None, vllm: str) -> Finding:
    driver = facts.gpu.driver
    if any("SIMULATED" in gpu.name for gpu in facts.gpu.gpus):
        return ok("driver", node, f"SIMULATED {driver}")
    if not driver:
        return Finding("driver", node, "unknown", "not told", "nvidia-smi named no driver version")
    if need is None:
        return Finding("driver", node, "unknown", driver, f"what vLLM {vllm} needs is not known here")
    if wanted.older(driver, need.driver):
        return Finding(
            "driver", node, "fail", driver,
            f"vLLM {vllm} is built with CUDA {need.cuda}, which needs driver {need.driver} or newer",
            "upgrade the driver; or install a vLLM build for this driver's CUDA; or, on data-centre GPUs "
            "only, cuda-compat and VLLM_ENABLE_CUDA_COMPATIBILITY=1 in the cluster file's env",
        )  # fmt: skip
    return ok("driver", node, driver)


def _cuda(node: str, facts: NodeFacts, need: wanted.Needs | None) -> Finding:
    cuda = facts.gpu.cuda
    if not cuda:
        return Finding("CUDA", node, "unknown", "not told", "nvidia-smi named no CUDA version")
    if need and wanted.version(cuda)[:1] < wanted.version(need.cuda)[:1]:
        message = f"the driver serves CUDA up to {cuda}; this vLLM build needs {need.cuda}"
        return Finding("CUDA", node, "fail", cuda, message, "upgrade the driver")
    return ok("CUDA", node, f"up to {cuda}")


def _count(node: Node, facts: NodeFacts) -> Finding:
    gpus = facts.gpu.gpus
    kinds = sorted({gpu.name for gpu in gpus})
    found = f"{len(gpus)} x {' + '.join(kinds)}, {facts.gpu.memory_mib / 1024:.0f} GiB"
    if node.gpus > len(gpus):
        message = f"the cluster file promises {node.gpus}"
        hint = (
            "correct gpus in the cluster file, or find the missing card: `sudo dmesg | grep -i xid`, `lspci`"
        )
        return Finding("GPUs", node.name, "fail", found, message, hint)
    if len(kinds) > 1:
        return Finding("GPUs", node.name, "warn", found, "different GPUs: the smallest sets the pace", "")
    if node.gpus and node.gpus < len(gpus):
        message = f"only {node.gpus} of them are in the cluster file; the others will not be used"
        return Finding("GPUs", node.name, "warn", found, message, "set gpus if you want them all")
    return ok("GPUs", node.name, found)


def _capability(node: str, facts: NodeFacts, need: wanted.Needs | None) -> Iterator[Finding]:
    caps = [gpu.compute_cap for gpu in facts.gpu.gpus if gpu.compute_cap]
    low = min(caps, key=wanted.version, default="")
    if need and wanted.older(low, need.compute_cap):
        message = f"vLLM needs compute capability {need.compute_cap} or higher"
        yield Finding("capability", node, "fail", low, message, "use newer GPUs or an older vLLM")


def _busy(node: str, facts: NodeFacts) -> Finding:
    busy = [gpu for gpu in facts.gpu.gpus if gpu.memory_mib and gpu.used_mib > BUSY_SHARE * gpu.memory_mib]
    others = [p for p in facts.gpu_processes if not is_ours(facts, p.pid)]
    holders = ", ".join(f"{p.name.rsplit('/', 1)[-1]} (pid {p.pid})" for p in others[:3])
    # In a container nvidia-smi names no processes: what is busy while ours run is taken to be theirs.
    if not others and (facts.ours.pids or (facts.docker and facts.docker.ours)):
        return ok("GPU use", node, "in use by what milepost started" if busy else "free")
    if busy:
        found = ", ".join(f"GPU {gpu.index}: {gpu.used_mib} of {gpu.memory_mib} MiB" for gpu in busy[:3])
        more = f" and {len(busy) - 3} more" if len(busy) > 3 else ""
        message = f"vLLM would refuse: too little free memory. {holders}".strip()
        hint = "stop the process if it is yours, or lower --gpu-memory-utilization"
        return Finding("GPU use", node, "fail", found + more, message, hint)
    if holders:
        return Finding(
            "GPU use", node, "warn", holders, "someone else is on the GPUs", "ask before you start"
        )
    return ok("GPU use", node, "free")


def _fabric(node: str, facts: NodeFacts) -> Iterator[Finding]:
    states = [line.split(",") for line in facts.gpu_fabric]
    bad = [cells for cells in states if len(cells) > 1 and cells[1].strip() in ("Not Started", "In Progress")]
    if bad:
        found = f"GPU {bad[0][0].strip()}: {bad[0][1].strip()}"
        message = "CUDA will say: error 802, system not yet initialized"
        hint = "install and start nvidia-fabricmanager of exactly the driver's version"
        yield Finding("NVSwitch", node, "fail", found, message, hint)


def _links(node: str, facts: NodeFacts) -> Finding:
    topology = facts.topology
    if topology.nvlink is None:
        return Finding("GPU links", node, "unknown", "not told", "`nvidia-smi topo -m` gave no matrix")
    if topology.nvlink:
        return ok("GPU links", node, f"NVLink between all ({topology.worst})")
    message = "no NVLink between all GPUs: tensor parallel traffic goes over PCIe"
    return Finding("GPU links", node, "warn", topology.worst, message, WITHOUT_NVLINK)
