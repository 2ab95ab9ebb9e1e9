"""`milepost down`: ends what milepost started on the nodes, found by identity, and only that."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from wizard_steps.cluster.file import Cluster, load
from wizard_steps.engine.transport import Transport
from wizard_steps.model import Cmd, Exit, Node, Work
from wizard_steps.transport.over_ssh import cleaned


def add(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "down",
        help="end what milepost started on the nodes, and only that",
        description="Ends the processes milepost started for this cluster file (vLLM, then the workers' Ray, "
        "then the head's). Logs stay in ~/.milepost/NAME on the nodes; the virtual environment stays.",
    )
    parser.add_argument("cluster", nargs="?", type=Path, default=Path("milepost.toml"))
    parser.add_argument("--dry-run", action="store_true", help="only list what would be ended")
    parser.add_argument(
        "--take-over", action="store_true", help="even while another wizard holds this cluster"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    return asyncio.run(down(load(args.cluster), dry=args.dry_run, take_over=args.take_over))


def undo(cluster: Cluster) -> list[Sequence[Work]]:
    """What ends each milestone, the last one first."""
    from wizard_steps.engine.step import Known
    from wizard_steps.plan import OPTIONAL, plan_for

    known = Known(cluster)
    return [step.undo(known) for step in reversed([*plan_for(cluster), *(kind() for kind in OPTIONAL)])]


async def down(cluster: Cluster, dry: bool = False, take_over: bool = False) -> int:
    """Undo each milestone, last first. Returns 1 when something could not be ended or reached.

    Raises LockHeld while another wizard walks this cluster.
    """
    from wizard_steps.transport.locked import Locked

    transport = Locked(cleaned(cluster), cluster, take_over)
    failed = False
    try:
        for work in undo(cluster):
            if dry:
                for node, cmd in work:
                    print(f"{node.name}: {cmd.show or cmd.text}")
                continue
            answers = await asyncio.gather(*(one(transport, node, cmd) for node, cmd in work))
            failed = failed or not all(answers)
    finally:
        await transport.close()
    return 1 if failed else 0


async def one(transport: Transport, node: Node, cmd: Cmd) -> bool:
    """Run it and print what it said; whether it ended well."""
    text = ""
    try:
        async with (
            asyncio.timeout(cmd.timeout),
            aclosing(transport.run(node, replace(cmd, until=None))) as stream,
        ):
            async for item in stream:
                if isinstance(item, Exit):
                    print(f"{node.name}: {text.strip() or item.detail or f'exit {item.code}'}", flush=True)
                    return item.code == 0
                text += item.data.decode("utf-8", "replace")
    except TimeoutError:
        print(f"{node.name}: no answer within {cmd.timeout:.0f} s", flush=True)
    return False
