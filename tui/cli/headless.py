"""A live walk without a screen: answers from the cluster file, a plain log, the same gates."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from tui.cli.lab import lab_of
from tui.cli.plain import PlainReport
from wizard_steps.cluster.file import Cluster, load
from wizard_steps.engine.decide import FileDecider, GivenAnswer
from wizard_steps.engine.engine import Engine
from wizard_steps.engine.step import Step
from wizard_steps.node import api_key
from wizard_steps.persist import Persist
from wizard_steps.plan import optional, plan_for
from wizard_steps.recording import events as ev
from wizard_steps.recording.state import State
from wizard_steps.session import LiveWalk

CODES: dict[ev.Outcome, int] = {"passed": 0, "listed": 0, "failed": 1, "stopped": 1, "interrupted": 130}


def run_headless(args: argparse.Namespace) -> int:
    """Walk, print, and return the exit status."""
    return asyncio.run(_run(args))


async def _run(args: argparse.Namespace) -> int:
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    assert task is not None
    for sign in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(sign, task.cancel)
    try:
        async with cluster_of(args) as cluster:
            return await _walk(cluster, args, _steps(cluster, args))
    except asyncio.CancelledError:
        print("milepost: interrupted; what was started on the nodes keeps running (`milepost down` ends it)")
        return 130


@contextlib.asynccontextmanager
async def cluster_of(args: argparse.Namespace) -> AsyncIterator[Cluster]:
    """The cluster the command line asks for: the embedded lab for its lifetime, or a file."""
    if args.lab:
        async with lab_of(args)() as lab:
            yield lab.cluster
    else:
        cluster = load(args.cluster or Path("milepost.toml"))
        yield args.change(cluster) if hasattr(args, "change") else cluster


def also(args: argparse.Namespace) -> list[str]:
    """The optional milestones that are asked for, or at which a fault of the lab is found."""
    from wizard_steps.lab.faults import find

    load = args.load or (args.lab and args.fault and find(args.fault).gate == "load")
    return [*(["load"] if load else []), *(["units"] if getattr(args, "services", False) else [])]


def _steps(cluster: Cluster, args: argparse.Namespace) -> list[Step]:
    """The milestones that the command line asks for; none where it is the cluster's own plan."""
    alone: list[Step] = getattr(args, "steps", [])
    more = optional(*also(args))
    return alone or ([*plan_for(cluster), *more] if more else [])


def _decider(args: argparse.Namespace) -> FileDecider:
    """A command's own, else the cluster file, and --on-difference where what runs has other values."""
    from wizard_steps.milestones.running import DIFFERS

    given: FileDecider | None = getattr(args, "decider", None)
    return given or GivenAnswer(DIFFERS, getattr(args, "on_difference", "") or "")


async def _walk(cluster: Cluster, args: argparse.Namespace, steps: Sequence[Step]) -> int:
    from wizard_steps.transport.ssh_ask import NoAsker

    if not args.dry_run:
        api_key.check(cluster)
    walk = LiveWalk(
        cluster,
        args.walk,
        dry=args.dry_run,
        take_over=args.take_over,
        new=getattr(args, "again", False),
        file=args.cluster,
        steps=steps,
    )
    report = PlainReport(walk.journal.spool, verbose=not args.quiet)
    if args.dry_run and args.walk is None:
        print("dry run: nothing is written, here or on a node; --walk DIR keeps a recording", flush=True)
    else:
        print(f"recording to {walk.folder}", flush=True)

    writes = getattr(args, "on_difference", "") == "write" and not (args.lab or args.dry_run)
    persist = Persist(args.cluster or Path("milepost.toml")) if writes else None

    def on_event(event: ev.AnyEvent, state: State) -> None:
        report(event, state)
        if persist is not None:
            persist(event, state)
        walk.evidence(event, state)
        if isinstance(event, ev.WalkEnded) and (text := walk.handover(state)):
            print(f"\n{text}", end="", flush=True)

    try:
        engine = walk.engine(_decider(args), NoAsker(), on_event)
        outcome = await engine.walk(gated=not args.dry_run)
    finally:
        await walk.close()
    if args.dry_run:
        return _listed(outcome, engine, steps)
    return CODES.get(outcome, 1)


def _listed(outcome: ev.Outcome, engine: Engine, steps: Sequence[Step]) -> int:
    """The end of a dry run. Where a node did not answer, the rest comes from the cluster file alone."""
    if outcome == "failed":
        from tui.cli.plan import as_text
        from wizard_steps.planning import plan

        print("\nThe dry run ends here: a node does not answer, so nothing more was asked or judged.")
        print("What a walk would run, from the cluster file alone:\n")
        print("\n".join(as_text(plan(engine.cluster, steps=steps))), flush=True)
    bad = any(step.status == "failed" for step in engine.state.steps)
    return 1 if bad else CODES.get(outcome, 1)
