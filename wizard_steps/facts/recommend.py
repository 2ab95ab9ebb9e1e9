"""Which network should carry the GPU traffic, and why. A pure function of candidates and measurements."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from msgspec import Struct

from wizard_steps.facts.interface_kinds import ON_LOOPBACK
from wizard_steps.facts.network import ORDER, Candidate, Interface, InterfaceAddress
from wizard_steps.facts.usable import NodeNet, Usable, usable

#: Kinds of a host's own cards.
_CARDS = ("infiniband", "bond", "ethernet")


class Measurement(Struct, frozen=True):
    """One direction between two nodes over the addresses of one network.

    ``latency_ms`` and ``mbit`` are 0 when they were not measured.
    """

    source: str
    target: str
    ip: str
    reached: bool
    latency_ms: float = 0.0
    mbit: float = 0.0


class NetworkOption(Struct, frozen=True):
    """One network that every node has an address in. ``speed`` in Mbit/s, 0 when no driver tells."""

    network: str
    by_node: dict[str, Candidate]
    speed: int = 0
    rdma: bool = False
    management: bool = False
    measured_mbit: float = 0.0
    latency_ms: float = 0.0
    blocked: tuple[str, ...] = ()
    routed: bool = False
    why: str = ""


class Recommendation(Struct, frozen=True):
    """``options``: the recommended one first; ``excluded``: addresses left out, with reasons. ``undecided``:
    every node has addresses, and only a person knows which of them belong together."""

    options: tuple[NetworkOption, ...]
    reason: str
    env: dict[str, dict[str, str]] = {}
    problems: tuple[str, ...] = ()
    excluded: dict[str, tuple[Candidate, ...]] = {}
    undecided: bool = False

    @property
    def wifi(self) -> list[str]:
        """Nodes that the recommended network reaches over Wi-Fi."""
        members = self.best.by_node if self.best else {}
        return [node for node, one in members.items() if one.kind == "wifi"]

    @property
    def best(self) -> NetworkOption | None:
        return self.options[0] if self.options else None


def recommend(
    nets: Mapping[str, NodeNet], measurements: Sequence[Measurement] = (), *, loopback: bool = False
) -> Recommendation:
    """The networks all nodes share, best first, and the environment that the best one means per node.

    Order: reachable both ways; measured throughput, where it differs by more than half; RDMA; link speed;
    the kind of interface; not the management network; private before public. ``loopback`` is for labs that
    live on one machine.
    """
    seen = usable(nets, loopback=loopback)
    by_node, problems, undecided = seen.by_node, list(_problems(seen)), False
    options = [_rate(option, nets, measurements) for option in _shared(by_node)]
    if not options and all(by_node.values()):
        options = [_rate(option, nets, measurements) for option in _routed(by_node)]
        if options:
            problems.append("the nodes share no subnet: traffic between them must be routed")
        elif not problems:
            undecided = True
            there = "; ".join(f"{node} has {_listed(found)}" for node, found in list(by_node.items())[:4])
            problems.append(f"the nodes share neither a subnet nor an interface name ({there})")
    fastest = max((option.measured_mbit for option in options), default=0.0)
    options.sort(key=lambda option: _order(option, fastest))
    options = [_explained(option) for option in options]
    if not options:
        reason = "; ".join(problems) or "no nodes"
        return Recommendation((), reason, {}, tuple(problems), seen.left_out, undecided)
    best = options[0]
    env = {node: environment(one, nets[node].interfaces) for node, one in best.by_node.items()}
    return Recommendation(tuple(options), _reason(options), env, tuple(problems), seen.left_out)


def environment(chosen: Candidate, interfaces: Sequence[Interface] = ()) -> dict[str, str]:
    """What is set on a node for a chosen address."""
    return {
        "VLLM_HOST_IP": chosen.ip,
        **sockets(chosen.interface, is_beginning(chosen.interface, interfaces)),
    }


def sockets(interface: str, exact: bool = False) -> dict[str, str]:
    """What leads NCCL and Gloo to an interface; nothing where its name is not known.

    NCCL takes the name as a prefix, so ``eth1`` would also match ``eth10``: ``=`` asks for the ``exact`` name
    (NCCL's documentation of NCCL_SOCKET_IFNAME). Gloo wants the plain name.
    """
    if not interface:
        return {}
    nccl = f"={interface}" if exact else interface
    return {"NCCL_SOCKET_IFNAME": nccl, "GLOO_SOCKET_IFNAME": interface}


def is_beginning(name: str, interfaces: Sequence[Interface]) -> bool:
    """Whether another interface's name begins with this one."""
    return bool(name) and any(one.name != name and one.name.startswith(name) for one in interfaces)


def _problems(seen: Usable) -> Iterator[str]:
    """One address on two nodes: vLLM would put both nodes' ranks on one device."""
    for node, found in seen.by_node.items():
        if not found:
            why = next((f": {one.interface} {one.ip}: {one.why}" for one in _near(seen.left_out[node])), "")
            yield f"{node} has no usable address{why}"
        elif all(":" in one.ip for one in found):
            yield f"{node} has IPv6 addresses only"
    for ip, nodes in seen.repeated.items():
        yield f"{ip} is on {' and '.join(nodes)}: every node needs an address of its own"


def _near(left_out: Sequence[Candidate]) -> list[Candidate]:
    """Addresses that were left out for another reason than that every host has such a one."""
    near = [one for one in left_out if one.kind not in ("loopback", "container", "virtual")]
    return [one for one in left_out if one.why == ON_LOOPBACK] + near


def _listed(found: Sequence[Candidate]) -> str:
    more = f" and {len(found) - 3} more" if len(found) > 3 else ""
    return ", ".join(f"{one.ip} on {one.interface or '?'}" for one in found[:3]) + more


def _shared(by_node: Mapping[str, Sequence[Candidate]]) -> Iterator[NetworkOption]:
    networks: dict[str, dict[str, Candidate]] = {}
    for node, found in by_node.items():
        for one in found:
            networks.setdefault(one.network, {}).setdefault(node, one)
    for network, members in networks.items():
        if len(members) == len(by_node) and _apart(members):
            yield NetworkOption(network, members)


def _routed(by_node: Mapping[str, Sequence[Candidate]]) -> Iterator[NetworkOption]:
    """Clouds give each node a /32 or its own subnet: the same interface name is the next best sign, and a
    node's only network card is one where names differ."""
    names: dict[tuple[str, int], dict[str, Candidate]] = {}
    for node, found in by_node.items():
        for one in found:
            names.setdefault((one.interface, InterfaceAddress(one.ip, 0).version), {}).setdefault(node, one)
    options = [
        NetworkOption(f"routed, {name}", members, routed=True)
        for (name, _), members in names.items()
        if name and _apart(members) and len(members) == len(by_node)
    ]
    cards = {node: [one for one in found if one.kind in _CARDS] for node, found in by_node.items()}
    only = {node: found[0] for node, found in cards.items() if len(found) == 1}
    if not options and only and len(only) == len(by_node) and _apart(only):
        options = [NetworkOption("routed, each node's only network card", only, routed=True)]
    yield from options


def _apart(members: Mapping[str, Candidate]) -> bool:
    """Whether every node has an address of its own."""
    return len({one.ip for one in members.values()}) == len(members)


def _rate(
    option: NetworkOption, nets: Mapping[str, NodeNet], measurements: Sequence[Measurement]
) -> NetworkOption:
    ips = {one.ip for one in option.by_node.values()}
    seen = [m for m in measurements if m.ip in ips]
    rates = [m.mbit for m in seen if m.reached and m.mbit]
    return NetworkOption(
        network=option.network,
        by_node=option.by_node,
        speed=min(nets[node].speed(one.interface) for node, one in option.by_node.items()),
        rdma=all(_has_rdma(nets[node], one) for node, one in option.by_node.items()),
        management=any(nets[node].ssh_ip == one.ip for node, one in option.by_node.items()),
        measured_mbit=min(rates, default=0.0),
        latency_ms=max((m.latency_ms for m in seen if m.reached), default=0.0),
        blocked=tuple(f"{m.source} -> {m.target}" for m in seen if not m.reached),
        routed=option.routed,
    )


def _has_rdma(net: NodeNet, one: Candidate) -> bool:
    return any(p.active and p.kind != "software" and one.interface in p.interfaces for p in net.rdma)


def _order(option: NetworkOption, fastest: float) -> tuple[float, ...]:
    """``fastest``: Mbit/s of the fastest network. One short stream says little above half of that: there
    RDMA and the speed of the links decide."""
    first = next(iter(option.by_node.values()))
    public = "public" in first.why
    version = InterfaceAddress(first.ip, 0).version
    # Fabric and management are guessed only between networks that are otherwise alike.
    return (
        bool(option.blocked),
        option.measured_mbit * 2 < fastest,
        not option.rdma,
        any(one.kind in ("overlay", "wifi") for one in option.by_node.values()),
        -option.speed,
        ORDER.index(first.kind),
        public,
        option.management,
        version,
    )


def _explained(option: NetworkOption) -> NetworkOption:
    first = next(iter(option.by_node.values()))
    names = sorted({one.interface or "?" for one in option.by_node.values()})
    parts = [f"{'/'.join(names)}: {first.why}"]
    if option.rdma:
        parts.append("RDMA device on every node")
    if option.speed:
        parts.append(f"link {option.speed / 1000:g} Gbit/s")
    if option.measured_mbit:
        parts.append(f"measured {option.measured_mbit / 1000:.1f} Gbit/s at worst")
    if option.latency_ms:
        parts.append(f"latency up to {option.latency_ms:.2f} ms")
    if option.management:
        parts.append("SSH uses this network, so it may be the management network")
    if option.blocked:
        parts.append(f"blocked: {', '.join(option.blocked[:3])}")
    values = {name: getattr(option, name) for name in option.__struct_fields__}
    return NetworkOption(**{**values, "why": "; ".join(parts)})


def _reason(options: Sequence[NetworkOption]) -> str:
    best, rest = options[0], options[1:]
    if not rest:
        return f"{best.network} is the only network that all nodes share ({best.why})"
    other = rest[0]
    if other.blocked and not best.blocked:
        why = "every node reaches every other there"
    elif best.measured_mbit > 2 * other.measured_mbit:
        why = "it was the fastest in the timed transfers"
    elif best.rdma and not other.rdma:
        why = "all nodes have an RDMA device on it"
    elif best.speed > other.speed:
        why = f"its links are the fastest ({best.speed / 1000:g} Gbit/s)"
    elif other.management and not best.management:
        why = "ssh uses another network, so this may be the GPU network (or storage)"
    else:
        why = f"its interfaces fit best ({next(iter(best.by_node.values())).why})"
    return (
        f"{best.network}: {why}; measure before you rely on it"
        if not best.measured_mbit
        else f"{best.network}: {why}"
    )
