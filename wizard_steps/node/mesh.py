"""TCP between many nodes at once: who reaches whom, with what latency and, where asked for, how fast.

scripts/mesh.py runs on every node at the same time. A line it prints for each connection:

    10.0.0.1 -> b 10.0.0.2:19998 open, 0.21 ms, 9412 Mbit/s there, 9380 Mbit/s back
    10.0.0.1 -> b 10.0.0.2:19998 closed: no answer (dropped by a firewall, or no such host)
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from msgspec import Struct

from wizard_steps.cluster.file import Cluster
from wizard_steps.model import Cmd, Result
from wizard_steps.node.program import run_python

#: Bytes of one timed transfer and way; it is cut off after a second.
TRANSFER = 8 << 20

_LINE = re.compile(
    r"^(?P<mine>\S+) -> (?P<name>\S+) (?P<ip>\S+):(?P<port>\d+) "
    r"(?:open, (?P<ms>[\d.]+) ms(?:, (?P<there>\d+) Mbit/s there)?(?:, (?P<back>\d+) Mbit/s back)?"
    r"|closed: (?P<why>.*))$"
)


class Way(Struct, frozen=True):
    """One connection that was tried. ``mbit`` is the slower of both directions, 0 when not measured."""

    name: str
    ip: str
    port: int
    open: bool
    ms: float = 0.0
    mbit: float = 0.0
    why: str = ""


def wait_for(count: int) -> float:
    """Seconds all sides try: with many nodes, SSH reaches the last of them late."""
    return 15 + count / 4


def command(
    cluster: Cluster,
    key: str,
    listen: Sequence[tuple[str, int, int]],
    to: Sequence[tuple[str, str, str, int, int]],
    show: str,
) -> Cmd:
    """``listen``: (ip, port, connections to expect); ``to``: (peer, own ip, its ip, port, bytes to time)."""
    wait = wait_for(len(cluster.nodes))
    spec = json.dumps({"wait": wait, "listen": listen, "to": to}, separators=(",", ":"))
    return Cmd(key, run_python(cluster.venv, "mesh.py", spec), timeout=wait + 25, show=show)


def ways(result: Result | None) -> list[Way]:
    """What the script printed; lines that are anything else are left out."""
    found = []
    for line in result.lines if result else []:
        row = _LINE.match(line.strip())
        if row:
            rates = [float(row[k]) for k in ("there", "back") if row[k]]
            found.append(
                Way(
                    row["name"],
                    row["ip"],
                    int(row["port"]),
                    row["ms"] is not None,
                    float(row["ms"] or 0),
                    min(rates, default=0.0),
                    row["why"] or "",
                )
            )
    return found
