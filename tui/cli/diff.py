"""`milepost diff A B`: what changed between two recordings, the most likely culprit first."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add(subparsers: Any) -> None:
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "diff",
        help="it worked yesterday: what changed between two recordings, likely culprits first",
        description="Compares versions, digests, drivers, GPUs, addresses, settings, commands and times per "
        "node. Exit status: 0 nothing differs, 1 something does, 2 a walk cannot be read.",
    )
    parser.add_argument("before", type=Path, metavar="WALK_A", help="the one that worked")
    parser.add_argument("after", type=Path, metavar="WALK_B", help="the one that did not")
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    parser.add_argument("--all", action="store_true", help="all changes, including the unlikely ones")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    import json

    from tui.cli.replays import heading
    from wizard_steps.recording.journal import load
    from wizard_steps.walks import diff, diff_lines
    from wizard_steps.walks.shipped import find

    before, after = load(find(args.before)), load(find(args.after))
    found = diff.diff(before, after)
    if args.json:
        print(json.dumps(diff_lines.as_json(found), indent=1))
    else:
        print(f"A  {heading(before.folder, before.meta)}\nB  {heading(after.folder, after.meta)}\n")
        print("\n".join(diff_lines.as_lines(found, len(found.changes) if args.all else 20)))
    return 0 if found.empty else 1
