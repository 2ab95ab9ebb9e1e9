"""Every milestone against pasted output. A new case is a file; see tests/cases/README.md."""

from __future__ import annotations

import fnmatch
from pathlib import Path

import pytest

from tests.helpers.case_runner import Case
from wizard_steps.engine.expected import load
from wizard_steps.plan import OPTIONAL, PATHS

ROOT = Path(__file__).parents[1] / "cases"
STEPS = sorted({step.id for steps in (*PATHS.values(), OPTIONAL) for step in steps})
CASES = [path for step in STEPS for path in sorted((ROOT / step).glob("*.toml"))]


@pytest.mark.parametrize("path", CASES, ids=lambda p: f"{p.parent.name}/{p.stem}")
async def test_case(path: Path) -> None:
    case = Case(path)
    verdict, transport = await case.verdict()
    failing = sorted({f"{check.name}@{check.node}" for check in verdict.failures})
    said = "\n".join(f"{c.name} {c.found} {c.wanted} {c.hint}" for c in verdict.checks) + verdict.summary
    said += "".join(f"\nno result of {key} on {node} in the case" for node, key in transport.missing)
    if not verdict.passed:
        said += case.explained
    assert verdict.passed is case.data["passed"], said
    assert failing == sorted(case.data.get("fails", [])), said
    if "warns" in case.data:
        assert sorted(f"{c.name}@{c.node}" for c in verdict.warnings) == sorted(case.data["warns"]), said
    for words in case.data.get("says", []):
        assert words in said
    for node, key in case.data.get("runs", []):
        assert (node, key) in transport.ran
    for node, key in case.data.get("never_runs", []):
        assert (node, key) not in transport.ran


@pytest.mark.parametrize("step", STEPS)
def test_every_milestone_has_a_passing_and_a_failing_case(step: str) -> None:
    cases = [Case(path) for path in CASES if path.parent.name == step]
    assert {case.data["passed"] for case in cases} == {True, False}


@pytest.mark.parametrize("step", STEPS)
def test_every_milestone_explains_itself(step: str) -> None:
    document = load(step)
    assert document.title
    assert {"Why", "What happens", "If it fails"} <= set(document.sections)
    assert document.blocks


@pytest.mark.parametrize("step", STEPS)
async def test_every_expected_block_is_compared_in_some_case(step: str) -> None:
    """A key with a typing error would switch a block off."""
    compared: set[str] = set()
    keys: set[str] = set()
    for path in CASES:
        if path.parent.name == step:
            verdict, transport = await Case(path).verdict()
            compared |= {comparison.key for comparison in verdict.comparisons}
            keys |= transport.seen
    for block in load(step).blocks:
        assert fnmatch.filter(compared, block.key), f"{step}: no case compares {block.key}"
    declared = next(s.keys for steps in (*PATHS.values(), OPTIONAL) for s in steps if s.id == step)
    hidden = {key for key in keys if declared and not any(fnmatch.fnmatch(key, k) for k in declared)}
    assert hidden == set(), f"{step}: name them in keys, too"
