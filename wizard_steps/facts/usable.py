"""Which addresses of the nodes could carry GPU traffic, seen together: one that repeats is no network's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from wizard_steps.facts.netstate import Rdma
from wizard_steps.facts.network import Candidate, Interface, candidates, excluded, is_card

#: Mbit/s from which a port is one that GPU traffic should use.
FAST = 10_000

#: Said where a node or the cluster file has IPv6 addresses alone.
IPV4_WANTED = "milepost starts Ray and vLLM with IPv4 addresses; it does not drive a cluster over IPv6 yet"
IPV4_HINT = "give the node an IPv4 address in a private network of the nodes"


class NodeNet(Struct, frozen=True):
    """What one node's network looks like.

    ``speeds``: Mbit/s by network device. ``ssh_ip``: the address ssh came in on (management).
    """

    interfaces: tuple[Interface, ...] = ()
    speeds: dict[str, int] = {}
    rdma: tuple[Rdma, ...] = ()
    ssh_ip: str = ""

    def speed(self, interface: str) -> int:
        """Mbit/s of a network device, by its driver or its RDMA port; 0 when neither says."""
        ports = [
            int(p.rate * 1000)
            for p in self.rdma
            if p.active and p.kind != "software" and interface in p.interfaces
        ]
        return max([self.speeds.get(interface, 0), *ports])


class Usable(Struct, frozen=True):
    """By node: the addresses to choose from, likeliest first, and those left out with the reason.

    ``repeated``: addresses that network cards of several nodes have, which is a fault; what repeats on
    bridges and other devices of the hosts themselves is only left out.
    """

    by_node: dict[str, list[Candidate]]
    left_out: dict[str, tuple[Candidate, ...]]
    repeated: dict[str, list[str]]


def usable(nets: Mapping[str, NodeNet], *, loopback: bool = False) -> Usable:
    """``loopback`` admits 127.0.0.0/8, for a lab whose hosts all live on one machine. IPv6 addresses stay
    only where a node has no other: Ray and vLLM are started with IPv4 addresses."""
    by_node = {node: candidates(net.interfaces, loopback=loopback) for node, net in nets.items()}
    left_out = {
        node: [one for one in excluded(net.interfaces) if one not in by_node[node]]
        for node, net in nets.items()
    }
    repeated: dict[str, list[str]] = {}
    for ip, owners in _owners(by_node).items():
        if len(owners) < 2:
            continue
        if any(is_card(_interface(nets[node], one)) for node, one in owners.items()):
            repeated[ip] = list(owners)
            continue
        for node, one in owners.items():
            by_node[node].remove(one)
            why = (
                f"the same address on {' and '.join(owners)}: it leads to each host itself, not to the others"
            )
            left_out[node].append(replace(one, why=why))
    for node, found in by_node.items():
        four = [one for one in found if ":" not in one.ip]
        by_node[node] = four or found
    return Usable(by_node, {node: tuple(found) for node, found in left_out.items()}, repeated)


def unaddressed(net: NodeNet, chosen: str) -> list[tuple[Interface, int]]:
    """Fast Ethernet ports that are up and cannot be used for want of an address, with Mbit/s, when the
    interface of ``chosen`` is slower. InfiniBand needs none, the ports of a bond or bridge neither."""
    mine = next((i.name for i in net.interfaces if chosen in {a.ip for a in i.addresses}), "")
    grouped = any(one.name.startswith(("bond", "team", "br", "vmbr")) for one in net.interfaces)
    found = []
    for one in net.interfaces:
        speed = net.speed(one.name)
        if one.name == mine or one.state != "UP" or speed < FAST or speed <= net.speed(mine):
            continue
        bare = not one.addresses and grouped and not one.device
        addressed = any(a.version == 4 and not a.ip.startswith("169.254.") for a in one.addresses)
        verbs = any(port.layer == "InfiniBand" and one.name in port.interfaces for port in net.rdma)
        if not (one.master or bare or addressed or verbs or one.name.startswith("ib")) and is_card(one):
            found.append((one, speed))
    return found


def unaddressed_words(net: NodeNet, chosen: str) -> tuple[str, str, str]:
    """What was found, what it means and what to do about it; empty when no fast port lacks an address."""
    idle = unaddressed(net, chosen)
    if not idle:
        return "", "", ""
    ports = ", ".join(f"{one.name} ({speed / 1000:g} Gbit/s)" for one, speed in idle[:4])
    ports += f" and {len(idle) - 4} more" if len(idle) > 4 else ""
    local = any(one.addresses for one, _ in idle)
    found = f"{ports}: up, {'only a link-local' if local else 'but no IPv4'} address"
    message = f"GPU traffic would take the slower network{f' of {chosen}' if chosen else ''}"
    hint = "give the fast ports of all nodes addresses in one subnet (netplan, nmcli), then start again"
    hint += "; on a direct cable fabric_ip can also be the link-local address" if local else ""
    return found, message, hint


def _owners(by_node: Mapping[str, Sequence[Candidate]]) -> dict[str, dict[str, Candidate]]:
    owners: dict[str, dict[str, Candidate]] = {}
    for node, one in _each(by_node):
        if one.kind != "loopback":
            owners.setdefault(one.ip, {}).setdefault(node, one)
    return owners


def _each(by_node: Mapping[str, Sequence[Candidate]]) -> Iterator[tuple[str, Candidate]]:
    return ((node, one) for node, found in by_node.items() for one in found)


def _interface(net: NodeNet, one: Candidate) -> Interface:
    return next((i for i in net.interfaces if i.name == one.interface), Interface(one.interface, "UNKNOWN"))
