"""RDMA ports of all nodes: rails, addresses, flow control, and what NCCL has to be told on a node, and why.

NCCL finds cards and GIDs itself; a setting is made only where it would take a card that cannot reach the
other nodes, and never where the cluster file has that setting.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence

from wizard_steps.cluster import devices
from wizard_steps.engine.step import Known
from wizard_steps.facts.netstate import Rdma, port_name
from wizard_steps.milestones.fabric_facts import SPARK, Links, net
from wizard_steps.model import Check, Node, counted

#: Before this torch, NCCL was older than 2.21 and took GID index 0 unless it was told another one.
_FINDS_GID = (2, 5)
#: NCCL that knows a ring of machines in which each pair has a network of its own.
_RING = "NCCL 2.30.7"
#: A card in NCCL's list; NCCL 2.21 to 2.25 lists some as one: ``[0]={[0] mlx5_0:1/RoCE, [1] mlx5_1:1/RoCE}``.
_CARD = re.compile(r"\[\d{1,4}\] ?([\w.-]{1,64}):(\d{1,3})")
#: Ports that are named.
_MOST = 8


def settings(known: Known, found: Mapping[str, Links], torch: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Environment by node, beside what the cluster file says. ``torch``: its version by node."""
    ring, layer = _is_ring(found), _layer(found)
    made = {}
    for node in known.nodes:
        here = found.get(node.name)
        if here is None or known.cluster.simulated or not here.usable:
            continue
        env = {**_cards(here, layer), **_gid(here, layer, torch.get(node.name, ""))}
        if ring:
            env |= {"NCCL_IB_SUBNET_AWARE_ROUTING": "1", "NCCL_IB_MERGE_NICS": "0"}
        own = devices.environment(known.cluster, node)
        made[node.name] = {name: value for name, value in env.items() if name not in own}
    return {name: env for name, env in made.items() if env}


def _cards(here: Links, layer: str) -> dict[str, str]:
    chosen = _chosen(here, layer)
    left = chosen and _left(here, chosen)
    return {"NCCL_IB_HCA": "=" + ",".join(port.device for port in chosen)} if left else {}


def _left(here: Links, chosen: Collection[Rdma]) -> list[Rdma]:
    """What NCCL would take as well: it passes over what is neither InfiniBand nor Ethernet."""
    return [p for p in here.active if p not in chosen and p.layer in ("InfiniBand", "Ethernet")]


def _layer(found: Mapping[str, Links]) -> str:
    """InfiniBand and RoCE cannot talk to each other: the one with which the slowest node is fastest."""

    def least(layer: str) -> float:
        return min((sum(p.rate for p in one.usable if p.layer == layer) for one in found.values()), default=0)

    return max(("Ethernet", "InfiniBand"), key=least) if any(map(least, ("Ethernet", "InfiniBand"))) else ""


def _chosen(here: Links, layer: str) -> list[Rdma]:
    """The usable ports of that kind; of the faster kind where the nodes have none in common."""
    if not layer:
        rates: dict[str, float] = {}
        for port in here.usable:
            rates[port.layer] = rates.get(port.layer, 0.0) + port.rate
        layer = max(rates, key=lambda kind: (rates[kind], kind), default="")
    return [port for port in here.usable if port.layer == layer]


def _gid(here: Links, layer: str, torch: str) -> dict[str, str]:
    version = re.match(r"(\d{1,3})\.(\d{1,3})", torch)
    if version is None or (int(version[1]), int(version[2])) >= _FINDS_GID:
        return {}
    indexes = set(_indexes(here, layer))
    return {"NCCL_IB_GID_INDEX": str(indexes.pop())} if len(indexes) == 1 else {}


def _indexes(here: Links, layer: str) -> list[int]:
    return [here.gid(port.device) for port in _chosen(here, layer) if port.layer == "Ethernet"]


def named(said: str) -> set[str]:
    """The ports in NCCL's own list of its cards."""
    return {port_name(*found) for found in _CARD.findall(said)}


def passed_over(known: Known, found: Mapping[str, Links], lists: Mapping[str, str]) -> Iterator[Check]:
    """Usable ports that NCCL does not have in its list. ``lists``: by node."""
    layer = _layer(found)
    for node in known.nodes:
        taken = named(lists.get(node.name, ""))
        chosen = _chosen(found[node.name], layer) if node.name in found else []
        left = [port.device for port in chosen if port.device not in taken]
        if not taken or not left:
            continue
        few = ", ".join(left[:_MOST]) + (f" and {len(left) - _MOST} more" if len(left) > _MOST else "")
        own = devices.environment(known.cluster, node).get("NCCL_IB_HCA", "")
        hint = f"NCCL_IB_HCA={own} of the cluster file leaves them out" if own else _SEEN
        text = f"NCCL has {counted(len(taken), 'port')}, not {few}"
        yield Check("ports of NCCL", True, text, "every fast port", node.name, hint, warning=True)


_SEEN = "does `ibv_devices` list them there, and is an NCCL_IB_HCA set for this user (/etc/nccl.conf)?"


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
    if len(known.nodes) < 2 or not any(one.rdma for one in found.values()):
        return
    for node in known.nodes:
        yield from _ports(node, found[node.name])
    layer = _layer(found)
    if any(one.usable for one in found.values()):
        yield from _rails(found, layer)
    yield from _gids(found, layer)
    yield from _flow(found)
    for node in known.nodes:
        yield from _set(node, found[node.name], made.get(node.name, {}), layer)


def _ports(node: Node, here: Links) -> Iterator[Check]:
    """Each port with its interface, addresses, rate and state; an active one that RoCE cannot use is a
    warning."""
    if not here.rdma:
        return
    said = "; ".join(_words(here, port) for port in here.rdma[:_MOST])
    said += f"; and {len(here.rdma) - _MOST} more" if len(here.rdma) > _MOST else ""
    idle = [p for p in here.active if p.real and p.layer == "Ethernet" and p not in here.usable]
    if not idle:
        yield Check("RDMA ports", True, said, node=node.name)
        return
    hints = list(dict.fromkeys(_hint(here, port) for port in idle))
    if any(SPARK.fullmatch(port.device) for port in idle):
        hints.append(
            "a port of a DGX Spark shows as two devices, and only both together carry 200 Gbit/s: "
            "`milepost help spark`"
        )
    names = ", ".join(port.device for port in idle[:_MOST])
    found = f"active, but RoCE cannot use it: {names}. {said}"
    wanted = "a RoCE v2 GID with IPv4 on each fast port"
    yield Check("RDMA ports", True, found, wanted, node.name, "; ".join(hints), warning=True)


def _words(here: Links, port: Rdma) -> str:
    """``mlx5_0: ens1f0np0 10.0.0.1/24, 400 Gbit/s Ethernet, GID index 3``."""
    where = " ".join(("/".join(port.interfaces) or "no interface", *here.of(port)))
    what = f"{port.device}: {where}, {port.rate:g} Gbit/s {port.layer}"
    if not port.active:
        return f"{port.device}: {where}, {port.state or 'not active'}"
    if port in here.usable:
        gid = here.gid(port.device)
        return f"{what}, GID index {gid}" if gid >= 0 and port.layer == "Ethernet" else what
    return f"{what}, {why_not(here, port)}"


def why_not(here: Links, port: Rdma) -> str:
    """Why NCCL cannot use an active port, or should not."""
    if port.kind in _KINDS:
        return _KINDS[port.kind]
    if port.layer != "Ethernet":
        return "neither InfiniBand nor RoCE: NCCL needs a plug-in for it"
    if port.device in here.ipv6:
        return "with IPv6 addresses only"
    if port.device in here.roce:
        return "without an IPv4 address"
    return "without a RoCE v2 GID" + (", though it has an IPv4 address" if here.of(port) else "")


_KINDS = {
    "vf": "a virtual function of a card of this node",
    "software": "in software (Soft-RoCE, siw): no faster than TCP",
    "iwarp": "iWARP, which NCCL does not use",
}


def _hint(here: Links, port: Rdma) -> str:
    if port.kind == "iwarp":
        return "Intel's irdma can run RoCE v2: `modprobe irdma roce_ena=1`, or devlink's enable_roce"
    if port.device in here.ipv6:
        return 'give it an IPv4 address, or set NCCL_IB_ADDR_FAMILY = "AF_INET6" in [env]'
    if here.of(port) and port.device not in here.roce:
        return "is RoCE v2 switched off? `cat /sys/class/infiniband/*/ports/1/gid_attrs/types/*`"
    return "give its interface an IPv4 address in the network of the same port of the other nodes"


def _rails(found: Mapping[str, Links], layer: str) -> Iterator[Check]:
    """The ports that NCCL shall use on each node: how many, and how fast."""
    rows = {name: " + ".join(_count(one, layer)) or "none" for name, one in found.items()}
    values = set(rows.values())
    if len(values) == 1:
        yield Check("rails", True, f"{values.pop()} on every node")
        return
    said = "; ".join(f"{name}: {row}" for name, row in list(rows.items())[:8])
    hint = "the node with the fewest sets the speed of all: look for a cable, a port that is down, an address"
    yield Check("rails", True, said, "the same ports on every node", hint=hint, warning=True)


def _count(here: Links, layer: str) -> list[str]:
    ports = _chosen(here, layer)
    return [
        f"{sum(p.rate == rate for p in ports)} x {rate:g} Gbit/s {ports[0].layer}"
        for rate in sorted({port.rate for port in ports}, reverse=True)
    ]


def _gids(found: Mapping[str, Links], layer: str) -> Iterator[Check]:
    """At which index the RoCE v2 GID with IPv4 is, and whether that is the same on all nodes."""
    rows = {name: sorted(set(_indexes(one, layer))) for name, one in found.items()}
    if not any(rows.values()):
        return
    if len(values := set(map(tuple, rows.values()))) == 1 and len(only := values.pop()) == 1:
        yield Check("RoCE GID index", True, f"{only[0]} on every node")
        return
    said = "; ".join(
        f"{name}: {', '.join(map(str, one)) or 'none'}" for name, one in list(rows.items())[:_MOST]
    )
    hint = "NCCL 2.21 and newer finds it; one NCCL_IB_GID_INDEX for all is wrong here"
    yield Check("RoCE GID index", True, f"it differs: {said}", hint=hint)


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


def _set(node: Node, here: Links, env: Mapping[str, str], layer: str) -> Iterator[Check]:
    """What milepost sets on a node, and why."""
    for name, value in env.items():
        if name == "NCCL_IB_HCA":
            chosen = _chosen(here, layer)
            why = "; ".join(_left_out(here, _left(here, chosen), chosen))
        elif name == "NCCL_IB_GID_INDEX":
            why = "this torch has an NCCL older than 2.21, which takes index 0 by itself"
        else:
            why = f"each pair of nodes has a network of its own (needs {_RING} or newer)"
        yield Check("NCCL settings", True, f"{name}={value}: {why}", node=node.name)


def _left_out(here: Links, ports: Sequence[Rdma], chosen: Sequence[Rdma]) -> Iterator[str]:
    """``mlx5_1, mlx5_2: without an IPv4 address``."""
    groups: dict[str, list[str]] = {}
    for port in ports:
        other = port in here.usable and f"{port.layer}, which cannot talk to {chosen[0].layer}"
        groups.setdefault(other or why_not(here, port), []).append(port.device)
    for why, names in groups.items():
        few = ", ".join(names[:_MOST]) + (f" and {len(names) - _MOST} more" if len(names) > _MOST else "")
        yield f"{few}: {why}"
