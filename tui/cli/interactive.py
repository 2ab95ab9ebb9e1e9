"""The wizard on a terminal: puts the cluster, the lab, the diagnosis and the app together."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wizard_steps.cluster.file import load
from wizard_steps.session import LiveWalk

if TYPE_CHECKING:
    from tui.app.session import WalkSession
    from wizard_steps.recording.state import State


def why(state: State, session: WalkSession) -> Sequence[Any]:
    """The findings shown beside a failed gate."""
    from wizard_steps.diagnose.explain import findings_of

    return findings_of(state, state.current, session.spool)


def run_interactive(args: argparse.Namespace) -> int:
    """Run the Textual app and return its exit status."""
    from tui.app.app import MilepostApp
    from tui.app.life import live_walk

    if args.lab:
        from wizard_steps.lab import Lab
        from wizard_steps.lab.faults import find

        if args.fault:
            find(args.fault)
        lab = partial(
            Lab.start, fault=args.fault, keep=args.keep, executor=args.executor, replicas=args.replicas
        )
        return MilepostApp(None, None, lab=lab, folder=args.walk, diagnose=why).start()
    path = args.cluster or Path("milepost.toml")
    if not path.exists():
        factory = partial(live_walk, take_over=args.take_over)
        return MilepostApp(None, path, folder=args.walk, engine_factory=factory, diagnose=why).start()
    walk = LiveWalk(load(path), args.walk, take_over=args.take_over, file=path)
    return MilepostApp(walk, path, diagnose=why).start()
