"""Does TCP pass from one node to another? A listener for a moment on one side, connections from the other.

Both are Python: vLLM needs it there anyway, and nc is often missing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from wizard_steps.engine.step import Known
from wizard_steps.model import Cmd
from wizard_steps.node.program import run_python


def _word(known: Known) -> str:
    """What our own connections say first. A raylet that dials its lost head is not one of them."""
    return "milepost " + hashlib.sha256(known.cluster.name.encode()).hexdigest()[:16]


def _wait(known: Known) -> float:
    """Seconds both sides try: with many nodes, SSH reaches the last of them late."""
    return 20 + len(known.nodes) / 4


def listen(known: Known, ip: str, port: int, wanted: int) -> Cmd:
    wait = _wait(known) + 5
    text = run_python(
        known.cluster.venv, "tcp_listen.py", ip, str(port), str(wanted), f"{wait:g}", _word(known)
    )
    return Cmd("listen", text, timeout=wait + 15, quiet=True, show=f"(listen on {ip}:{port} for a moment)")


def connect(known: Known, mine: str, port: int, targets: Sequence[str], key: str) -> Cmd:
    wait = _wait(known)
    text = run_python(
        known.cluster.venv, "tcp_connect.py", mine, str(port), f"{wait:g}", _word(known), *targets
    )
    shown = "; ".join(f"nc -zv -s {mine} {ip} {port}" for ip in targets[:8])
    return Cmd(key, text, timeout=wait + 15, show=shown + ("; …" if len(targets) > 8 else ""))
