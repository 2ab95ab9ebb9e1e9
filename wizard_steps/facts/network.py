"""Interfaces and addresses of one host, and which of them could carry GPU traffic.

The best source is ``ip -brief addr``; hosts without iproute2 are read from ``ip addr`` (busybox),
``hostname -I`` or ``/proc/net/fib_trie`` with ``/proc/net/route``.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping, Sequence

from msgspec import Struct

from wizard_steps.facts.interface_kinds import BRIDGE, ON_LOOPBACK, USB, WIFI, Kind, kind_of

#: Operational states of RFC 2863 as iproute2 prints them.
STATES = frozenset({"UP", "DOWN", "UNKNOWN", "LOWERLAYERDOWN", "DORMANT", "NOTPRESENT", "TESTING"})

_ANSI = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")
_REMARK = re.compile(r"(?:^|\s)#.*")


class InterfaceAddress(Struct, frozen=True):
    """One address with the length of its network prefix in bits."""

    ip: str
    prefix: int

    @property
    def version(self) -> int:
        return ipaddress.ip_address(self.ip).version

    @property
    def network(self) -> str:
        return str(ipaddress.ip_network(f"{self.ip}/{self.prefix}", strict=False))


class Interface(Struct, frozen=True):
    """``name`` is empty where the source tells addresses only. ``state`` is one of STATES.

    ``device``: what the kernel says it is: ``pci``, ``usb``, ``wifi``, ``bridge``, ``bond``, ``virtual`` or
    another bus; empty where nobody asked. ``master``: the bond or bridge it is a port of.
    """

    name: str
    state: str
    addresses: tuple[InterfaceAddress, ...] = ()
    device: str = ""
    master: str = ""

    @property
    def v4(self) -> tuple[InterfaceAddress, ...]:
        return tuple(a for a in self.addresses if a.version == 4)


class NetDevice(Struct, frozen=True):
    """A network device as /sys/class/net has it. ``speed`` in Mbit/s, ``mtu`` in bytes, 0 where the driver
    does not say; ``bus`` as Interface.device, empty in answers of before it was asked."""

    speed: int = 0
    mtu: int = 0
    bus: str = ""
    driver: str = ""
    master: str = ""


class Candidate(Struct, frozen=True):
    """An address that could carry GPU traffic (or, from ``excluded``, one that could not) and why."""

    interface: str
    ip: str
    prefix: int
    kind: Kind
    why: str

    @property
    def network(self) -> str:
        return InterfaceAddress(self.ip, self.prefix).network


#: Drivers of USB adapters with a cable to a switch, told apart from the networks to a BMC or a phone.
_ADAPTERS = frozenset({"r8152", "ax88179_178a", "ax_usb_nm", "asix", "aqc111", "lan78xx", "smsc95xx"})

_UNUSABLE: frozenset[Kind] = frozenset({"loopback", "container", "virtual", "usb", "link-local", "down"})
#: What could carry GPU traffic, the likeliest first.
ORDER: tuple[Kind, ...] = (
    "infiniband", "bond", "ethernet", "bridge", "unknown", "overlay", "wifi", "loopback",
)  # fmt: skip


def is_card(interface: Interface) -> bool:
    """A network card, or a bond of cards: its address is one on the network outside, not of this host."""
    if interface.device in ("bridge", "usb"):
        return False
    return kind_of(interface.name)[0] in ("ethernet", "bond", "infiniband", "wifi") or (
        interface.device not in ("", "virtual")
    )


def _kind(interface: Interface) -> tuple[Kind, str]:
    """By the name, and by the device where the kernel was asked."""
    kind, what = kind_of(interface.name)
    if interface.device == "wifi":
        return "wifi", WIFI
    if interface.device == "usb":
        return "usb", USB
    if interface.device == "bridge" and kind in ("ethernet", "unknown"):
        return "bridge", BRIDGE
    if kind in ("unknown", "usb") and interface.device not in ("", "virtual", "bridge", "bond"):
        return "ethernet", "a network card"
    return kind, what


def with_devices(interfaces: Sequence[Interface], devices: Mapping[str, NetDevice]) -> tuple[Interface, ...]:
    """The interfaces with what the kernel says of their devices."""
    found = []
    for one in interfaces:
        device = devices.get(one.name, NetDevice())
        sort = "usb-adapter" if device.bus == "usb" and device.driver in _ADAPTERS else device.bus
        found.append(Interface(one.name, one.state, one.addresses, sort, device.master))
    return tuple(found)


def clean(text: str) -> str:
    """Without ANSI colours, carriage returns and remarks after ``#``."""
    lines = _ANSI.sub("", text).replace("\r", "").splitlines()
    return "\n".join(_REMARK.sub("", line).rstrip() for line in lines)


def parse_ip_brief(text: str) -> list[Interface]:
    """``ip -brief addr``: name, state, then addresses. Other lines (errors, banners) are passed over."""
    found = []
    for line in clean(text).splitlines():
        words = line.split()
        if len(words) >= 2 and words[1] in STATES:
            found.append(Interface(words[0].partition("@")[0], words[1], tuple(_addresses(words[2:]))))
    return found


def parse_ip_addr(text: str) -> list[Interface]:
    """``ip addr`` in its long form: what busybox prints, which knows no ``-brief``."""
    found: list[Interface] = []
    for line in clean(text).splitlines():
        head = re.match(r"\d+:\s+([^:@\s]+)(?:@\S+)?:\s+<([^>]*)>(?:.*\bstate (\S+))?", line)
        if head:
            flags = head[2].split(",")
            state = head[3] or ("UP" if "UP" in flags else "DOWN")
            found.append(Interface(head[1], state))
            continue
        words = line.split()
        if found and len(words) >= 2 and words[0] in ("inet", "inet6"):
            last = found.pop()
            new = tuple(_addresses(words[1:2]))
            found.append(Interface(last.name, last.state, last.addresses + new))
    return found


def parse_hostname_I(text: str) -> list[Interface]:
    """``hostname -I``: addresses only, so every interface is nameless and every prefix is the host's own."""
    words = clean(text).split()
    return [Interface("", "UNKNOWN", (address,)) for address in _addresses(words)]


def parse_proc_net_fib(fib_trie: str, route: str = "") -> list[Interface]:
    """``/proc/net/fib_trie``: this host's IPv4 addresses; with ``/proc/net/route`` also their interfaces."""
    locals_: list[str] = []
    last = ""
    for line in clean(fib_trie).splitlines():
        leaf = re.match(r"\s*\|--\s+(\S+)", line)
        if leaf:
            last = leaf[1]
        elif re.match(r"\s*/32 host LOCAL", line) and last not in locals_:
            locals_.append(last)
    routes = list(_routes(route))
    return [_from_fib(ip, routes) for ip in locals_ if _address(ip)]


def parse_interfaces(text: str) -> list[Interface]:
    """Any of the four forms, told apart by what they look like; the empty list when there is none."""
    if "fib_trie" in text or "/32 host LOCAL" in text:
        return parse_proc_net_fib(text, text)
    found = parse_ip_brief(text) or parse_ip_addr(text)
    if found:
        return found
    words = clean(text).split()
    return parse_hostname_I(text) if words and all(_address(word) for word in words) else []


def candidates(interfaces: Sequence[Interface], *, loopback: bool = False) -> list[Candidate]:
    """Addresses that could carry GPU traffic, the likeliest first: IPv4 before IPv6, private before public.

    ``loopback`` admits 127.0.0.0/8, for a lab whose hosts all live on one machine.
    """
    usable = [c for c in _all(interfaces) if c.kind not in _UNUSABLE or (loopback and c.kind == "loopback")]
    return sorted(usable, key=_rank)


def excluded(interfaces: Sequence[Interface]) -> list[Candidate]:
    """Addresses that are no candidates, each with the reason in ``why``."""
    return [c for c in _all(interfaces) if c.kind in _UNUSABLE]


def _all(interfaces: Sequence[Interface]) -> Iterator[Candidate]:
    for interface in interfaces:
        for address in interface.addresses:
            kind, why = _judge(interface, address)
            yield Candidate(interface.name, address.ip, address.prefix, kind, why)


def _judge(interface: Interface, address: InterfaceAddress) -> tuple[Kind, str]:
    kind, what = _kind(interface)
    ip = ipaddress.ip_address(address.ip)
    if ip.is_loopback:
        return "loopback", "loopback: only this host itself can reach it"
    if ip.is_link_local:
        return (
            "link-local",
            "link-local: works on one link only, such as a direct cable; then set fabric_ip",
        )
    if kind == "loopback":
        return kind, ON_LOOPBACK
    if kind in _UNUSABLE:
        return kind, what if kind == "usb" else f"{what}: the same address can exist on every host"
    if interface.state in ("DOWN", "LOWERLAYERDOWN", "NOTPRESENT"):
        return "down", f"the link is {interface.state}: no cable, or it is switched off"
    if not interface.name and address.ip.startswith("172.17."):
        return "container", "172.17.x.x is Docker's own default bridge"
    return kind, f"{what}; {'a public' if ip.is_global else 'a private'} IPv{ip.version} address"


def _rank(candidate: Candidate) -> tuple[int, int, int, tuple[tuple[str, int], ...]]:
    ip = ipaddress.ip_address(candidate.ip)
    return ip.version, ORDER.index(candidate.kind), int(ip.is_global), _natural(candidate.interface)


def _natural(name: str) -> tuple[tuple[str, int], ...]:
    """For sorting: eth2 before eth10."""
    parts = re.findall(r"([^0-9]*)([0-9]{1,9})|([^0-9]+)", name[:64])
    return tuple((word or rest, int(number or 0)) for word, number, rest in parts)


def _address(word: str) -> InterfaceAddress | None:
    text, _, prefix = word.partition("/")
    try:
        ip = ipaddress.ip_address(text.partition("%")[0])
        bits = int(prefix) if prefix else ip.max_prefixlen
    except ValueError:
        return None
    return InterfaceAddress(str(ip), bits) if 0 <= bits <= ip.max_prefixlen else None


def _addresses(words: Sequence[str]) -> Iterator[InterfaceAddress]:
    """Addresses among words such as ``10.0.0.5/24 metric 100`` or ``10.8.0.1 peer 10.8.0.2/32``."""
    skip = False
    for word in words:
        address = None if skip else _address(word)
        skip = word in ("peer", "metric")
        if address:
            yield address


def _routes(route: str) -> Iterator[tuple[str, ipaddress.IPv4Network]]:
    """Directly connected networks of ``/proc/net/route``: little-endian hexadecimal numbers."""
    for line in route.splitlines():
        words = line.split()
        if len(words) >= 8 and all(re.fullmatch(r"[0-9A-F]{8}", words[i]) for i in (1, 2, 7)):
            target, gateway, mask = (int.from_bytes(bytes.fromhex(words[i]), "little") for i in (1, 2, 7))
            if gateway == 0 and mask:
                yield words[0], ipaddress.IPv4Network((target, bin(mask).count("1")), strict=False)


def _from_fib(ip: str, routes: Sequence[tuple[str, ipaddress.IPv4Network]]) -> Interface:
    address = ipaddress.IPv4Address(ip)
    if address.is_loopback:
        return Interface("lo", "UNKNOWN", (InterfaceAddress(ip, 8),))
    # The narrowest network first, as the kernel looks them up.
    for name, network in sorted(routes, key=lambda one: -one[1].prefixlen):
        if address in network:
            return Interface(name, "UNKNOWN", (InterfaceAddress(ip, network.prefixlen),))
    return Interface("", "UNKNOWN", (InterfaceAddress(ip, 32),))
