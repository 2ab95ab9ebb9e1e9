"""NCCL's own monitor (RAS, since 2.24) on port 28028 of localhost: which ranks hang or are gone."""

from __future__ import annotations

import re
import shlex

from wizard_steps.model import Check, Cmd
from wizard_steps.node.lines import plain

PORT = 28028
#: Bytes of an answer.
_MOST = 65536
_ASK = (
    "import socket, sys\n"
    "s = socket.create_connection(('127.0.0.1', {port}), 5); s.settimeout(25)\n"
    "s.sendall(b'verbose status\\n'); data = b''\n"
    "while len(data) < {most}:\n"
    "    part = s.recv(65536)\n"
    "    if not part: break\n"
    "    data += part\n"
    "sys.stdout.write(data.decode('utf-8', 'replace'))\n"
)
#: Lines that name a rank, a process or a node in trouble.
_TROUBLE = re.compile(
    r"(?i)\b(?:mismatch|unresponsive|missing|dead|incomplete|timeout|error|not respond\w*)\b"
)


def status(python: str) -> Cmd:
    """Asks for it; ``python`` is an sh word."""
    text = f"exec {python} -I -c {shlex.quote(_ASK.format(port=PORT, most=_MOST))} 2>&1\n"
    return Cmd("ras", text, timeout=40, show=f"(ask NCCL RAS on localhost:{PORT}: verbose status)")


def check(node: str, text: str) -> Check:
    """What it says of a stall. It is asked after the stall, and may have nothing to say any more."""
    lines = [plain(line).strip() for line in text.splitlines()[:2000]]
    trouble = [line[:200] for line in lines if _TROUBLE.search(line)]
    ranks = [line for line in trouble if re.search(r"(?i)\brank", line)] or trouble
    if not any("ommunicator" in line or "Job summary" in line for line in lines):
        last = next((line for line in reversed(lines) if line), "no answer")
        return Check("NCCL RAS", True, f"not proved: {last[:160]}", "names the rank", node, warning=True)
    if ranks:
        return Check("NCCL RAS", False, "; ".join(ranks[:3]), "all ranks answer", node)
    return Check("NCCL RAS", True, "all ranks answer now", "all ranks answer", node)
