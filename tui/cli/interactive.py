"""The wizard on a terminal: puts the cluster, the lab, the diagnosis and the app together."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tui.cli.headless import also
from tui.cli.lab import lab_of
from wizard_steps.cluster.file import load

#: A cluster of more machines is not edited in a form: its plan comes at once.
FORM_NODES = 32

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
        from wizard_steps.lab.faults import find

        if args.fault:
            find(args.fault)
        lab = lab_of(args)
        factory = partial(live_walk, also=also(args))
        app = MilepostApp(
            None,
            None,
            lab=lab,
            folder=args.walk,
            engine_factory=factory,
            diagnose=why,
            plan=not args.yes,
            also=also(args),
        )
        return app.start()
    path = args.cluster or Path("milepost.toml")
    # A file with a mistake is told before there is a screen, with its line.
    cluster = load(path) if path.exists() else None
    known = cluster is not None and (args.yes or len(cluster.nodes) > FORM_NODES)
    factory = partial(live_walk, take_over=args.take_over, also=also(args), file=path)
    return MilepostApp(
        None,
        path,
        folder=args.walk,
        engine_factory=factory,
        diagnose=why,
        cluster=cluster if known else None,
        plan=not args.yes,
        also=also(args),
    ).start()
