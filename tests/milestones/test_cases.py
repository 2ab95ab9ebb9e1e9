"""Every milestone against pasted output. A new case is a file; see tests/cases/README.md."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.case_runner import Case
from wizard_steps.engine.expected import load
from wizard_steps.plan import PATHS

ROOT = Path(__file__).parents[1] / "cases"
STEPS = sorted({step.id for steps in PATHS.values() for step in steps})
CASES = [path for step in STEPS for path in sorted((ROOT / step).glob("*.toml"))]


@pytest.mark.parametrize("path", CASES, ids=lambda p: f"{p.parent.name}/{p.stem}")
async def test_case(path: Path) -> None:
    case = Case(path)
    verdict, transport = await case.verdict()
    failing = sorted({f"{check.name}@{check.node}" for check in verdict.failures})
    said = "\n".join(f"{c.name} {c.found} {c.wanted} {c.hint}" for c in verdict.checks) + verdict.summary
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
