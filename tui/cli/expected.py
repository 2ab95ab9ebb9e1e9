"""`milepost expected WALK [STEP]`: today's expected text against what a recording really printed."""

from __future__ import annotations

import argparse
import difflib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tui.cli.files import write_text
from wizard_steps.errors import UsageError

if TYPE_CHECKING:
    from wizard_steps.model import Node
    from wizard_steps.recording.journal import Walk
    from wizard_steps.recording.state import State
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

    walk = load(args.walk)
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
    verdict = state.step(step).verdict
    facts = [c for c in verdict.failures if c.name != "expected line"] if verdict else []
    if facts:
        print(f"{step}: left alone: its gate failed on a fact ({facts[0].name}: {facts[0].found})")
        return False
    try:
        old = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror or error}") from None
    new = _new_text(walk, state, step, old)
    if new == old:
        return False
    lines = difflib.unified_diff(old.splitlines(), new.splitlines(), str(path), str(path), lineterm="", n=2)
    print("\n".join(lines))
    if write:
        write_text(path, new)
        print(f"{path}: written")
    return True


def _new_text(walk: Walk, state: State, step: str, old: str) -> str:
    from wizard_steps.walks import accept
    from wizard_steps.walks.replay import cluster_of

    cluster = cluster_of(walk)
    roles = {node.name: node for node in cluster.node_list}
    specific = {(line.split()[1], line.split()[2]) for line in old.splitlines() if _has_role(line)}

    def change(key: str, role: str, lines: list[str]) -> list[str]:
        nodes = [n for n in roles.values() if role in ("", n.role)]
        nodes = [n for n in nodes if role or (key, n.role) not in specific]
        seen = [found for n in nodes if (found := _seen(walk, state, step, key, n))]
        if not seen or not any(accept.missing([x for x in lines if x.strip()], node) for node in seen):
            return lines
        try:
            return accept.accept(lines, seen)
        except KeyError as error:
            raise UsageError(f"{step}: {key}: no step provides the variable {error}") from None

    return accept.with_blocks(old, change)


def _has_role(line: str) -> bool:
    words = line.partition("[")[0].split()
    return words[:1] == ["```expect"] and len(words) == 3


def _seen(walk: Walk, state: State, step: str, key: str, node: Node) -> Seen | None:
    from wizard_steps.engine.step import Known
    from wizard_steps.plan import plan_for
    from wizard_steps.walks.accept import Seen
    from wizard_steps.walks.replay import cluster_of

    runs = [run for run in state.runs_of(step, node.name) if run.key == key]
    if not runs:
        return None
    last = runs[-1]
    data = walk.read(last.spool, last.start or 0, last.end or 0) if last.end else b""
    cluster = cluster_of(walk)
    today = next((s for s in plan_for(cluster) if s.id == step), None)
    if today is None:
        return None
    verdict = state.step(step).verdict
    known = Known(cluster, {**state.facts, **(verdict.facts if verdict else {})})
    return Seen(tuple(data.decode("utf-8", "replace").splitlines()), today.variables(known, node))
