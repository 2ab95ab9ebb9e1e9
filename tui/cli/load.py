"""`milepost load`: how fast the served model is under load, and whether every node, GPU and engine works."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from wizard_steps.cluster.file import Cluster

#: Seconds of each unit of a duration.
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600}


def add(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "load",
        help="measure the running server: tokens/s, TTFT, TPOT, and whether all GPUs work",
        description="Sends requests to the server that runs (with `vllm bench serve` of the nodes' own vLLM, "
        "else with milepost's own client) while every node samples its GPUs. Fails where a node, a GPU or an "
        "engine did nothing, a request failed, or a limit of [load] in the cluster file was missed. "
        "Recorded; `milepost diff` compares two of them.",
    )
    parser.add_argument("cluster", nargs="?", type=Path, help="cluster file (default: ./milepost.toml)")
    parser.add_argument(
        "--concurrency", type=_counts, metavar="N,N…", help="requests at the same time (default: [load])"
    )
    parser.add_argument(
        "--soak", type=_seconds, metavar="TIME", help="steady load after that, e.g. 10m (default: [load])"
    )
    parser.add_argument(
        "--walk", type=Path, metavar="DIR", help="where to record (default: milepost-walks/…)"
    )
    parser.add_argument("--dry-run", action="store_true", help="list every command and its node")
    parser.add_argument("--take-over", action="store_true", help="although another wizard holds this cluster")
    parser.add_argument("--quiet", action="store_true", help="verdict and failures only")
    parser.set_defaults(run=run, lab=False, load=False)


def run(args: argparse.Namespace) -> int:
    from tui.cli.headless import run_headless
    from wizard_steps.plan import optional

    args.steps = optional("load")
    args.change = lambda cluster: changed(cluster, args.concurrency, args.soak)
    return run_headless(args)


def changed(cluster: Cluster, concurrency: tuple[int, ...] | None, soak: int | None) -> Cluster:
    """The cluster with what the command line says of the load."""
    load = cluster.load
    load = replace(load, concurrency=concurrency) if concurrency else load
    return replace(cluster, load=replace(load, soak=soak) if soak is not None else load)


def _counts(text: str) -> tuple[int, ...]:
    words = [word.strip() for word in text.split(",")]
    if not all(re.fullmatch(r"[1-9][0-9]{0,3}", word) and int(word) <= 4096 for word in words):
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of numbers from 1 to 4096, e.g. 1,8,32")
    return tuple(dict.fromkeys(int(word) for word in words))


def _seconds(text: str) -> int:
    found = re.fullmatch(r"([0-9]{1,6})([smh]?)", text.strip())
    seconds = int(found[1]) * _UNITS[found[2]] if found else -1
    if not 0 <= seconds <= 604_800:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time up to 7 days, e.g. 90s, 10m, 2h")
    return seconds
