"""`milepost top`: what GPUs, engines and the server's log do now, over SSH."""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from pathlib import Path
from typing import Any

from tui.cli.door import needs_screen
from wizard_steps.cluster.file import Cluster, load
from wizard_steps.errors import UsageError

#: Seconds that `--once` waits for nodes that do not answer.
_LIMIT = 20.0


def add(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "top",
        help="a live page: GPUs, engines, the server's log; --once --json for scripts",
        description="Shows every GPU (use, memory, power, temperature, clock) and every engine (requests, "
        "tokens/s, TTFT, KV cache, preemptions), and the server's log with what the diagnosis finds in it. "
        "Reads only, over SSH; a connection that is cut is opened again. "
        "--once: exit status 0 when all is well, 1 when something is wrong.",
    )
    parser.add_argument("cluster", nargs="?", type=Path, default=Path("milepost.toml"))
    parser.add_argument("--once", action="store_true", help="look once, print, and end")
    parser.add_argument("--json", action="store_true", help="with --once: as JSON")
    parser.add_argument("--every", type=_every, default=1.0, metavar="SECONDS", help="between two samples")
    parser.add_argument(
        "--export",
        type=Path,
        metavar="DIR",
        help="write a Prometheus scrape file and a Grafana dashboard; GPUs need dcgm-exporter on the nodes",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    cluster = load(args.cluster)
    if args.json and not args.once:
        raise UsageError("--json goes with --once")
    if args.export is not None:
        return export(cluster, args.export)
    if args.once:
        return asyncio.run(look(cluster, args.json, args.every))
    needs_screen("use --once, with --json for scripts")
    from tui.app.top_app import TopApp

    TopApp(cluster, args.every).run()
    return 0


def export(cluster: Cluster, folder: Path) -> int:
    """Writes both files; what is there already is not overwritten."""
    from wizard_steps.monitor.export import NEEDED, files

    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files(cluster).items():
            with (folder / name).open("x", encoding="utf-8") as file:
                file.write(text)
            print(f"wrote {folder / name}")
        print(NEEDED)
    except FileExistsError as error:
        raise UsageError(f"{error.filename}: is there already; name another folder") from None
    except OSError as error:
        raise UsageError(f"{error.filename}: cannot be written: {error.strerror}") from None
    return 0


async def look(cluster: Cluster, as_json: bool, every: float) -> int:
    from wizard_steps.monitor import board as boards
    from wizard_steps.monitor.watch import Watch, once
    from wizard_steps.transport.over_ssh import cleaned

    transport = cleaned(cluster)
    board = boards.new(cluster)
    try:
        await once(Watch(cluster, transport, board, every), _LIMIT + 2 * every)
    finally:
        await transport.close()
    now = time.monotonic()
    if as_json:
        print(json.dumps(boards.as_json(board, now), indent=2))
    else:
        print(boards.as_text(board, now), end="")
    return 0 if board.healthy else 1


def _every(text: str) -> float:
    value = float(text)
    if not 0.2 <= value <= 3600:
        raise argparse.ArgumentTypeError(f"{text} is not from 0.2 to 3600 seconds")
    return value
