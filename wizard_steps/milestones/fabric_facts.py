"""What a node says of its links: RDMA ports, GIDs, addresses, flow control, NVLink, tools. Pure parsing."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from wizard_steps.engine.step import Known
from wizard_steps.facts.netstate import Rdma, parse_mtus, parse_rdma, parse_speeds, port_name
from wizard_steps.facts.sections import FactSection
from wizard_steps.model import Cmd, Result, Results
from wizard_steps.node.collective import Told, told
from wizard_steps.node.program import program

#: Where Ray will run (in the container, where there is one): links, RDMA ports, GIDs, what may be opened.
LINKS = Cmd(
    "links",
    program("facts_rdma.sh") + program("links.sh"),
    timeout=30,
    quiet=True,
    show="cat /sys/class/net/*/speed /sys/class/infiniband/*/ports/*/rate; ls /dev/infiniband",
)
_GID = re.compile(r"(\S+) port (\d+) gid (\d+) ([0-9a-f:]{8,45}) (RoCE v2|IB/RoCE v1)")
_IPV4, _LOCAL = re.compile(r"(?:0000:){5}ffff:"), re.compile(r"fe80:|(?:0000:){7}0000")
_BOND = re.compile(r"bond (\S{1,64})")
_ADDR = re.compile(r"addr (\S{1,64}) ([0-9.]{7,15}/\d{1,2})")
_TOOL = re.compile(r"tool (\w{1,32}) (/\S{1,200})")
_ECN = re.compile(r"ecn (\S{1,64}) ([01]{1,16})")
_PFC = re.compile(r"pfc (\S{1,64}) prio-pfc ((?:\d:(?:on|off) ?){1,16})")
_NVLINK = re.compile(r"nvlink (gpu|rate) ([0-9.]{1,8})")
#: The two PCIe functions behind each port of a DGX Spark: each carries half of the port's rate.
SPARK = re.compile(r"roce(?:P2)?p1s0f[01]")
#: Lines that are read.
_MOST = 5000


class Links(Struct, frozen=True):
    """``speeds``: Mbit/s by network device, ``mtus`` in bytes. ``verbs``: RDMA devices that may be opened.

    ``gids``: (device, index) of the RoCE v2 entries with an IPv4 address, ``roce`` the devices with entries
    of RoCE v2 at all, ``ipv6`` those of them with an IPv6 address that is not link-local. ``addresses``: IPv4
    with prefix, by network device; None where the node has no `ip`. ``pfc``: priorities with flow control by
    network device, ``ecn``: priorities with ECN; only what could be read. ``nvlink``: GB/s in one direction
    of all NVLinks of the GPU with the least, 0.0 without. ``tools``: paths.
    """

    rdma: tuple[Rdma, ...] = ()
    speeds: Mapping[str, int] = {}
    mtus: Mapping[str, int] = {}
    gids: tuple[tuple[str, int], ...] = ()
    roce: frozenset[str] = frozenset()
    ipv6: frozenset[str] = frozenset()
    verbs: int = 0
    peermem: bool = False
    addresses: Mapping[str, tuple[str, ...]] | None = None
    pfc: Mapping[str, str] = {}
    ecn: Mapping[str, str] = {}
    nvlink: float = 0.0
    tools: Mapping[str, str] = {}

    @property
    def active(self) -> tuple[Rdma, ...]:
        return tuple(port for port in self.rdma if port.active)

    @property
    def usable(self) -> tuple[Rdma, ...]:
        """Active ports over which NCCL can talk: RoCE needs a GID with an address. A virtual function counts
        where an administrator gave it one."""
        named = {device for device, _ in self.gids}
        return tuple(
            port
            for port in self.active
            if (port.layer == "InfiniBand" and port.real)
            or (port.layer == "Ethernet" and port.device in named and port.kind != "software")
        )

    @property
    def able(self) -> tuple[Rdma, ...]:
        """Active ports that NCCL could use, were all well: not software, iWARP, or cards without RoCE v2."""
        return tuple(
            port
            for port in self.active
            if port.real and (port.layer != "Ethernet" or port.device in self.roce)
        )

    def gid(self, device: str) -> int:
        """The index of its RoCE v2 GID with an IPv4 address; -1 without."""
        return next((index for name, index in self.gids if name == device), -1)

    def of(self, port: Rdma) -> tuple[str, ...]:
        """IPv4 addresses with prefix of an RDMA port's network devices."""
        known = self.addresses or {}
        return tuple(address for name in port.interfaces for address in known.get(name, ()))


def rate_of(port: Rdma) -> float:
    """Gbit/s that an RDMA device carries by itself."""
    return port.rate / 2 if SPARK.fullmatch(port.device) else port.rate


def links(result: Result | None) -> Links | None:
    """None where it was not asked, or could not be."""
    if result is None or not result.ok:
        return None
    section = FactSection(result.text, result.code or 0)
    lines = [line.strip() for line in result.lines[:_MOST]]
    gids = [row for row in map(_GID.match, lines) if row and row[5] == "RoCE v2"]
    verbs = next((line.rpartition(":")[2].strip() for line in lines if line.startswith("verbs: ")), "0")
    speeds = parse_speeds(section)
    return Links(
        tuple(_bonded(parse_rdma(section), {m[1] for m in map(_BOND.fullmatch, lines) if m}, speeds)),
        speeds,
        parse_mtus(section),
        tuple((port_name(m[1], m[2]), int(m[3])) for m in gids if _IPV4.match(m[4])),
        frozenset(port_name(m[1], m[2]) for m in gids),
        frozenset(port_name(m[1], m[2]) for m in gids if not _IPV4.match(m[4]) and not _LOCAL.match(m[4])),
        int(verbs) if re.fullmatch(r"[0-9]{1,4}", verbs) else 0,
        "peermem: loaded" in result.text,
        _addresses(lines),
        {m[1]: _on(m[2]) for m in map(_PFC.match, lines) if m},
        {m[1]: _bits(m[2]) for m in map(_ECN.match, lines) if m},
        _nvlink(lines),
        {m[1]: m[2] for m in map(_TOOL.fullmatch, lines) if m},
    )


def _bonded(ports: Sequence[Rdma], bonds: set[str], speeds: Mapping[str, int]) -> Iterator[Rdma]:
    """The RDMA device of a bond states the rate of one of its ports: the bond's own is shared by those on
    it."""
    for port in ports:
        own = [name for name in port.interfaces if name in bonds]
        shares = [
            speeds.get(name, 0) / 1000 / sum(name in other.interfaces for other in ports if other.active)
            for name in own
            if port.active
        ]
        yield replace(port, rate=max([port.rate, *shares]))


def _addresses(lines: Sequence[str]) -> dict[str, tuple[str, ...]] | None:
    """A node with `ip` has lo at least."""
    found: dict[str, tuple[str, ...]] = {}
    for row in filter(None, map(_ADDR.fullmatch, lines)):
        found[row[1]] = (*found.get(row[1], ()), row[2])
    return found or None


def _on(states: str) -> str:
    """``0:off 3:on`` -> ``3``."""
    return "".join(word.partition(":")[0] for word in states.split() if word.endswith(":on"))


def _bits(states: str) -> str:
    """``00010000`` -> ``3``."""
    return "".join(str(i) for i, state in enumerate(states) if state == "1")


def _nvlink(lines: Sequence[str]) -> float:
    sums: list[float] = []
    for row in filter(None, map(_NVLINK.fullmatch, lines)):
        if row[1] == "gpu":
            sums.append(0.0)
        elif sums:
            sums[-1] += _float(row[2])
    return min(sums, default=0.0)


def _float(text: str) -> float:
    return float(text) if re.fullmatch(r"\d{1,5}(?:\.\d{1,6})?", text) else 0.0


def rank_0(known: Known, done: Results, key: str = "allreduce") -> Told:
    """What rank 0 said: the head's, or that of the first node with GPUs where the head has none."""
    result = done.get(key, known.head)
    return told(done.get(key, known.server) if result is None else result)


def all_links(known: Known, done: Results) -> dict[str, Links]:
    """By node; empty unless every node was asked."""
    found = {node.name: links(done.get("links", node)) for node in known.nodes}
    return {} if None in found.values() else {name: one for name, one in found.items() if one is not None}


def pairs_of(a: Links, b: Links) -> Iterator[tuple[Rdma, Rdma]]:
    """The ports of two nodes that belong together: in one network if that is known, else in their order (as
    where routers join the rails)."""
    left, right = list(a.usable), list(b.usable)
    meet = any(_meet(a.of(port), b.of(other)) for port in left for other in right)
    for port in left:
        same = [other for other in right if _meet(a.of(port), b.of(other))]
        known = meet and bool(a.of(port)) and any(b.of(other) for other in right)
        other = same[0] if same else (right[0] if right and not known else None)
        if other is not None and other.layer == port.layer:
            right.remove(other)
            yield port, other


def _meet(some: Sequence[str], others: Sequence[str]) -> bool:
    return bool({net(one) for one in some} & {net(one) for one in others})


def net(address: str) -> str:
    """The network of ``10.0.0.1/24``; the address itself where it cannot be read."""
    try:
        return str(ipaddress.ip_interface(address).network)
    except ValueError:
        return address
