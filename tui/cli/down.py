"""`milepost down`: ends what milepost started on the nodes, found by identity, and only that."""

from __future__ import annotations

import argparse
import asyncio
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from wizard_steps.cluster.file import Cluster, load
from wizard_steps.engine.transport import Transport
from wizard_steps.model import Cmd, Exit, Node, Work
from wizard_steps.node.container import BEFORE_REMOVAL
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


#: What a node answers where there was nothing to end.
NOTHING = ("nothing of ours runs", "no units of this cluster")


class Ended:
    """Prints what was ended where; once for a node that nothing at all of ours ran there."""

    def __init__(self) -> None:
        self._told: dict[str, bool] = {}
        self._refused: set[tuple[str, str]] = set()

    def say(self, node: str, what: str, words: str) -> None:
        """``what`` was to be ended, and what the node said of it."""
        nothing = words in NOTHING
        self._told[node] = self._told.get(node, False) or not nothing
        if not nothing:
            print(f"{node}: {what}: {words}" if what else f"{node}: {words}", flush=True)

    def refuse(self, node: str, words: str) -> None:
        """Nothing was asked of the node; the same reason is said once, not for each milestone."""
        self._told[node] = True
        if (node, words) not in self._refused:
            self._refused.add((node, words))
            print(f"{node}: {words}", flush=True)

    def close(self) -> None:
        """The nodes that had nothing."""
        for node, told in self._told.items():
            if not told:
                print(f"{node}: nothing of ours runs", flush=True)


def undo(cluster: Cluster) -> list[list[tuple[str, Work]]]:
    """What ends each milestone, the last one first; each with the words for what it ends."""
    from wizard_steps.engine.step import Known
    from wizard_steps.plan import OPTIONAL, plan_for

    known = Known(cluster)
    steps = reversed([*plan_for(cluster), *(kind() for kind in OPTIONAL)])
    return [[(step.leaves_running(known, w[0]) or step.title, w) for w in step.undo(known)] for step in steps]


async def down(cluster: Cluster, dry: bool = False, take_over: bool = False) -> int:
    """Undo each milestone, last first. Returns 1 when something could not be ended or reached.

    Raises LockHeld while another wizard walks this cluster.
    """
    from wizard_steps.transport.locked import Locked

    transport = Locked(cleaned(cluster), cluster, take_over)
    failed, ended = False, Ended()
    try:
        for work in undo(cluster):
            if dry:
                for what, (node, cmd) in work:
                    print(f"{node.name}: {what}: {cmd.show or cmd.text}")
                continue
            answers = await asyncio.gather(*(one(transport, *w, ended, what) for what, w in work))
            failed = failed or not all(answers)
        ended.close()
    finally:
        await transport.close()
    return 1 if failed else 0


async def one(transport: Transport, node: Node, cmd: Cmd, ended: Ended | None = None, what: str = "") -> bool:
    """Run what ends ``what``, and print what the node said; whether it ended well."""
    text, ended = "", ended or Ended()
    say = partial(ended.say, node.name, what)
    try:
        async with (
            asyncio.timeout(cmd.timeout),
            aclosing(transport.run(node, replace(cmd, until=None))) as stream,
        ):
            async for item in stream:
                if isinstance(item, Exit):
                    if not text.strip() and item.detail:
                        ended.refuse(node.name, item.detail)
                    else:
                        # The state of a container is for recordings.
                        lines = [x for x in text.splitlines() if not x.startswith(BEFORE_REMOVAL)]
                        say("\n".join(lines).strip() or f"exit {item.code}")
                    return item.code == 0
                text += item.data.decode("utf-8", "replace")
    except TimeoutError:
        say(f"no answer within {cmd.timeout:.0f} s")
    return False
