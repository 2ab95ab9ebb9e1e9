"""Judges the cards that ``nvidia-smi`` lists: which are used, and whether they can be. Preflight and the
nvidia-smi gate both ask here, so that they cannot disagree."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from wizard_steps.cluster import devices
from wizard_steps.cluster.file import Cluster
from wizard_steps.facts.finding import Finding, ok
from wizard_steps.facts.gpu import Gpu, GpuFacts
from wizard_steps.model import Node

LOST = "a GPU has fallen off the bus (`sudo dmesg | grep -i xid`), or the cluster file's gpus is wrong"


def judge(node: Node, gpu: GpuFacts, cluster: Cluster) -> Iterator[Finding]:
    """For a node whose nvidia-smi answered."""
    used = chosen(node, gpu, cluster)
    yield count(node, gpu, cluster, used)
    yield from _broken(node, gpu, used)
    yield from _mig(node, used, cluster)
    yield from _prohibited(node, used)
    yield from _worries(node, gpu, used)


def chosen(node: Node, gpu: GpuFacts, cluster: Cluster) -> tuple[Gpu, ...]:
    """The GPUs in use: those the file names, else the first sound ones, of one kind where that is enough."""
    named = devices.visible(cluster, node)
    if "MIG-" in named:
        cut = [one for one in gpu.gpus if one.mig]
        return tuple(cut[:1] * len(devices.named(named)))
    if named:
        return tuple(gpu.gpus[place] for place in devices.places(named, [one.uuid for one in gpu.gpus]))
    sound = [one for one in gpu.gpus if one.usable]
    whole = [one for one in sound if not one.mig]
    pool = whole if len(whole) >= node.gpus else sound
    if len(pool) > node.gpus > 0:
        pool = _alike(pool, node.gpus)
    return tuple(pool[: node.gpus] if node.gpus else pool)


def choice(node: Node, gpu: GpuFacts, cluster: Cluster) -> str:
    """CUDA_VISIBLE_DEVICES where not all GPUs of the node are used, else empty."""
    if devices.visible(cluster, node) or not node.gpus:
        return ""
    used = chosen(node, gpu, cluster)
    return "" if len(used) == len(gpu.gpus) else ",".join(str(one.index) for one in used)


def count(node: Node, gpu: GpuFacts, cluster: Cluster, used: Sequence[Gpu]) -> Finding:
    found = described(gpu.gpus)
    if not node.gpus:
        return ok("GPUs", node.name, f"{found}; none is used: gpus = 0")
    if len(used) < node.gpus:
        named = devices.visible(cluster, node)
        what = f"named in {devices.VISIBLE}={named} and there" if named else "usable"
        message = f"the cluster file says {node.gpus}; {len(used)} of {len(gpu.gpus)} are {what}"
        return Finding("GPUs", node.name, "fail", found, message, LOST)
    kinds = sorted({one.name for one in used})
    if len(kinds) > 1:
        message = f"mixed GPU models ({' + '.join(kinds)}): the smallest and slowest sets the pace"
        hint = f"choose GPUs of one kind: gpus, and {devices.VISIBLE} in the node's env"
        return Finding("GPUs", node.name, "warn", found, message, hint)
    if len(used) < len(gpu.gpus):
        numbers = ",".join(str(one.index) for one in used)
        one = "GPU" if len(used) == 1 else "GPUs"
        return ok("GPUs", node.name, f"{found}; the cluster file uses {len(used)}: {one} {numbers}")
    return ok("GPUs", node.name, found)


def described(gpus: Sequence[Gpu]) -> str:
    """``8 x NVIDIA H100 80GB HBM3, 80 GiB``."""
    kinds = sorted({gpu.name for gpu in gpus if not gpu.broken} or {"unknown"})
    memory = min((gpu.memory_mib for gpu in gpus if gpu.memory_mib and gpu.usable), default=0)
    size = f"{memory / 1024:.0f} GiB" if memory else "memory size unknown"
    shared = any(gpu.shared or not gpu.memory_mib for gpu in gpus if gpu.usable and not gpu.mig)
    unified = f"{size}, shared with the machine" if memory else "memory shared with the machine"
    return f"{len(gpus)} x {' + '.join(kinds)}, {unified if shared else size}"


def _alike(pool: Sequence[Gpu], wanted: int) -> list[Gpu]:
    """The largest cards of one kind, if there are enough of them; else the largest ones."""
    kinds: dict[tuple[str, int], list[Gpu]] = {}
    for one in pool:
        kinds.setdefault((one.name, one.memory_mib), []).append(one)
    enough = [members for members in kinds.values() if len(members) >= wanted]
    return max(enough, key=lambda members: members[0].memory_mib) if enough else list(pool)


def _broken(node: Node, gpu: GpuFacts, used: Sequence[Gpu]) -> Iterator[Finding]:
    bad = [one for one in gpu.gpus if one.broken]
    grave = len(used) < node.gpus or any(one.broken for one in used)
    found = ", ".join(f"GPU {one.index}: {one.broken}" for one in bad[:4])
    if gpu.lost and gpu.lost not in found:
        found = f"{found}; {gpu.lost}" if found else gpu.lost
    if found:
        message = "a GPU does not answer" + ("" if grave else "; the GPUs in use do")
        hint = (
            "`sudo dmesg | grep -i xid` names the fault; reset the GPU (sudo nvidia-smi --gpu-reset) "
            "or reboot"
        )
        yield Finding("GPU health", node.name, "fail" if grave else "warn", found, message, hint)


def _mig(node: Node, used: Sequence[Gpu], cluster: Cluster) -> Iterator[Finding]:
    cut = [one for one in used if one.mig]
    if not cut or not node.gpus:
        return
    found = f"MIG is on: GPU {', '.join(str(one.index) for one in cut[:8])}"
    if cluster.serve.world_size > 1:
        message = "NCCL connects complete GPUs only, so vLLM cannot split a model over MIG devices"
        hint = "`sudo nvidia-smi -mig 0` on this node, or use GPUs without MIG (gpus, CUDA_VISIBLE_DEVICES)"
        yield Finding("MIG", node.name, "fail", found, message, hint)
        return
    if any(word.startswith("MIG-") for word in devices.named(devices.visible(cluster, node))):
        yield ok("MIG", node.name, f"{found}; the file names the device")
        return
    message = "vLLM gets one MIG device, with that part of the memory"
    hint = f'name it: {devices.VISIBLE} = "MIG-..." in the node\'s env (nvidia-smi -L lists them)'
    yield Finding("MIG", node.name, "warn", found, message, hint)


def _prohibited(node: Node, used: Sequence[Gpu]) -> Iterator[Finding]:
    numbers = ",".join(str(one.index) for one in used if one.prohibited)
    if numbers:
        message = "the compute mode lets no program compute there: CUDA could start nothing on it"
        hint = f"`sudo nvidia-smi -i {numbers} -c 0` takes that back; an administrator may have set it"
        yield Finding("compute mode", node.name, "fail", f"Prohibited on GPU {numbers}", message, hint)


def _worries(node: Node, gpu: GpuFacts, used: Sequence[Gpu]) -> Iterator[Finding]:
    told = [f"GPU {one.index}: a sensor reads {one.sensors}" for one in used if one.sensors]
    told += [f"GPU {one.index}: {one.ecc} uncorrected memory errors" for one in used if one.ecc]
    told += [gpu.remark] if gpu.remark and gpu.remark != gpu.lost else []
    if told:
        more = f" and {len(told) - 4} more" if len(told) > 4 else ""
        hint = "`nvidia-smi -q` has the details; a card that keeps failing has to be replaced"
        yield Finding("GPU health", node.name, "warn", "; ".join(told[:4]) + more, "it works for now", hint)
