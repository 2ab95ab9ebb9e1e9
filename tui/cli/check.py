"""``milepost check``: gather facts from every node, read-only, and judge them before anything is started."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from tui.cli.door import outside
from wizard_steps.cluster.file import Cluster, load
from wizard_steps.engine.transport import Transport
from wizard_steps.facts.judge import Report, judge
from wizard_steps.facts.render import as_json, as_text
from wizard_steps.transport.over_ssh import cleaned


def add(subparsers: Any) -> None:
    """Add the command to an argparse subparsers object."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "check",
        help="look at every node before you start (read-only)",
        description="Gathers facts from all nodes at the same time and judges them. Changes nothing. "
        "Exit status: 0 nothing fails, 1 something fails, 2 wrong usage.",
    )
    parser.add_argument("cluster", nargs="?", default="milepost.toml", help="cluster file (milepost.toml)")
    parser.add_argument("--json", action="store_true", help="print the full report as JSON")
    parser.add_argument(
        "--weights", type=_gib, default=0.0, metavar="GIB", help="size of the model, to judge the disks by"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    cluster = load(Path(args.cluster))
    report = asyncio.run(over_ssh(cluster, int(args.weights * (1 << 20)), quiet=args.json))
    if args.json:
        print(json.dumps(as_json(report), indent=2))
    else:
        print("\n".join(as_text(report)))
    return 0 if report.passed else 1


async def check(transport: Transport, cluster: Cluster, weights_kib: int = 0, quiet: bool = True) -> Report:
    """Gather over any transport and judge. Progress goes to stderr unless ``quiet``."""
    from wizard_steps.facts.gather import gather

    total, done = len(cluster.node_list), 0

    def told(name: str, _: object) -> None:
        nonlocal done
        done += 1
        print(f"\r{done} of {total} nodes asked", end="", file=outside(sys.stderr), flush=True)

    show = not quiet and sys.stderr.isatty()
    facts = await gather(transport, cluster, told if show else None)
    if show:
        print("\r\x1b[K", end="", file=outside(sys.stderr), flush=True)
    return judge(facts, cluster, weights_kib)


async def over_ssh(cluster: Cluster, weights_kib: int = 0, quiet: bool = True) -> Report:
    """Gather from the nodes of a cluster file; nobody is asked for host keys or passwords."""
    transport = cleaned(cluster)
    try:
        return await check(transport, cluster, weights_kib, quiet)
    finally:
        await transport.close()


def _gib(text: str) -> float:
    value = float(text)
    if not 0 <= value < 1e6:
        raise argparse.ArgumentTypeError(f"{text} is not a size in GiB")
    return value
