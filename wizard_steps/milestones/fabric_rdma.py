"""RDMA ports of all nodes: rails, addresses, flow control, and what NCCL has to be told on a node, and why.

NCCL finds cards and GIDs itself; a setting is made only where it would take a card that cannot reach the
other nodes, and never where the cluster file has that setting.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from wizard_steps.cluster import devices
from wizard_steps.engine.step import Known
from wizard_steps.facts.netstate import Rdma
from wizard_steps.milestones.fabric_facts import SPARK, Links, net
from wizard_steps.model import Check, Node

#: Before this torch, NCCL was older than 2.21 and took GID index 0 unless it was told another one.
_FINDS_GID = (2, 5)
#: NCCL that knows a ring of machines in which each pair has a network of its own.
_RING = "NCCL 2.30.7"


def settings(known: Known, found: Mapping[str, Links], torch: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Environment by node, beside what the cluster file says. ``torch``: its version by node."""
    ring = _is_ring(found)
    made = {}
    for node in known.nodes:
        here = found.get(node.name)
        if here is None or known.cluster.simulated or not here.usable:
            continue
        env = {**_cards(here), **_gid(here, torch.get(node.name, ""))}
        if ring:
            env |= {"NCCL_IB_SUBNET_AWARE_ROUTING": "1", "NCCL_IB_MERGE_NICS": "0"}
        own = devices.environment(known.cluster, node)
        made[node.name] = {name: value for name, value in env.items() if name not in own}
    return {name: env for name, env in made.items() if env}


def _cards(here: Links) -> dict[str, str]:
    chosen = _chosen(here)
    left = [port for port in here.active if port not in chosen]
    return {"NCCL_IB_HCA": "=" + ",".join(port.device for port in chosen)} if left else {}


def _chosen(here: Links) -> list[Rdma]:
    """The usable ports of one kind: InfiniBand and RoCE cannot talk to each other."""
    kinds = {port.layer for port in here.usable}
    best = max(
        kinds, key=lambda kind: (sum(p.rate for p in here.usable if p.layer == kind), kind), default=""
    )
    return [port for port in here.usable if port.layer == best]


def _gid(here: Links, torch: str) -> dict[str, str]:
    version = re.match(r"(\d{1,3})\.(\d{1,3})", torch)
    if version is None or (int(version[1]), int(version[2])) >= _FINDS_GID:
        return {}
    indexes = {here.gid(port.device) for port in _chosen(here) if port.layer == "Ethernet"}
    return {"NCCL_IB_GID_INDEX": str(indexes.pop())} if len(indexes) == 1 else {}


def _networks(here: Links) -> set[str]:
    return {net(address) for port in here.usable for address in here.of(port)}


def _is_ring(found: Mapping[str, Links]) -> bool:
    """Three machines or more, each pair with a network of its own, and none that all share."""
    nets = [_networks(one) for one in found.values()]
    if len(nets) < 3 or not all(nets) or set.intersection(*nets):
        return False
    return all(any(mine & other for other in nets if other is not mine) for mine in nets)


def checks(
    known: Known, found: Mapping[str, Links], made: Mapping[str, Mapping[str, str]]
) -> Iterator[Check]:
    """Of nodes that were all asked. None of it shuts the gate: what NCCL then does is measured."""
    if len(known.nodes) < 2 or not any(one.active for one in found.values()):
        return
    for node in known.nodes:
        yield from _without_address(node, found[node.name])
    yield from _rails(found)
    yield from _flow(found)
    for node in known.nodes:
        yield from _set(node, found, made.get(node.name, {}))


def _without_address(node: Node, here: Links) -> Iterator[Check]:
    dumb = [port for port in here.active if port not in here.usable]
    if not dumb:
        return
    names = ", ".join(
        f"{p.device} ({'/'.join(p.interfaces) or 'no interface'}, {p.rate:g} Gbit/s)" for p in dumb
    )
    hint = "give its interface an IPv4 address in the network of the same port of the other nodes"
    if any(SPARK.fullmatch(port.device) for port in dumb):
        hint += "; a port of a DGX Spark shows as two devices, and only both together carry 200 Gbit/s"
    found = f"active without an IPv4 address, so RoCE cannot use it: {names}"
    yield Check("RDMA ports", True, found, "an address on each fast port", node.name, hint, warning=True)


def _rails(found: Mapping[str, Links]) -> Iterator[Check]:
    """Each node's usable ports: how many, and how fast."""
    rows = {name: " + ".join(_count(one)) or "none" for name, one in found.items()}
    values = set(rows.values())
    if len(values) == 1:
        yield Check("rails", True, f"{values.pop()} on every node")
        return
    said = "; ".join(f"{name}: {row}" for name, row in list(rows.items())[:8])
    hint = "the node with the fewest sets the speed of all: look for a cable, a port that is down, an address"
    yield Check("rails", True, said, "the same ports on every node", hint=hint, warning=True)


def _count(here: Links) -> list[str]:
    kinds = sorted({(-port.rate, port.layer) for port in here.usable})
    return [
        f"{sum(1 for p in here.usable if (p.rate, p.layer) == (-rate, layer))} x {-rate:g} Gbit/s {layer}"
        for rate, layer in kinds
    ]


def _flow(found: Mapping[str, Links]) -> Iterator[Check]:
    """PFC and ECN of the RoCE ports, where they can be read."""
    said = {name: row for name, one in found.items() if (row := _flow_of(one))}
    if not said:
        return
    values = set(said.values())
    if len(values) > 1:
        text = "; ".join(f"{name}: {row}" for name, row in list(said.items())[:8])
        hint = "lossless RoCE needs the same priorities on every node and on the switch"
        yield Check("PFC, ECN", True, text, "the same on every node", hint=hint, warning=True)
        return
    row = values.pop()
    off = row == "PFC off, ECN off" and len(found) > 2
    hint = "a busy switch then drops RoCE packets: ask its operator for PFC or ECN" if off else ""
    name = "on every node" if len(said) == len(found) else f"on {', '.join(said)}"
    yield Check("PFC, ECN", True, f"{row} {name}", "on for RoCE" if off else "", hint=hint, warning=off)


def _flow_of(here: Links) -> str:
    names = [name for port in here.usable if port.layer == "Ethernet" for name in port.interfaces]
    parts = []
    for word, table in (("PFC", here.pfc), ("ECN", here.ecn)):
        states = sorted({table[name] for name in names if name in table})
        parts += (
            [f"{word} " + " or ".join(f"on priority {s}" if s else "off" for s in states)] if states else []
        )
    return ", ".join(parts)


def _set(node: Node, found: Mapping[str, Links], env: Mapping[str, str]) -> Iterator[Check]:
    """What milepost sets on a node, and why."""
    here = found[node.name]
    for name, value in env.items():
        if name == "NCCL_IB_HCA":
            left = ", ".join(
                port.device for port in here.active if f"{port.device}" not in value[1:].split(",")
            )
            why = f"{left} has no address, or is of another kind than the rest"
        elif name == "NCCL_IB_GID_INDEX":
            why = "this torch has an NCCL older than 2.21, which takes index 0 by itself"
        else:
            why = f"each pair of nodes has a network of its own (needs {_RING} or newer)"
        yield Check("NCCL settings", True, f"{name}={value}: {why}", node=node.name)
