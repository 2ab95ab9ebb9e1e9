"""The wizard on a terminal: puts the cluster, the lab, the diagnosis and the app together."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tui.live import LiveWalk
from wizard_steps.cluster import load

if TYPE_CHECKING:
    from tui.tui_session import WalkSession
    from wizard_steps.session import State


def why(state: State, session: WalkSession) -> Sequence[Any]:
    """The findings shown beside a failed gate."""
    from wizard_steps.explain import findings_of

    return findings_of(state, state.current, session.spool)


def run_interactive(args: argparse.Namespace) -> int:
    """Run the Textual app and return its exit status."""
    from tui.app import MilepostApp
    from tui.tui_life import live_walk

    if args.lab:
        return MilepostApp(None, None, lab=True, folder=args.walk, diagnose=why).start()
    path = args.cluster or Path("milepost.toml")
    if not path.exists():
        factory = partial(live_walk, take_over=args.take_over)
        return MilepostApp(None, path, folder=args.walk, engine_factory=factory, diagnose=why).start()
    return MilepostApp(LiveWalk(load(path), args.walk, take_over=args.take_over), path, diagnose=why).start()
