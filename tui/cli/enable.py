"""`milepost enable` and `disable`: Ray and vLLM as systemd services, proved; and how to be rid of them."""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path
from typing import Any

from wizard_steps.cluster.file import Cluster, load
from wizard_steps.engine.decide import GivenAnswer
from wizard_steps.errors import UsageError
from wizard_steps.milestones.reboot import NO_LAB, WHICH


def add(subparsers: Any) -> None:
    enable = subparsers.add_parser(
        "enable",
        help="make systemd services of what runs, so that it survives a reboot; each one is tested",
        description="Walks all milestones, writes systemd units for Ray and vLLM on every node, starts them "
        "in place of what runs, restarts each of them, and walks the gates again. --dry-run shows the units "
        "and changes nothing. HF_TOKEN and VLLM_API_KEY of the environment go into a file that only your "
        "user on the nodes can read. On the Docker path each service starts its container (with Ray in it "
        "not seen yet by milepost's own tests under real systemd).",
    )
    enable.add_argument("cluster", nargs="?", type=Path, help="cluster file (default: ./milepost.toml)")
    enable.add_argument(
        "--reboot-test", metavar="NODE", default="", help="reboot this node as well, for real"
    )
    enable.add_argument(
        "--walk", type=Path, metavar="DIR", help="where to record (default: milepost-walks/…)"
    )
    enable.add_argument("--dry-run", action="store_true", help="show what would be written; change nothing")
    enable.add_argument("--take-over", action="store_true", help="although another wizard holds this cluster")
    enable.add_argument("--quiet", action="store_true", help="verdicts and failures only")
    enable.set_defaults(run=run, lab=False, load=False, fault="")
    disable = subparsers.add_parser(
        "disable",
        help="stop and remove the services that `milepost enable` made, and only them",
        description="On every node: stops and disables the units of this cluster and removes them, their "
        "scripts and the file with the secrets. What runs in them ends. Logs and the environment stay.",
    )
    disable.add_argument("cluster", nargs="?", type=Path, default=Path("milepost.toml"))
    disable.add_argument(
        "--take-over", action="store_true", help="although another wizard holds this cluster"
    )
    disable.set_defaults(run=run_disable)


def run(args: argparse.Namespace) -> int:
    from tui.cli.headless import run_headless
    from wizard_steps.milestones.reboot import Reboot
    from wizard_steps.milestones.units import Units
    from wizard_steps.plan import plan_for

    cluster = load(args.cluster or Path("milepost.toml"))
    if args.reboot_test and cluster.simulated:
        raise UsageError(f"--reboot-test {args.reboot_test}: {NO_LAB}")
    names = [node.name for node in cluster.node_list]
    if args.reboot_test and args.reboot_test not in names:
        raise UsageError(f"--reboot-test {args.reboot_test}: no such node; there are {', '.join(names)}")
    args.steps = [*plan_for(cluster), Units(), *([Reboot()] if args.reboot_test else [])]
    args.decider = GivenAnswer(WHICH, args.reboot_test)
    code = run_headless(args)
    if code or args.dry_run:
        return code
    print("\nThe gates again, with the services:", flush=True)
    args.steps, args.again = [], True
    return run_headless(args)


def run_disable(args: argparse.Namespace) -> int:
    return asyncio.run(_disable(load(args.cluster), args.take_over))


async def _disable(cluster: Cluster, take_over: bool) -> int:
    from tui.cli.down import one
    from wizard_steps.node import units
    from wizard_steps.transport.locked import Locked
    from wizard_steps.transport.over_ssh import cleaned

    transport = Locked(cleaned(cluster), cluster, take_over)
    try:
        # The head last: what hangs on it ends first.
        for nodes in (cluster.workers, (cluster.head,)):
            work = [one(transport, node, units.remove(cluster, node)) for node in nodes]
            if not all(await asyncio.gather(*work)):
                return 1
    finally:
        await transport.close()
    return 0
