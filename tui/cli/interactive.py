"""The wizard on a terminal: puts the cluster, the lab, the diagnosis and the app together."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tui.cli.headless import also
from wizard_steps.cluster.file import load
from wizard_steps.plan import optional, plan_for
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
        lab = partial(Lab.start, fault=args.fault, keep=args.keep)
        factory = partial(live_walk, also=also(args))
        return MilepostApp(
            None, None, lab=lab, folder=args.walk, engine_factory=factory, diagnose=why
        ).start()
    path = args.cluster or Path("milepost.toml")
    if not path.exists():
        factory = partial(live_walk, take_over=args.take_over, also=also(args))
        return MilepostApp(None, path, folder=args.walk, engine_factory=factory, diagnose=why).start()
    cluster = load(path)
    steps = [*plan_for(cluster), *optional(*also(args))]
    walk = LiveWalk(cluster, args.walk, take_over=args.take_over, file=path, steps=steps)
    return MilepostApp(walk, path, diagnose=why).start()
