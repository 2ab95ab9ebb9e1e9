"""Judges the network of one node: addresses, MTU, RDMA, firewall, proxies."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping, Sequence

from wizard_steps.cluster.file import Cluster
from wizard_steps.facts.finding import Finding, ok
from wizard_steps.facts.network import Candidate, candidates
from wizard_steps.facts.node import NodeFacts
from wizard_steps.facts.usable import IPV4_HINT, IPV4_WANTED, NodeNet, unaddressed_words
from wizard_steps.model import Node, counted

#: Proxy variables that HTTP clients obey (`ray list`, curl, downloads). Ray's own gRPC ignores them all
#: unless RAY_grpc_enable_http_proxy=1 (ray/_private/ray_constants.py).
CATCHING = ("http_proxy", "https_proxy", "all_proxy")
_WIFI_HINT = "connect the nodes by cable; the ip gate asks before it takes Wi-Fi"
#: `ray list` asks the dashboard here.
DASHBOARD = "127.0.0.1"


def judge(
    node: Node, facts: NodeFacts, cluster: Cluster, ips: Mapping[str, str], left_out: Sequence[Candidate]
) -> Iterator[Finding]:
    """``ips`` are the addresses by which the nodes will talk to each other, by node; ``left_out`` those of
    this node that are none to choose."""
    yield _addresses(node, facts, cluster, left_out)
    yield from _mtu(node.name, facts, list(ips.values()))
    yield _rdma(node.name, facts)
    yield from _unaddressed(node.name, facts, ips)
    yield _firewall(node.name, facts)
    yield _proxies(node.name, facts.proxies, list(ips.values()))


def _addresses(node: Node, facts: NodeFacts, cluster: Cluster, left_out: Sequence[Candidate]) -> Finding:
    none = {one.ip for one in left_out}
    found = [one for one in candidates(facts.interfaces, loopback=cluster.simulated) if one.ip not in none]
    if node.fabric_ip:
        return _as_in_the_file(node, facts, found, () if cluster.simulated else left_out)
    if not facts.interfaces:
        return Finding("address", node.name, "unknown", "not read", "no source of addresses could be read")
    if not found:
        why = "; ".join(f"{one.interface} {one.ip}: {one.why}" for one in left_out[:3])
        return Finding("address", node.name, "fail", "none usable", why or "no address at all")
    if all(":" in one.ip for one in found):
        return Finding("address", node.name, "fail", f"IPv6 only: {found[0].ip}", IPV4_WANTED, IPV4_HINT)
    if found[0].kind == "wifi" and len(cluster.node_list) > 1:
        where = f"{found[0].ip} on {found[0].interface}"
        return Finding("address", node.name, "warn", f"{where}, Wi-Fi", found[0].why, _WIFI_HINT)
    more = f" (+{len(found) - 1} more)" if len(found) > 1 else ""
    return ok("address", node.name, f"{found[0].ip}/{found[0].prefix} on {found[0].interface or '?'}{more}")


def _as_in_the_file(
    node: Node, facts: NodeFacts, usable: Sequence[Candidate], doubtful: Sequence[Candidate]
) -> Finding:
    ip = node.fabric_ip
    name = next((i.name for i in facts.interfaces if ip in {a.ip for a in i.addresses}), None)
    if name is None and facts.interfaces:
        hint = f"it has {', '.join(one.ip for one in usable[:3]) or 'none'}: correct fabric_ip"
        return Finding("address", node.name, "fail", ip, "no interface has this fabric_ip", hint)
    found = f"{ip} on {name or '?'}"
    if ":" in ip:
        return Finding("address", node.name, "fail", found, IPV4_WANTED, IPV4_HINT)
    slow = [one for one in usable if one.kind == "wifi"]
    if bad := next((one for one in (*doubtful, *slow) if one.ip == ip), None):
        return Finding("address", node.name, "warn", found, bad.why)
    return ok("address", node.name, found)


def _unaddressed(node: str, facts: NodeFacts, ips: Mapping[str, str]) -> Iterator[Finding]:
    """Ports that were bought for GPU traffic and cannot carry it."""
    net = NodeNet(facts.interfaces, facts.speeds, facts.rdma)
    found, message, hint = unaddressed_words(net, ips.get(node, ""))
    if found and len(ips) > 1:
        yield Finding("fast ports", node, "warn", found, message, hint)


def _mtu(node: str, facts: NodeFacts, ips: Sequence[str]) -> Iterator[Finding]:
    """Of the interface that carries the traffic. Fine by itself; nodes that differ are told apart later."""
    for interface in facts.interfaces:
        mtu = facts.mtus.get(interface.name, 0)
        if mtu and any(address.ip in ips for address in interface.addresses):
            yield ok("MTU", node, str(mtu))
            return


def _rdma(node: str, facts: NodeFacts) -> Finding:
    ports = [port for port in facts.rdma if port.real]
    if not ports:
        soft = [port.device for port in facts.rdma if port.kind == "software"]
        also = f" ({', '.join(soft[:4])}: in software, not faster than TCP)" if soft else ""
        return ok("RDMA", node, f"none: NCCL will use TCP sockets{also}")
    up = [port for port in ports if port.active]
    if not up:
        found = f"{counted(len(ports), 'port')}, none active"
        return Finding(
            "RDMA",
            node,
            "warn",
            found,
            "NCCL will fall back to TCP sockets",
            "check the cables (InfiniBand: the subnet manager too)",
        )
    kinds = sorted({f"{port.rate:g} Gbit/s {port.layer}" for port in up})
    found = f"{len(up)} x {' + '.join(kinds)}"
    return ok("RDMA", node, found)


def _firewall(node: str, facts: NodeFacts) -> Finding:
    state = facts.firewall
    if state.active:
        return Finding(
            "firewall", node, "warn", f"incoming traffic is filtered by {' and '.join(state.active)}",
            "Ray, NCCL, Gloo and vLLM also use random ports in both directions",
            "allow all TCP between the nodes; a list of fixed ports lets Ray join, and vLLM hangs later",
        )  # fmt: skip
    if state.unreadable and not state.looked:
        message = "only root can look; a blocked port shows when the nodes try to reach each other"
        return Finding("firewall", node, "unknown", f"{', '.join(state.unreadable)} not readable", message)
    return ok("firewall", node, "open" if state.looked else "no firewall tool found")


def _proxies(node: str, proxies: Mapping[str, str], ips: Sequence[str]) -> Finding:
    caught = [name for name in CATCHING if proxies.get(name)]
    if not caught:
        return ok("proxies", node, "none")
    bypass = [entry.strip() for entry in proxies.get("no_proxy", "").split(",") if entry.strip()]
    missed = [ip for ip in (DASHBOARD, *ips) if not any(_covers(entry, ip) for entry in bypass)]
    if missed:
        few = ", ".join(missed[:3]) + (" ..." if len(missed) > 3 else "")
        message = f"HTTP to {few} would go through the proxy (`ray list`, curl); Ray itself ignores it"
        hint = f"add to no_proxy: localhost,{','.join(missed)}"
        return Finding("proxies", node, "warn", ", ".join(caught), message, hint)
    return ok("proxies", node, f"{', '.join(caught)}, with the nodes in no_proxy")


def _covers(entry: str, ip: str) -> bool:
    """An entry of no_proxy: an address, a network, or ``*``. Names cannot cover an address."""
    if entry == "*" or entry == ip:
        return True
    try:
        return ipaddress.ip_address(ip) in ipaddress.ip_network(entry, strict=False)
    except ValueError:
        return False
