"""Proxies, link speeds and MTUs, RDMA devices and the GPU topology of a node."""

from __future__ import annotations

import re
from collections.abc import Sequence

from msgspec import Struct

from wizard_steps.facts.network import NetDevice, clean
from wizard_steps.facts.sections import FactSection
from wizard_steps.node.lines import number


class Rdma(Struct, frozen=True):
    """One port of an RDMA device: ``device`` as of port_name. ``rate`` in Gbit/s; ``interfaces``: its
    network devices, and those that have its addresses (a bond, a VLAN).

    ``kind``: ``card``, ``vf`` (a virtual function of a card that is here too), ``software``, ``iwarp`` or
    ``other`` (EFA); empty in answers of before it was asked. ``state``: ACTIVE, DOWN, INIT, ARMED.
    """

    device: str
    active: bool
    rate: float
    layer: str
    interfaces: tuple[str, ...] = ()
    kind: str = ""
    driver: str = ""
    state: str = ""

    @property
    def real(self) -> bool:
        """A port of a card by itself: software is no faster than TCP, a virtual function has no port of its
        own."""
        return self.kind not in ("vf", "software")


class Topology(Struct, frozen=True):
    """``nvlink``: NVLinks between the worst-connected two GPUs (0: none, None: one GPU or unknown).

    ``cells``: the matrix that it is from, a row for each GPU."""

    gpus: int = 0
    nvlink: int | None = None
    worst: str = ""
    nics: tuple[str, ...] = ()
    cells: tuple[tuple[str, ...], ...] = ()

    def among(self, indexes: Sequence[int]) -> Topology:
        """The same of some of the GPUs: those that are used may be joined though all are not."""
        if not all(0 <= index < len(self.cells) for index in indexes):
            return self
        return _joined([[self.cells[i][j] for j in indexes] for i in indexes], self.nics)


def parse_proxies(section: FactSection) -> dict[str, str]:
    """``name=value`` of the proxy variables, names in lower case."""
    pairs = (line.partition("=") for line in section.lines if "=" in line)
    return {name.lower(): value for name, _, value in pairs if name.lower().endswith("_proxy")}


#: ``NAME speed S mtu M``, and since it is asked ``is BUS by DRIVER in MASTER``.
_DEVICE = re.compile(r"(\S+) speed (\S+) mtu (\S+)(?: is (\S+) by (\S+) in (\S+))?")


def parse_devices(section: FactSection) -> dict[str, NetDevice]:
    """The network devices by name."""
    found = {}
    for line in section.lines:
        row = _DEVICE.fullmatch(line.strip())
        if row:
            bus, driver, master = ("" if word in (None, "?") else word for word in row.groups()[3:])
            found[row[1]] = NetDevice(number(row[2]), number(row[3]), bus, driver, master)
    return found


def parse_speeds(section: FactSection) -> dict[str, int]:
    """Mbit/s of each network device, 0 where the driver does not say (virtual devices)."""
    return {name: one.speed for name, one in parse_devices(section).items()}


def parse_mtus(section: FactSection) -> dict[str, int]:
    """Bytes of the largest packet of each network device, 0 where it is not known."""
    return {name: one.mtu for name, one in parse_devices(section).items()}


_PORT = re.compile(
    r"(\S+) port (\d+) state (?:\d+: )?(\S+) rate ([\d.]{1,12})[^\n]{0,80}? layer (\S+) net(.*?)"
    r"(?: is (\w+) by ?(\S*))?$"
)


def port_name(device: str, port: str) -> str:
    """``mlx5_0`` for the first port, as most cards have only that; ``mlx4_0:2``. NCCL_IB_HCA takes both."""
    return device if port == "1" else f"{device}:{port}"


def parse_rdma(section: FactSection) -> list[Rdma]:
    """``/sys/class/infiniband``: a line a port, as the script prints it."""
    found = []
    for row in filter(None, (_PORT.match(line.strip()) for line in section.lines)):
        device, port, state, rate, layer, net, kind, driver = row.groups("")
        names = (word.rsplit("/", 1)[-1] for word in net.split() if not word.endswith("*"))
        gbit = float(rate) if rate.count(".") < 2 and rate != "." else 0.0
        name, interfaces = port_name(device, port), tuple(dict.fromkeys(names))
        found.append(Rdma(name, state == "ACTIVE", gbit, layer, interfaces, kind, driver, state))
    return found


def parse_topology(section: FactSection) -> Topology:
    """``nvidia-smi topo -m``: the matrix between GPUs, and the names of NICs from its legend."""
    rows: dict[str, list[str]] = {}
    text = clean(section.text)
    for line in text.splitlines():
        words = line.split()
        if words and re.fullmatch(r"GPU\d+", words[0]) and "X" in words:
            rows[words[0]] = words[1:]
    nics = tuple(re.findall(r"^[ \t]*NIC\d+: (\S+)", text, re.MULTILINE))
    cells = [row[: len(rows)] for row in rows.values()]
    return _joined(cells if all(len(row) == len(rows) for row in cells) else [], nics, len(rows))


def _joined(cells: Sequence[Sequence[str]], nics: tuple[str, ...], gpus: int = 0) -> Topology:
    pairs = [cell for i, row in enumerate(cells) for j, cell in enumerate(row) if j != i]
    matrix = tuple(map(tuple, cells))
    if not pairs:
        return Topology(gpus or len(cells), None, "", nics, matrix)
    links = [int(cell[2:]) if re.fullmatch(r"NV\d{1,3}", cell) else 0 for cell in pairs]
    order = ("SYS", "NODE", "PHB", "PXB", "PIX")
    slow = [cell for cell in pairs if cell in order]
    worst = min(slow, key=order.index) if slow else f"NV{min(links)}"
    return Topology(gpus or len(cells), min(links), worst, nics, matrix)
