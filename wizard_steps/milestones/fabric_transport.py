"""What NCCL chose between the nodes, judged by what the nodes have. Pure functions of results."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from wizard_steps.cluster import devices
from wizard_steps.engine.step import Known
from wizard_steps.milestones import fabric_rdma
from wizard_steps.milestones.common import placed
from wizard_steps.milestones.fabric_facts import Links, rank_0
from wizard_steps.model import Check, Results
from wizard_steps.node.collective import Told, told

#: What NCCL's own RDMA can use.
_VERBS = ("InfiniBand", "Ethernet")


def transport(known: Known, done: Results, found: Mapping[str, Links]) -> Iterator[Check]:
    """What NCCL chose between the nodes, judged by what the nodes have."""
    first = rank_0(known, done)
    if not (first.network or first.channels):
        return
    channels = first.channels or "not printed"
    said = f"NCCL's channels: {channels}"
    if len(known.nodes) > 1:
        network = first.network or "an unnamed network"
        said = f"NCCL chose {network} between nodes; channels of the head: {channels}"
    if len(known.nodes) > 1 and first.network == "Socket" and _in_common(found):
        yield _socket(known, found, said)
        return
    idle = _idle(found) if len(known.nodes) > 1 and first.network == "Socket" else ""
    if idle:
        yield Check("transport", True, f"{said}. Plain TCP: {idle}", "NET/IB", hint=_IDLE, warning=True)
    else:
        yield Check("transport", True, said)
    if _no_peer_to_peer(known, first):
        hint = "look for NCCL_P2P_DISABLE, IOMMU or ACS settings, and `nvidia-smi topo -p2p r`"
        found_ = f"the GPUs have NVLink, and NCCL goes through main memory ({first.channels})"
        yield Check("NVLink", True, found_, "P2P channels", known.head.name, hint, warning=True)
    if len(known.nodes) > 1 and first.network.startswith("IB"):
        yield from _direct(known, done, found)
        lists = {name: told(result).devices for name, result in done.of("allreduce").items()}
        yield from fabric_rdma.passed_over(known, found, lists)
    yield from _gid_index(known, found)


def _no_peer_to_peer(known: Known, first: Told) -> bool:
    linked = bool(known.facts.get("machines", {}).get("nvlink"))
    return linked and "SHM" in first.channels and "P2P" not in first.channels


def _in_common(found: Mapping[str, Links]) -> set[str]:
    """The kinds of link of which every node has a port that NCCL could use."""
    kinds = [{port.layer for port in one.able} for one in found.values()]
    return set.intersection(*kinds) if kinds else set()


_IDLE = (
    "DOWN: the cable or the switch port; INIT: no subnet manager of InfiniBand answers (opensm, or the "
    "switch's own); then the addresses of the RoCE ports"
)


def _idle(found: Mapping[str, Links]) -> str:
    """Where every node has RDMA cards: why NCCL cannot use them."""
    cards = {name: [port for port in one.rdma if port.real] for name, one in found.items()}
    if not cards or not all(cards.values()):
        return ""
    if all(one.able for one in found.values()):
        kinds = {name: "/".join(sorted({port.layer for port in one.able})) for name, one in found.items()}
        return ", ".join(f"{name} has {kind}" for name, kind in list(kinds.items())[:4]) + ": none in common"
    rows = {name: ports[0] for name, ports in cards.items() if not found[name].able}
    return "; ".join(
        f"{port.device} on {name} is "
        + (fabric_rdma.why_not(found[name], port) if port.active else port.state or "not active")
        for name, port in list(rows.items())[:4]
    )


def _socket(known: Known, found: Mapping[str, Links], said: str) -> Check:
    ports = "; ".join(
        f"{name}: {one.able[0].device} {one.able[0].rate:g} Gbit/s {one.able[0].layer}"
        for name, one in list(found.items())[:4]
    )
    accepted = "socket" in known.cluster.fabric.accept
    return Check(
        "transport",
        accepted,
        f"{said}. Plain TCP, though every node has an active RDMA port ({ports})",
        "NET/IB",
        hint=_why_socket(known, found),
        warning=accepted,
    )


def _why_socket(known: Known, found: Mapping[str, Links]) -> str:
    for node in known.nodes:
        settings = devices.environment(known.cluster, node)
        for name in ("NCCL_IB_DISABLE", "NCCL_NET", "NCCL_IB_HCA"):
            if settings.get(name, "0") not in ("0", ""):
                return f"{name}={settings[name]} is set in the cluster file for {node.name}: remove it"
    closed = [name for name, one in found.items() if not one.verbs]
    if closed and placed(known).contained:
        return (
            f'no /dev/infiniband in the container on {", ".join(closed[:4])}: docker.rdma = "auto" gives it '
            "where the host has it: `ls /dev/infiniband` there"
        )
    if closed:
        names = ", ".join(closed[:4])
        return f"this user may not open /dev/infiniband/uverbs* on {names} (`ls -l /dev/infiniband`)"
    plug_in = [port for one in found.values() for port in one.able if port.layer not in _VERBS]
    if plug_in and not any(one.usable for one in found.values()):
        return (
            f"NCCL itself cannot use {plug_in[0].device} ({plug_in[0].driver or plug_in[0].layer}): it needs "
            'the plug-in of its maker (AWS EFA: aws-ofi-nccl). To go on with TCP: fabric.accept = ["socket"]'
        )
    if dumb := [name for name, one in found.items() if one.able and not one.usable]:
        port = found[dumb[0]].able[0]
        why = fabric_rdma.why_not(found[dumb[0]], port)
        return (
            f"NCCL has no RoCE on {', '.join(dumb[:4])}: {port.device} is {why}; "
            'give its interface an IPv4 address. To go on with TCP: fabric.accept = ["socket"]'
        )
    return (
        "install libibverbs and the card's provider (`ibv_devinfo` must list the port), or name the cards in "
        'NCCL_IB_HCA. To go on with TCP: fabric.accept = ["socket"]'
    )


def _direct(known: Known, done: Results, found: Mapping[str, Links]) -> Iterator[Check]:
    """GPU Direct RDMA: the card reads GPU memory itself. Without it everything goes through main memory."""
    for node in (known.head, *known.workers):
        one = told(done.get("allreduce", node))
        plain = re.search(r"NET/IB\w*(?![\w/])", one.channels)
        if not plain and one.direct != "Disabled":
            if one.dmabuf:
                yield Check("GPU Direct RDMA", True, "on, and the GPUs have DMA-BUF", node=node.name)
            continue
        here = found.get(node.name)
        can = one.dmabuf or (here is not None and here.peermem)
        module = "" if here is None or here.peermem else "; nvidia_peermem is not loaded"
        module += "" if one.dmabuf else "; NCCL spoke of no DMA-BUF"
        yield Check(
            "GPU Direct RDMA",
            True,
            f"off: NCCL copies through main memory ({one.channels or one.direct}){module}",
            "NET/IB/GDRDMA",
            node.name,
            _APART if can else _NO_DIRECT,
            warning=True,
        )
        return


_NO_DIRECT = (
    "load nvidia_peermem (`sudo modprobe nvidia_peermem`) or use a driver with DMA-BUF; some machines (GB10) "
    "cannot"
)
_APART = (
    "the driver could: look how far GPU and card are apart (`nvidia-smi topo -m`: PIX or PXB is near), for "
    "NCCL_NET_GDR_LEVEL, and for ACS or an IOMMU between them"
)


def _gid_index(known: Known, found: Mapping[str, Links]) -> Iterator[Check]:
    """NCCL_IB_GID_INDEX for all nodes is right only where each has a RoCE v2 address at that index."""
    for node in known.nodes:
        here = found.get(node.name)
        wanted = devices.environment(known.cluster, node).get("NCCL_IB_GID_INDEX", "")
        if not re.fullmatch(r"[0-9]{1,3}", wanted):
            continue
        if here is None or not here.gids or any(index == int(wanted) for _, index in here.gids):
            continue
        right = ", ".join(f"{device} index {index}" for device, index in here.gids[:4])
        yield Check(
            "RoCE GID",
            False,
            f"NCCL_IB_GID_INDEX={wanted}, but here RoCE v2 with IPv4 is at {right}",
            "the index of a RoCE v2 address",
            node.name,
            "remove NCCL_IB_GID_INDEX from env (NCCL 2.21 and newer finds it), or set it in this node's env",
        )
