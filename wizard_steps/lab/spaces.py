"""Lab nodes with a network of their own each, for faults of the network: Linux network namespaces, a bridge
between them, a firewall in each. Needs root.

A namespace has no name: it lives as long as the process that holds it, which is the lab's and ends with it.

    10.X.0.0/24    this machine .254, nodes .1 .2 on eth0
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
from collections.abc import Mapping, Sequence

from wizard_steps.errors import MilepostError

DEVICE = "eth0"
#: Only new connections, so that what is open goes on: both are nftables expressions.
NEW = "tcp flags & (syn|ack) == syn"
HIGH_PORTS = f"tcp dport 20000-65535 {NEW}"
LARGE = "meta length > 1500"
JUMBO = 9000
TOOLS = ("ip", "nft", "unshare", "nsenter", "mount")
_HOLD = ("unshare", "--net", "--mount", "sh", "-c")
#: What is below /sys/class/net belongs to the network of whoever mounted it.
_SYS = "mount -t sysfs sysfs /sys"
_PATH = {**os.environ, "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"}


def obstacle() -> str:
    """Why this machine cannot have them, in one sentence; "" when it can."""
    if os.geteuid() != 0:
        return "network namespaces with a firewall in them need root"
    missing = [tool for tool in TOOLS if not shutil.which(tool, path=_PATH["PATH"])]
    if missing:
        return f"this machine has no {', '.join(missing)} (Debian: apt-get install iproute2 nftables)"
    try:
        _run([*_HOLD, f"{_SYS} && nft add table inet probe"])
    except MilepostError as error:
        return f"this kernel or container does not allow network namespaces with nftables: {error}"
    return ""


def free_octet() -> int:
    """The X of a 10.X.0.0/16 to which no route of this machine leads. Raises MilepostError."""
    routes = json.loads(_run(["ip", "-j", "route", "show", "table", "all"]) or "[]")
    taken = {str(route.get("dst", "")) for route in routes}
    for octet in random.sample(range(64, 250), 100):
        if not any(dst.startswith((f"10.{octet}.", "10.0.0.0/8")) for dst in taken):
            return octet
    raise MilepostError("no free 10.X.0.0/16 for the network of a lab")


def this_machine(node_ip: str) -> str:
    """The address under which a node reaches this machine."""
    return node_ip.rsplit(".", 1)[0] + ".254"


def up(nodes: Mapping[str, str]) -> dict[str, list[str]]:
    """``nodes``: name -> address. The words before a command that run it in that node's network.

    Raises MilepostError with the words of the tool that failed.
    """
    switch = _hold()
    _inside(switch, "ip link set lo up; ip link add br0 type bridge; ip link set br0 up")
    cable = f"mplab{os.getpid() % 10**7}"
    _run(["ip", "link", "add", cable, "type", "veth", "peer", "name", "here", "netns", str(switch)])
    _inside(switch, "ip link set here master br0 up")
    _run(["ip", "addr", "add", f"{this_machine(next(iter(nodes.values())))}/24", "dev", cable])
    _run(["ip", "link", "set", cable, "up"])
    found = {}
    for number, (name, address) in enumerate(nodes.items()):
        pid = _hold()
        plug = f"node{number}"
        _inside(switch, f"ip link add {plug} type veth peer name {DEVICE} netns {pid}")
        _inside(switch, f"ip link set {plug} mtu {JUMBO} master br0 up")
        _inside(pid, f"ip link set lo up; ip addr add {address}/24 dev {DEVICE}; ip link set {DEVICE} up")
        found[name] = _enter(pid)
    return found


def plant(fault: str, nodes: Mapping[str, str], enter: Mapping[str, Sequence[str]]) -> None:
    """What is wrong with the network."""
    first, last = nodes
    if fault == "one-way-firewall":
        _drop(enter[last], f"ip saddr {nodes[first]} {NEW}")
    for name in nodes:
        if fault == "high-ports-dropped":
            _drop(enter[name], f"iifname {DEVICE} {HIGH_PORTS}")
        if fault == "mtu-mismatch":
            # A rule stands for the switch between them.
            _run([*enter[name], "ip", "link", "set", DEVICE, "mtu", str(JUMBO)])
            _drop(enter[name], f"iifname {DEVICE} {LARGE}")


def _drop(enter: Sequence[str], rule: str) -> None:
    """Drop silently what comes in and matches."""
    chain = "{ type filter hook input priority 0; }"
    lines = (
        f"add table inet fault\nadd chain inet fault input {chain}\nadd rule inet fault input {rule} drop\n"
    )
    _run([*enter, "nft", "-f", "-"], lines)


def _hold() -> int:
    """A new network and the process that holds it; the first in whose environment the lab's mark is."""
    words = [*_HOLD, f"{_SYS} && echo up && exec sleep infinity"]
    held = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, env=_PATH)
    assert held.stdout is not None
    if held.stdout.readline() != b"up\n":
        raise MilepostError("a network namespace could not be made")
    # The process is the lab's to end, and this one's never to wait for.
    held.returncode = 0
    return held.pid


def _enter(pid: int) -> list[str]:
    return ["nsenter", f"--net=/proc/{pid}/ns/net", f"--mount=/proc/{pid}/ns/mnt", "--"]


def _inside(pid: int, text: str) -> None:
    _run([*_enter(pid), "sh", "-ec", text])


def _run(words: Sequence[str], stdin: str = "") -> str:
    try:
        done = subprocess.run(
            words, input=stdin, capture_output=True, text=True, env=_PATH, timeout=20, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise MilepostError(str(error)) from None
    if done.returncode:
        raise MilepostError((done.stderr.strip().splitlines() or [f"{words[0]}: exit {done.returncode}"])[-1])
    return done.stdout
