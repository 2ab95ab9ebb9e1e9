"""`milepost bundle`: one redacted archive for a ticket."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from wizard_steps.errors import UsageError


def add(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "bundle",
        help="pack a walk, its diagnosis and the nodes' facts into one redacted archive for a ticket",
        description="Packs a recorded walk with a summary, the diagnosis, ray status, the first part of "
        "vLLM's output and what the nodes reported about themselves. Prints what it holds and what was "
        "redacted.",
    )
    parser.add_argument(
        "walk", nargs="?", type=Path, help="walk folder (default: the newest in milepost-walks/)"
    )
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="default: WALK-bundle.tar.gz")
    parser.add_argument("--cluster", type=Path, metavar="FILE", help="also gather fresh facts from its nodes")
    parser.set_defaults(run=run)


def newest(base: Path = Path("milepost-walks")) -> Path:
    """The walk that was recorded last. Raises UsageError when there is none."""
    found = [path.parent for path in base.glob("*/meta.json")] if base.is_dir() else []
    if not found:
        raise UsageError(f"{base}: no walk here; name its folder")
    return max(found, key=lambda path: path.stat().st_mtime)


def run(args: argparse.Namespace) -> int:
    from wizard_steps.recording.journal import load
    from wizard_steps.recording.redact import Redactor
    from wizard_steps.walks.bundle import write
    from wizard_steps.walks.shipped import find

    folder = find(args.walk) if args.walk else newest()
    walk = load(folder)
    target = args.output or Path(f"{folder.resolve().name}-bundle.tar.gz")
    if target.exists():
        raise UsageError(f"{target}: is there already; name another file with -o")
    fresh = _fresh(args.cluster) if args.cluster else None
    lines = write(walk, target, Redactor.from_environment(), fresh)
    print(f"{target}: {target.stat().st_size:,} bytes, readable by you alone. It holds:")
    print("\n".join(f"  {line}" for line in lines))
    return 0


def _fresh(path: Path) -> dict[str, str]:
    import asyncio

    from tui.cli.check import over_ssh
    from wizard_steps.cluster.file import load
    from wizard_steps.facts.render import as_text

    report = asyncio.run(over_ssh(load(path)))
    return {"check.txt": "\n".join(as_text(report)) + "\n"}
