"""Ranks of vLLM that wait for each other before anything is loaded, by what their own log says.

Each rank prints where they meet, waits there for all others, then prints its place or NCCL's version (vllm
0.33, distributed/parallel_state.py init_distributed_environment, device_communicators/pynccl.py).
"""

from __future__ import annotations

import re
import shlex

#: What ``watch`` prints, before the address.
WAITS = "milepost: the ranks of this log wait for the others at "
#: Seconds without a new line after which they are said to wait.
SILENT = 20
_PASSED = "in world size|vLLM is using nccl"
_ADDRESS = re.compile(re.escape(WAITS) + r"(\S{1,120})")


def watch(log: str) -> str:
    """sh text for ``remote.follow``, beside ``ras.watch``: says once that the ranks wait to meet."""
    return (
        f"( n=0; last=\nwhile sleep 2 && [ -e /proc/$$/exe ]; do\n"
        f's=$(wc -c <{log}); [ "$s" = "$last" ] && n=$((n+2)) || n=0; last=$s\n'
        f"! grep -aqE {shlex.quote(_PASSED)} {log} || break\n[ $n -ge {SILENT} ] || continue\n"
        f"i=$(grep -aoE 'distributed_init_method=[a-z]+://[^ ]+' {log} | tail -n 1)\n"
        f'[ -n "$i" ] || continue\necho {shlex.quote(WAITS)}"${{i#*=}} for $n s"; break\n'
        "done ) </dev/null 2>/dev/null &\n"
    )


def where(text: str) -> str:
    """The address at which the ranks of a log wait; "" where they do not."""
    found = _ADDRESS.search(text)
    return found[1] if found else ""
