"""Judges GPUs: driver, CUDA, the cards and their health, who is on them, how they are joined."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from wizard_steps.cluster import devices
from wizard_steps.cluster.file import Cluster
from wizard_steps.facts import needs as wanted
from wizard_steps.facts import rules_cards
from wizard_steps.facts.accelerators import sentence
from wizard_steps.facts.finding import Finding, ok
from wizard_steps.facts.gpu import Gpu, GpuProcess, remedy
from wizard_steps.facts.gpu_health import XIDS
from wizard_steps.facts.node import NodeFacts
from wizard_steps.facts.rules_software import is_ours
from wizard_steps.model import Node

#: The advisor says the same of such a box.
WITHOUT_NVLINK = "TP answers a single request sooner, PP inside the machine serves more at once: measure both"
#: Share of a GPU that others may hold while vLLM still gets its default 0.92.
BUSY_SHARE = 0.08
#: What a GPU of the fabric says of its registration, or one that knows no fabric.
_JOINED = ("Success", "N/A", "Not Supported", "")
#: Programs of a desktop that draw with the GPU.
_DESKTOP = frozenset(
    {"Xorg", "X", "Xwayland", "gnome-shell", "mutter", "kwin_x11", "kwin_wayland", "plasmashell", "gdm",
     "sddm", "lightdm", "xfwm4", "cinnamon", "weston", "sway", "Hyprland", "gnome-remote-desktop-daemon",
     "gnome-control-center", "nautilus", "firefox", "chrome", "chromium", "xdg-desktop-portal-gnome"}
)  # fmt: skip


def judge(node: Node, facts: NodeFacts, cluster: Cluster) -> Iterator[Finding]:
    gpu = facts.gpu
    if gpu.problem != "ok":
        yield _no_gpu(node, facts, cluster)
        return
    need = wanted.needs(cluster.serve.vllm_version)
    yield _driver(node.name, facts, need, cluster.serve.vllm_version)
    yield _cuda(node.name, facts, need)
    yield from rules_cards.judge(node, gpu, cluster)
    used = rules_cards.chosen(node, gpu, cluster)
    if not node.gpus:
        return
    yield from _health(node.name, facts, used)
    yield from _capability(node.name, used, need)
    yield _busy(node, facts, cluster, used)
    yield from _fabric(node.name, facts)
    if len(used) > 1:
        yield _links(node.name, facts, used)


def _no_gpu(node: Node, facts: NodeFacts, cluster: Cluster) -> Finding:
    gpu = facts.gpu
    if cluster.simulated:
        return ok("GPUs", node.name, f"SIMULATED: {node.gpus} logical GPUs, none real")
    if not node.gpus:
        return ok("GPUs", node.name, "none, as in the cluster file")
    seen = facts.accelerators
    found = "none" if gpu.problem == "not-installed" else gpu.message[:200]
    promised = f"the cluster file says {node.gpus}"
    message = f"{promised}; {sentence(seen)}" if sentence(seen) else promised
    hint = remedy(gpu.problem)
    if seen.others and not seen.nvidia:
        hint = "remove this node from the cluster file, or use one with NVIDIA GPUs"
    elif seen.wsl and gpu.problem != "blocked":
        hint = remedy("blocked")
    return Finding("GPUs", node.name, "fail", found, message, hint)


def _driver(node: str, facts: NodeFacts, need: wanted.Needs | None, vllm: str) -> Finding:
    driver = facts.gpu.driver
    if any("SIMULATED" in gpu.name for gpu in facts.gpu.gpus):
        return ok("driver", node, f"SIMULATED {driver}")
    if not driver:
        return no_version(node)
    if need is None:
        return Finding("driver", node, "unknown", driver, f"what vLLM {vllm} needs is not known here")
    if wanted.older(driver, need.driver):
        return Finding(
            "driver", node, "fail", driver,
            f"vLLM {vllm} needs driver {need.driver} or newer, for CUDA {need.cuda}",
            "upgrade the driver; or install a vLLM build for this driver's CUDA; or, on data-centre GPUs "
            "only, cuda-compat and VLLM_ENABLE_CUDA_COMPATIBILITY=1 in the cluster file's env",
        )  # fmt: skip
    return ok("driver", node, driver)


def _cuda(node: str, facts: NodeFacts, need: wanted.Needs | None) -> Finding:
    cuda = facts.gpu.cuda
    if not cuda:
        return Finding("CUDA", node, "unknown", "unknown", "nvidia-smi named no CUDA version")
    if need and wanted.major(cuda) < wanted.major(need.cuda):
        message = f"the driver serves CUDA up to {cuda}; this vLLM build needs {need.cuda}"
        return Finding("CUDA", node, "fail", cuda, message, "upgrade the driver")
    return ok("CUDA", node, f"up to {cuda}")


def no_version(node: str) -> Finding:
    """Two nodes without a version are not two nodes with the same one."""
    message = "nvidia-smi named no driver version, so it cannot be compared"
    return Finding(
        "driver",
        node,
        "fail",
        "unknown",
        message,
        "run `nvidia-smi` there; if it names no driver version, reinstall the driver",
    )


def _health(node: str, facts: NodeFacts, used: Sequence[Gpu]) -> Iterator[Finding]:
    """What `nvidia-smi -q` and the kernel's log say of the GPUs in use."""
    numbers = {gpu.index for gpu in used}
    sick = [(i, one) for i, one in enumerate(facts.gpu_health) if i in numbers]
    faults = [f"GPU {i}: {text}" for i, one in sick for text in one.faults]
    worries = [f"GPU {i}: {text}" for i, one in sick for text in one.worries]
    if faults:
        hint = "reset the GPU or reboot the node; a card that fails again has to be replaced"
        yield Finding("GPU health", node, "fail", "; ".join(faults[:4]), "it may fail under load", hint)
    if worries:
        hint = "`nvidia-smi -q` has the details"
        yield Finding("GPU health", node, "warn", "; ".join(worries[:4]), "it works for now", hint)
    grave = {one.number: one for one in facts.xids if one.number in XIDS}
    if grave:
        found = "; ".join(f"Xid {number} on {one.bus}: {XIDS[number]}" for number, one in grave.items())
        message = "since the node was started, by its kernel's log"
        hint = "`sudo dmesg | grep -i xid` has the lines; after a reset or replacement they no longer matter"
        yield Finding("GPU faults", node, "warn", found, message, hint)


def _capability(node: str, used: Sequence[Gpu], need: wanted.Needs | None) -> Iterator[Finding]:
    caps = [gpu.compute_cap for gpu in used if gpu.compute_cap]
    low = min(caps, key=wanted.version_of, default="")
    if need and wanted.older(low, need.compute_cap):
        message = f"vLLM needs compute capability {need.compute_cap} or higher"
        yield Finding("capability", node, "fail", low, message, "use newer GPUs or an older vLLM")


def _busy(node: Node, facts: NodeFacts, cluster: Cluster, used: Sequence[Gpu]) -> Finding:
    if any(gpu.shared for gpu in used):
        return _shared_memory(node, facts, cluster, used[0])
    busy = [gpu for gpu in used if gpu.memory_mib and gpu.used_mib > BUSY_SHARE * gpu.memory_mib]
    others = [p for p in _strangers(facts, used) if not is_ours(facts, p.pid)]
    holders = ", ".join(f"{p.name.rsplit('/', 1)[-1][:40]} (pid {p.pid})" for p in others[:3])
    # In a container nvidia-smi names no processes: what is busy while ours run is taken to be theirs.
    if not others and (facts.ours.pids or (facts.docker and facts.docker.ours)):
        return ok("GPU use", node.name, "in use by what milepost started" if busy else "free")
    if busy:
        found = ", ".join(f"GPU {gpu.index}: {gpu.used_mib} of {gpu.memory_mib} MiB" for gpu in busy[:3])
        more = f" and {len(busy) - 3} more" if len(busy) > 3 else ""
        message = f"vLLM would refuse: too little free memory. {holders}".strip()
        hint = "stop the process if it is yours, or lower --gpu-memory-utilization" + _free(facts, used, node)
        return Finding("GPU use", node.name, "fail", found + more, message, hint)
    if holders:
        return Finding(
            "GPU use", node.name, "warn", holders, "someone else uses the GPUs", "ask before you start"
        )
    return ok("GPU use", node.name, "free")


def _free(facts: NodeFacts, used: Sequence[Gpu], node: Node) -> str:
    """Where as many other GPUs are free, the way to them."""
    numbers = {gpu.index for gpu in used}
    free = [
        g
        for g in facts.gpu.gpus
        if g.usable and g.index not in numbers and g.used_mib <= BUSY_SHARE * g.memory_mib
    ]
    if not node.gpus or len(free) < node.gpus:
        return ""
    some = ",".join(str(gpu.index) for gpu in free[: node.gpus])
    return f'; free are others: {devices.VISIBLE} = "{some}" in the node\'s env'


def _strangers(facts: NodeFacts, used: Sequence[Gpu]) -> list[GpuProcess]:
    """Processes that compute on the GPUs in use. A desktop draws on its card, and is nobody to ask."""
    mine = {gpu.index for gpu in used}
    rest = [gpu for gpu in facts.gpu.gpus if gpu.index not in mine]
    elsewhere = {str(gpu.index) for gpu in rest} | {gpu.uuid for gpu in rest}
    return [
        one
        for one in facts.gpu_processes
        if "C" in (one.kind or "C") and not (one.gpu and one.gpu in elsewhere) and not _draws(one)
    ]


def _draws(process: GpuProcess) -> bool:
    """A desktop's own programs open a compute context as well (C+G)."""
    return process.name.rsplit("/", 1)[-1].split(" ")[0] in _DESKTOP


def _shared_memory(node: Node, facts: NodeFacts, cluster: Cluster, gpu: Gpu) -> Finding:
    """On GB10, Thor and Jetson the GPU's memory is the machine's: everything that runs takes from it."""
    share = utilization(cluster)
    free, total = gpu.memory_mib - gpu.used_mib, gpu.memory_mib
    found = f"shared with the machine: {free / 1024:.0f} of {total / 1024:.0f} GiB are free"
    if facts.ours.pids or (facts.docker and facts.docker.ours) or free >= share * total:
        return ok("GPU use", node.name, found)
    message = f"vLLM wants {share:.0%} of the GPU's memory to be free when it starts"
    most = max(0.0, int(free / total * 100 - 2) / 100)
    hint = f'serve.extra_flags = ["--gpu-memory-utilization={most:.2f}"], or end what else runs there'
    return Finding("GPU use", node.name, "warn", found, message, hint)


def utilization(cluster: Cluster) -> float:
    """The share of a GPU that vLLM takes: --gpu-memory-utilization, or its default."""
    name = "--gpu-memory-utilization"
    flags = cluster.serve.extra_flags
    told = [flag.partition("=")[2] for flag in flags if flag.startswith(f"{name}=")]
    told += [flags[i + 1] for i, flag in enumerate(flags[:-1]) if flag == name]
    try:
        return min(1.0, max(0.0, float(told[-1]))) if told else 1 - BUSY_SHARE
    except ValueError:
        return 1 - BUSY_SHARE


def _fabric(node: str, facts: NodeFacts) -> Iterator[Finding]:
    """A GPU that has not joined waits for ever; one that was turned away computes, without NVLink."""
    states = [[cell.strip() for cell in line.split(",")] for line in facts.gpu_fabric]
    for number, state, *status in (cells for cells in states if len(cells) > 1):
        if state in ("Not Started", "In Progress"):
            message = "CUDA will say: error 802, system not yet initialized"
            hint = "install and start nvidia-fabricmanager of exactly the driver's version"
            yield Finding("NVSwitch", node, "fail", f"GPU {number}: {state}", message, hint)
            return
        if state == "Completed" and status and status[0].strip("[]") not in _JOINED:
            message = "it was turned away from the NVLink fabric: NCCL goes over the machine's own memory"
            hint = (
                "`nvidia-smi -q | grep -A 9 Fabric` shows it; who runs the fabric manager (of a rack: NMX) "
                "has to admit this node's GPUs"
            )
            yield Finding("NVSwitch", node, "warn", f"GPU {number}: {status[0]}", message, hint)
            return


def _links(node: str, facts: NodeFacts, used: Sequence[Gpu]) -> Finding:
    topology = facts.topology.among([gpu.index for gpu in used])
    if topology.nvlink is None:
        return Finding("GPU links", node, "unknown", "unknown", "`nvidia-smi topo -m` gave no matrix")
    if topology.nvlink:
        return ok("GPU links", node, f"NVLink between all ({topology.worst})")
    message = "no NVLink between all GPUs: tensor parallel traffic goes over PCIe"
    rows = zip(used, topology.cells, strict=False)
    alone = [gpu.index for gpu, row in rows if not any(cell.startswith("NV") for cell in row)]
    if len(topology.cells) == len(used) and 0 < len(alone) < len(used) - 1:
        message = (
            f"GPU {', '.join(map(str, alone))} has no NVLink, the others do: tensor parallel waits for it"
        )
        hint = f"`nvidia-smi nvlink -s` tells a link that failed from a missing bridge; {WITHOUT_NVLINK}"
        return Finding("GPU links", node, "warn", topology.worst, message, hint)
    return Finding("GPU links", node, "warn", topology.worst, message, WITHOUT_NVLINK)
