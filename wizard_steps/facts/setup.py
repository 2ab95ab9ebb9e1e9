"""What the machines of a set-up form have, once they have been asked: GPUs, addresses, Docker or venv."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from wizard_steps.cluster.file import Cluster
from wizard_steps.facts.network import Candidate
from wizard_steps.facts.node import NodeFacts
from wizard_steps.facts.usable import NodeNet, usable


class MachineSeen(Struct, frozen=True):
    """One machine. ``problem``: why it did not answer. ``fabric_ip``: the one address that shares a
    network with all other machines, "" where there is none or a choice. ``gpus`` is None where not known."""

    problem: str = ""
    gpus: int | None = None
    fabric_ip: str = ""
    #: In words, for a person.
    about: str = ""


class SetUp(Struct, frozen=True):
    """``path``: the way that the machines are ready for, "" where nothing speaks for one."""

    machines: tuple[MachineSeen, ...]
    path: str = ""


def seen(facts: Mapping[str, NodeFacts], cluster: Cluster) -> SetUp:
    """In the order of the cluster file."""
    nodes = [facts.get(node.name, NodeFacts(problem="not asked")) for node in cluster.node_list]
    nets = {str(i): NodeNet(one.interfaces, one.speeds, one.rdma) for i, one in enumerate(nodes)}
    choices = list(usable(nets).by_node.values())
    shared = _shared(choices)
    machines = tuple(
        MachineSeen(one.problem.strip().splitlines()[0][:200] if one.problem.strip() else "no answer")
        if one.problem
        else MachineSeen("", _gpus(one), _only(found, shared), _about(one, cluster, _only(found, shared)))
        for one, found in zip(nodes, choices, strict=True)
    )
    return SetUp(machines, _path([one for one in nodes if not one.problem]))


def _gpus(one: NodeFacts) -> int | None:
    """Without nvidia-smi nobody knows: the driver may only be missing."""
    if one.gpu.problem == "ok":
        return len([gpu for gpu in one.gpu.gpus if not gpu.broken])
    return None


def _shared(choices: list[list[Candidate]]) -> set[str]:
    """The networks that every machine is on."""
    sets = [{one.network for one in found} for found in choices if found]
    return set.intersection(*sets) if sets and len(sets) == len(choices) else set()


def _only(found: list[Candidate], shared: set[str]) -> str:
    """A person's choice is not taken away: no Wi-Fi, which is only asked for."""
    ips = [one.ip for one in found if one.network in shared and one.kind != "wifi"]
    return ips[0] if len(ips) == 1 else ""


def _path(nodes: list[NodeFacts]) -> str:
    """Bare metal where vLLM is installed; else Docker where all have an engine with NVIDIA's runtime."""
    if nodes and any("vllm" in one.software.packages for one in nodes):
        return "bare-metal"
    ready = all(one.docker is not None and "nvidia" in one.docker.engine.runtimes for one in nodes)
    return "docker" if nodes and ready else ""


def _about(one: NodeFacts, cluster: Cluster, ip: str) -> str:
    gpus = one.gpu.gpus
    engine = one.docker.server if one.docker is not None else ""
    vllm = one.software.packages.get("vllm", "")
    said = [
        f"{len(gpus)} x {gpus[0].name}" if gpus else f"no GPU seen (nvidia-smi: {one.gpu.problem})",
        f"Docker {engine}" if engine else "no Docker engine answers",
        f"vLLM {vllm} in {cluster.venv}" if vllm else f"no vLLM in {cluster.venv}",
        f"{ip} is in the one network that all have" if ip else "its address for GPU traffic: asked in step 3",
    ]
    return ", ".join(said)
