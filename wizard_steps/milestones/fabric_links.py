"""What the links between the nodes can do, and whether NCCL made use of it. Pure functions of results."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from wizard_steps.engine.step import Known
from wizard_steps.milestones import fabric_rdma
from wizard_steps.milestones.fabric_facts import Links, links, rank_0
from wizard_steps.model import Check, Cmd, Node, Results
from wizard_steps.node.collective import Told, told

#: Bytes of headers around the data of an IPv4 ping.
_PING = 28


# ---- jumbo frames


def jumbo(known: Known, done: Results, node: Node) -> Cmd | None:
    """Whether full packets pass from a worker to the head; None where they are of the usual size."""
    mtu = _mtu(known, done, node)
    if mtu <= 1500 or node == known.head or _interface(known, node) == "lo":
        return None
    line = f"ping -M do -c 3 -i 0.3 -W 2 -s {mtu - _PING} {known.head_ip}"
    text = f"command -v ping >/dev/null || {{ echo 'ping: not installed'; exit 0; }}\nexec {line}\n"
    return Cmd("jumbo", text, timeout=20, show=line)


def _mtu(known: Known, done: Results, node: Node) -> int:
    found = links(done.get("links", node))
    return found.mtus.get(_interface(known, node), 0) if found else 0


def _interface(known: Known, node: Node) -> str:
    return str(known.facts.get("interfaces", {}).get(node.name, ""))


def jumbo_checks(known: Known, done: Results) -> Iterator[Check]:
    """Whether full packets pass, and whether all nodes send such."""
    yield from _unequal(known, done)
    for node in known.workers:
        result = done.get("jumbo", node)
        if result is None or result.reason == "dry":
            continue
        mtu, heads = _mtu(known, done, node), _mtu(known, done, known.head)
        if "ping: not installed" in result.text:
            found = f"not proved: no ping here to send {mtu} bytes with"
            yield Check("jumbo frames", True, found, f"{mtu} bytes end to end", node.name, warning=True)
        elif result.ok:
            yield Check("jumbo frames", True, f"{mtu} bytes pass to the head and back", node=node.name)
        elif 0 < heads < mtu:
            found = f"MTU {mtu} here, {heads} on the head: TCP agrees on the smaller one"
            hint = "the all_reduce shows whether that holds on this network; set the same MTU on both"
            yield Check("jumbo frames", True, found, f"MTU {heads} or {mtu} on both", node.name, hint, True)
        else:
            telling = [line.strip() for line in result.lines if re.search("packet loss|too long", line)]
            lost = next(iter(telling), "")
            found = f"packets of {mtu} bytes do not reach the head{f': {lost}' if lost else ''}"
            hint = (
                f"{_interface(known, node)} has MTU {mtu}, and something on the way has less: set the MTU of "
                "every switch port and interface on this network alike, or all of them to 1500"
            )
            yield Check("jumbo frames", False, found, f"{mtu} bytes end to end", node.name, hint)


def _unequal(known: Known, done: Results) -> Iterator[Check]:
    """Packets take the smaller size, as it seems: what goes over RDMA, or past a router, may be lost."""
    found = {node.name: _mtu(known, done, node) for node in known.nodes}
    if known.cluster.simulated or not all(found.values()) or len(set(found.values())) == 1:
        return
    if max(found.values()) > found[known.head.name]:
        return  # its own pings tell
    said = "; ".join(
        f"{node.name}: {found[node.name]} ({_interface(known, node)})" for node in known.nodes[:8]
    )
    hint = "set the same MTU on every interface of this network: `sudo ip link set dev IFACE mtu 9000`"
    yield Check("MTU", True, said, "the same on every node", hint=hint, warning=True)


# ---- how fast


def rate(known: Known, done: Results, found: Mapping[str, Links]) -> tuple[float, str]:
    """GB/s that the slowest node's links can carry, and the arithmetic; 0.0 where it is not known."""
    if not found or len(known.nodes) < 2 or known.cluster.simulated:
        return 0.0, ""
    network = rank_0(known, done).network
    per_node = [
        _rate_of(known, node, told(result), network, found[node.name])
        for node in known.nodes
        if (result := done.get("allreduce", node)) is not None
    ]
    return min(per_node, default=(0.0, ""))


def _rate_of(known: Known, node: Node, said: Told, network: str, here: Links) -> tuple[float, str]:
    if network == "Socket":
        mbits = here.speeds.get(_interface(known, node), 0)
        return mbits / 8000, f"{_interface(known, node)} {mbits / 1000:g} Gbit/s / 8"
    if not network.startswith("IB"):
        return 0.0, ""
    used = fabric_rdma.named(said.devices)
    ports = [port for port in here.active if port.device in used] or list(here.usable)
    # One GPU drives one card: more cards than GPUs are not all filled.
    ports = sorted(ports, key=lambda port: -port.rate)[: max(node.gpus, 1)]
    total = sum(port.rate for port in ports)
    parts = f"{len(ports)} x {ports[0].rate:g} Gbit/s" if ports else ""
    return total / 8, f"{parts} / 8"


#: No link carries more than its rate; the measurement itself is that exact.
_REAL = 1.1


def speed(known: Known, done: Results, found: Mapping[str, Links], gbytes: float) -> Check | None:
    """The measured bus bandwidth beside what the links can do; None where the links do not say."""
    most, how = rate(known, done, found)
    if not most or not gbytes:
        return None
    limits = known.cluster.fabric
    share = gbytes / most
    text = f"bus bandwidth {gbytes:.2f} GB/s of {most:.2f} GB/s ({how}): {share:.2f}"
    if share > _REAL:
        text = (
            f"bus bandwidth {gbytes:.2f} GB/s; not proved: more than the {most:.2f} GB/s of the link ({how})"
        )
        hint = "that figure is not real: a virtual interface (veth, bridge) states one that means nothing"
        return Check("bandwidth", True, text, "a real rate of the link", hint=hint, warning=True)
    accepted = "slow" in limits.accept
    hint = (
        "look for a link at a lower rate, PCIe with fewer lanes (`lspci -vv`, LnkSta), packet loss, or NCCL "
        'on another network than meant. To go on: fabric.accept = ["slow"]'
    )
    wanted = f"at least {limits.warn_below:g} of what the links can do"
    if share < limits.fail_below:
        return Check("bandwidth", accepted, text, wanted, hint=hint, warning=accepted)
    slow = share < limits.warn_below
    return Check("bandwidth", True, text, wanted if slow else "", hint=hint if slow else "", warning=slow)


def speed_on_cpu(known: Known, found: Mapping[str, Links], gbytes: float) -> Check | None:
    """As ``speed``, for Gloo: it may be slower than the link by itself, so only much less counts."""
    if not found or len(known.nodes) < 2 or known.cluster.simulated or not gbytes:
        return None
    rates = [(found[n.name].speeds.get(_interface(known, n), 0), _interface(known, n)) for n in known.nodes]
    mbits, name = min(rates)
    share = gbytes / (mbits / 8000) if mbits else 1.0
    if share >= known.cluster.fabric.fail_below:
        return None
    most = f"{mbits / 8000:.2f} GB/s ({name} {mbits / 1000:g} Gbit/s / 8)"
    text = f"{gbytes:.2f} GB/s of {most}: {share:.2f}"
    wanted = f"at least {known.cluster.fabric.fail_below:g} of what the links can do"
    hint = (
        "Gloo runs on the CPU, which may be the limit: if no pair stands out, look at the load of the nodes"
    )
    return Check("bandwidth", True, text, wanted, hint=hint, warning=True)
