"""`milepost expected WALK [STEP]`: today's expected text against what a recording really printed."""

from __future__ import annotations

import argparse
import difflib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tui.cli.files import write_text
from wizard_steps.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from wizard_steps.recording.journal import Walk
    from wizard_steps.recording.state import Run, State
    from wizard_steps.walks.accept import Seen

EXAMPLES = """\
examples:
  milepost expected WALK                    what would change, as a diff
  milepost expected WALK smi --accept       take the real output of one milestone
"""


def add(subparsers: Any) -> None:
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "expected",
        help="compare or take a recording's real output into the expected files",
        description="Lines and patterns that still match stay; lines that are missing give way to what was "
        "really printed. A milestone whose facts failed is left alone. Exit status: 0 nothing to change or "
        "accepted, 1 something would change.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("walk", type=Path, metavar="WALK")
    parser.add_argument("step", nargs="?", default="", metavar="STEP", help="this milestone only")
    parser.add_argument("--accept", action="store_true", help="write the expected files")
    parser.add_argument(
        "--into", type=Path, metavar="DIR", help="where they are (default: snapshots/expected)"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from wizard_steps.engine import expected
    from wizard_steps.recording.journal import load
    from wizard_steps.recording.state import fold
    from wizard_steps.walks.renamed import in_todays_names
    from wizard_steps.walks.replay import cluster_of, plan_of

    walk = load(args.walk)
    walk = in_todays_names(walk, plan_of(walk, cluster_of(walk)))
    state = fold(walk.events)
    folder = args.into or expected.SNAPSHOTS / "expected"
    judged = [step.id for step in state.steps if step.verdict is not None]
    if args.step and args.step not in judged:
        raise UsageError(f"{args.step}: the walk has no verdict on it. It has {', '.join(judged)}")
    changed = 0
    for step in [args.step] if args.step else judged:
        changed += _step(walk, state, step, folder / f"{step}.md", args.accept)
    if not changed:
        print("everything expected is still there")
    return 0 if args.accept or not changed else 1


def _step(walk: Walk, state: State, step: str, path: Path, write: bool) -> bool:
    """Whether the file of a step changes; prints how."""
    from wizard_steps.engine import expected

    verdict = state.step(step).verdict
    facts = [c for c in verdict.failures if c.name not in expected.EXPECTED] if verdict else []
    if facts:
        print(f"{step}: left alone: its gate failed on a fact ({facts[0].name}: {facts[0].found})")
        return False
    try:
        old = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror or error}") from None
    new = _new_text(walk, state, step, path, old)
    if new == old:
        return False
    lines = difflib.unified_diff(old.splitlines(), new.splitlines(), str(path), str(path), lineterm="", n=2)
    print("\n".join(lines))
    if write:
        write_text(path, new)
        print(f"{path}: written")
    return True


def _new_text(walk: Walk, state: State, step_id: str, path: Path, old: str) -> str:
    from wizard_steps.engine import expected
    from wizard_steps.engine.step import Known
    from wizard_steps.model import WIZARD
    from wizard_steps.walks import accept
    from wizard_steps.walks.replay import cluster_of, plan_of

    cluster = cluster_of(walk)
    step = next((one for one in plan_of(walk, cluster) if one.id == step_id), None)
    if step is None:
        return old
    verdict = state.step(step_id).verdict
    known = Known(cluster, {**state.facts, **(verdict.facts if verdict else {})})
    document = expected.parse(old, str(path))
    expected.check(document, step.keys, step.variables(known, known.head))
    today = document.on(step.ways(known))
    seen: dict[int, list[Seen]] = {}
    for run in {(run.node, run.key): run for run in state.runs_of(step_id)}.values():
        node = next((n for n in (*cluster.node_list, WIZARD) if n.name == run.node), None)
        block = today.block(run.key, node) if node else None
        if node and block:
            seen.setdefault(block.line, []).append(_seen(walk, run, step.variables(known, node)))

    def change(line: int, lines: list[str]) -> list[str]:
        found = seen.get(line, [])
        if not any(accept.missing([x for x in lines if x.strip()], one) for one in found):
            return lines
        return accept.accept(lines, found)

    return accept.with_blocks(old, change)


def _seen(walk: Walk, run: Run, variables: Mapping[str, str]) -> Seen:
    from wizard_steps.walks.accept import Seen

    data = walk.read(run.spool, run.start or 0, run.end or 0) if run.end else b""
    return Seen(tuple(data.decode("utf-8", "replace").splitlines()), variables)
