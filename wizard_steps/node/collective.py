"""A real all_reduce with the torch of the nodes' environment: one process per node on CPU (gloo), one per
GPU with CUDA (NCCL).

The script is sent as text and ends by itself: its first process starts the ranks of its node, keeps what
matters of their output, and ends them when a stage takes too long. They end with it even when it is killed.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping, Sequence

from msgspec import Struct

from wizard_steps.model import Cmd, Node, Result
from wizard_steps.node import ras, remote
from wizard_steps.node.program import program

#: Where the ranks meet, on the head; pairs take the ports after it. Below Linux's ephemeral ports.
PORT = 29512
#: MiB that are reduced at a time: five times within REDUCE even over 1 Gbit/s. The next one follows only
#: where this one was quick: a fast link is not filled by a small one.
SIZES: dict[str, tuple[int, ...]] = {"gloo": (16,), "nccl": (64, 512)}
#: Seconds until all ranks have met (importing torch from a slow disk counts), and for the reduction itself
#: (NCCL joins the ranks of many nodes in its first one).
MEET, REDUCE = 90, {"gloo": 20, "nccl": 50}
#: Seconds that a rank waits for the others once it has torch; longer, up to MEET, where torch came slowly.
PATIENCE = 45
#: Seconds in one stage after which a node asks who hangs: the ranks still stand, and NCCL still answers.
ASK = {"gloo": 10, "nccl": 25}


class Rank(Struct, frozen=True):
    """The ranks of one node in a run."""

    node: Node
    first: int
    procs: int


class Told(Struct, frozen=True):
    """What a run said: ``speed`` and the bandwidth in GB/s come from rank 0.

    ``direct``: what NCCL says of GPU Direct RDMA ("Enabled", "Disabled"). ``devices``: what it names as its
    network devices, as it prints them.
    """

    speed: str = ""
    gbytes: float = 0.0
    network: str = ""
    channels: str = ""
    problem: str = ""
    direct: str = ""
    devices: str = ""


def ranks(nodes: Sequence[Node], backend: str) -> list[Rank]:
    """Consecutive ranks: all GPUs of each node with NCCL (as vLLM will use them), one process with gloo. A
    head without GPUs has no rank with NCCL."""
    found, first = [], 0
    for node in nodes:
        procs = node.gpus if backend == "nccl" else 1
        if not procs:
            continue
        found.append(Rank(node, first, procs))
        first += procs
    return found


def look(python: str, kind: str) -> Cmd:
    """``python``: an sh word; ``kind``: what it belongs to, for a reader."""
    code = shlex.quote(program("look_torch.py"))
    there = f"command -v {python} >/dev/null"
    text = f"{there} || {{ echo 'torch: missing'; exit 0; }}\nexec {python} -I -c {code}\n"
    shown = f"(which torch is in the {kind}, and does it see GPUs?)"
    return Cmd("torch", text, timeout=30, quiet=True, show=shown)


def command(
    python: str,
    rank: Rank,
    world: int,
    master: str,
    backend: str,
    env: Mapping[str, str],
    key: str,
    port: int = PORT,
) -> Cmd:
    """The ranks of one node. ``python``: an sh word; ``master``: the address of rank 0's node; ``env``: what
    Ray is started with."""
    spec = {
        "world": world,
        "first": rank.first,
        "procs": rank.procs,
        "backend": backend,
        "host": master,
        "port": port,
        "mib": SIZES[backend],
        "start": MEET,
        "patience": PATIENCE,
        "limit": REDUCE[backend],
        "ask": ASK[backend],
        "ras": ras.PORT,
        "stall": program("stall.py"),
        "rank": program("rank.py"),
    }
    own = {"NCCL_DEBUG": "INFO", "NCCL_DEBUG_SUBSYS": "INIT,NET", **env, "PYTHONUNBUFFERED": "1"}
    words = f"{shlex.quote(program('all_reduce.py'))} {shlex.quote(json.dumps(spec, separators=(',', ':')))}"
    span = f"ranks {rank.first} to {rank.first + rank.procs - 1} of {world}"
    shown = f"(torch.distributed all_reduce: {backend}, {span})"
    text = f"exec env {remote.environment(own)} {python} -I -c {words}\n"
    return Cmd(key, text, timeout=MEET + REDUCE[backend] + 60, show=shown)


def told(result: Result | None) -> Told:
    if result is None:
        return Told(problem="was not run")
    lines = [line.strip() for line in result.lines if line.strip()]
    speed = next((line.removeprefix("all_reduce: ") for line in lines if line.startswith("all_reduce: ")), "")
    number = re.search(r"bus bandwidth ([\d.]+) GB/s", speed)
    problem = ""
    if not result.ok:
        named = [x for x in lines if re.match(r"rank \d+: (failed|no end)", x)]
        problem = (named or lines or [result.reason])[-1]
    return Told(
        speed,
        float(number[1]) if number else 0.0,
        _after(lines, "NCCL network: "),
        _after(lines, "NCCL channels: "),
        problem,
        _after(lines, "NCCL GPU Direct RDMA: "),
        next((line.removeprefix("NCCL: ") for line in lines if line.startswith("NCCL: NET/")), ""),
    )


def _after(lines: Sequence[str], start: str) -> str:
    return next((line.removeprefix(start) for line in lines if line.startswith(start)), "")
