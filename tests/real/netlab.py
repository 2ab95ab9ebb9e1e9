"""The cables of the test bed: network namespaces, two bridges, and firewall faults.

Both bridges live in a namespace of their own, so that neither a firewall nor a bridge setting of the
machine underneath has a say. The wizard's machine has one cable, into the management bridge.

    management 10.X.0.0/24   wizard .254, hosts .1 .2 .3 on eth0
    fabric     10.X.1.0/24   hosts .1 .2 .3 on eth1
"""

from __future__ import annotations

import subprocess
from contextlib import suppress

from wizard_steps.lab.spaces import free_octet

IP, TC = "ip", "tc"


def run(*argv: str, check: bool = True, stdin: str | None = None) -> str:
    """Run a command of the machine underneath; its standard output. Raises RuntimeError with its words."""
    done = subprocess.run(argv, capture_output=True, text=True, input=stdin)
    if check and done.returncode:
        raise RuntimeError(f"{' '.join(argv)}: exit {done.returncode}: {done.stderr.strip()}")
    return done.stdout


class Network:
    """Namespaces ``PREFIX-switch`` and ``PREFIX-<host>``. Needs root."""

    def __init__(self, prefix: str, hosts: tuple[str, ...], octet: int | None = None) -> None:
        self.prefix = prefix
        self.hosts = hosts
        self.octet = free_octet() if octet is None else octet
        self.switch = f"{prefix}-switch"

    @property
    def wizard_ip(self) -> str:
        return f"10.{self.octet}.0.254"

    def management_ip(self, host: str) -> str:
        return f"10.{self.octet}.0.{self.hosts.index(host) + 1}"

    def fabric_ip(self, host: str) -> str:
        return f"10.{self.octet}.1.{self.hosts.index(host) + 1}"

    def namespace(self, host: str) -> str:
        return f"{self.prefix}-{host}"

    def up(self) -> None:
        run(IP, "netns", "add", self.switch)
        self._batch(
            self.switch,
            "link add br-mgmt type bridge",
            "link add br-fabric type bridge",
            "link set lo up",
            "link set br-mgmt up",
            "link set br-fabric up",
        )
        cable = f"{self.prefix}-w"
        run(IP, "link", "add", cable, "type", "veth", "peer", "name", "wizard", "netns", self.switch)
        self._batch(self.switch, "link set wizard master br-mgmt up")
        run(IP, "addr", "add", f"{self.wizard_ip}/24", "dev", cable)
        run(IP, "link", "set", cable, "up")
        for host in self.hosts:
            self._plug(host)

    def _plug(self, host: str) -> None:
        space = self.namespace(host)
        run(IP, "netns", "add", space)
        self._batch(
            self.switch,
            f"link add {host}-mgmt type veth peer name eth0 netns {space}",
            f"link add {host}-fabric type veth peer name eth1 netns {space}",
            f"link set {host}-mgmt master br-mgmt up",
            f"link set {host}-fabric master br-fabric up",
        )
        self._batch(
            space,
            "link set lo up",
            f"addr add {self.management_ip(host)}/24 dev eth0",
            f"addr add {self.fabric_ip(host)}/24 dev eth1",
            "link set eth0 up",
            "link set eth1 up",
        )

    def _batch(self, space: str, *lines: str) -> None:
        run(IP, "-n", space, "-batch", "-", stdin="\n".join(lines) + "\n")

    def down(self) -> None:
        """Remove every namespace of this prefix; the cables and bridges go with them."""
        remove_namespaces(self.prefix)

    def link(self, host: str, device: str, state: str) -> None:
        """``link("c", "eth0", "down")`` pulls a cable."""
        run(IP, "-n", self.namespace(host), "link", "set", device, state)

    def drop(self, host: str, rule: str, hook: str = "input") -> None:
        """Drop silently what matches an nftables ``rule``, e.g. ``ip saddr 10.1.1.1 tcp dport 6379``."""
        lines = (
            "add table inet fault",
            f"add chain inet fault {hook} {{ type filter hook {hook} priority 0; }}",
            f"add rule inet fault {hook} {rule} drop",
        )
        run(IP, "netns", "exec", self.namespace(host), "nft", "-f", "-", stdin="\n".join(lines) + "\n")

    def shape(self, host: str, device: str, to: str, mbit: int) -> None:
        """Let what ``host`` sends to the address ``to`` pass at ``mbit`` Mbit/s; the rest is as before."""
        tc = (TC, "-n", self.namespace(host))
        run(*tc, "qdisc", "add", "dev", device, "root", "handle", "1:", "htb", "default", "10")
        for place, rate in ((10, "10gbit"), (20, f"{mbit}mbit")):
            run(
                *tc,
                "class",
                "add",
                "dev",
                device,
                "parent",
                "1:",
                "classid",
                f"1:{place}",
                "htb",
                "rate",
                rate,
            )
        match = ("u32", "match", "ip", "dst", f"{to}/32", "flowid", "1:20")
        run(*tc, "filter", "add", "dev", device, "parent", "1:", "protocol", "ip", *match)

    def mtu(self, host: str, device: str, size: int) -> None:
        """Both ends of a cable: packets of up to ``size`` bytes."""
        end = f"{host}-fabric" if device == "eth1" else f"{host}-mgmt"
        run(IP, "-n", self.switch, "link", "set", end, "mtu", str(size))
        run(IP, "-n", self.namespace(host), "link", "set", device, "mtu", str(size))

    def heal(self, host: str) -> None:
        """Remove every drop rule of a host and plug its cables back in."""
        run(IP, "netns", "exec", self.namespace(host), "nft", "delete", "table", "inet", "fault", check=False)
        for device in ("eth0", "eth1"):
            run(TC, "-n", self.namespace(host), "qdisc", "delete", "dev", device, "root", check=False)
            self.mtu(host, device, 1500)
            self.link(host, device, "up")


def remove_namespaces(prefix: str) -> None:
    """Delete the namespaces named ``PREFIX-*`` and the wizard's end of its cable."""
    names = [line.split()[0] for line in run(IP, "netns", "list").splitlines() if line.strip()]
    for name in names:
        if name.startswith(f"{prefix}-"):
            with suppress(RuntimeError):
                run(IP, "netns", "delete", name)
    run(IP, "link", "delete", f"{prefix}-w", check=False)
