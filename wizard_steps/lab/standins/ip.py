"""``ip`` of a lab node: its addresses as it would see them if it were a machine. SIMULATED: both nodes
share this machine's loopback. Everything but showing addresses goes to the machine's real ``ip``."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

SIMULATED = "SIMULATED by the milepost lab"
INTERFACE = "lab0"
_SHOW = ("", "show", "sh", "list", "ls", "l")


def split(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """(options before the object, the object and what follows)."""
    words = list(argv)
    at = next((i for i, word in enumerate(words) if not word.startswith("-")), len(words))
    return words[:at], words[at:]


def brief(address: str) -> list[str]:
    return [
        "lo               UNKNOWN        127.0.0.1/8",
        f"{INTERFACE:<16} UP             {address}/24  # {SIMULATED}: an alias of this machine's loopback",
    ]


def long(address: str) -> list[str]:
    return [
        "1: lo: <LOOPBACK,UP,LOWER_UP> mtu 65536 qdisc noqueue state UNKNOWN group default qlen 1000",
        "    inet 127.0.0.1/8 scope host lo",
        f"2: {INTERFACE}: <UP,LOWER_UP> mtu 65536 qdisc noqueue state UP qlen 1000  # {SIMULATED}",
        f"    inet {address}/24 scope global {INTERFACE}",
    ]


def real_ip() -> str | None:
    """The machine's own ip command, not this one."""
    here = Path(os.environ.get("HOME", "/")).parent / "bin"
    path = [p for p in os.environ.get("PATH", "").split(":") if p and Path(p) != here]
    return shutil.which("ip", path=":".join(path))


def main(argv: Sequence[str]) -> int:
    options, rest = split(argv)
    address = os.environ.get("LAB_IP", "127.0.0.1")
    wants_addresses = bool(rest) and rest[0] in ("a", "ad", "add", "addr", "address")
    if wants_addresses and len(rest) <= 2 and (rest[1] if len(rest) > 1 else "") in _SHOW:
        short = any(option in ("-br", "-brief", "--brief") for option in options)
        if short or all(option in ("-4", "-o", "-c", "-color=never") for option in options):
            print("\n".join(brief(address) if short else long(address)))
            return 0
    real = real_ip()
    if real is None:
        print(f"ip ({SIMULATED}): shows addresses only, and this machine has no ip command", file=sys.stderr)
        return 1
    print(f"# {SIMULATED}: what follows is about the machine the lab runs on", file=sys.stderr, flush=True)
    os.execv(real, [real, *argv])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
