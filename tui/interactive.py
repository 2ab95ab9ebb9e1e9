"""The wizard on a terminal: puts the cluster, the lab and the app together."""

from __future__ import annotations

import argparse
from pathlib import Path

from tui.live import LiveWalk
from wizard_steps.cluster import load


def run_interactive(args: argparse.Namespace) -> int:
    """Run the Textual app and return its exit status."""
    from tui.app import MilepostApp

    if args.lab:
        return MilepostApp(None, None, lab=True, folder=args.walk).start()
    path = args.cluster or Path("milepost.toml")
    if not path.exists():
        return MilepostApp(None, path, folder=args.walk).start()
    return MilepostApp(LiveWalk(load(path), args.walk), path).start()
