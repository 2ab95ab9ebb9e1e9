"""Whatever a node, a server or Ray answers: every judge of every milestone ends in a verdict.

The judges are fed the pasted outputs of tests/cases with parts lost, doubled and replaced, any bytes, JSON
with values of every kind, and HTTP around it.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.helpers.case_runner import CLUSTER
from tests.helpers.mutated import outputs
from wizard_steps.cluster.file import Cluster, parse
from wizard_steps.engine import expected
from wizard_steps.engine.step import Known, Step
from wizard_steps.model import WIZARD, Cmd, Reason, Result, Results, Round, Verdict
from wizard_steps.plan import OPTIONAL, PATHS

ROOT = Path(__file__).parents[1] / "cases"
STEPS: dict[str, type[Step]] = {kind.id: kind for steps in (*PATHS.values(), OPTIONAL) for kind in steps}
REASONS: Sequence[Reason] = get_args(Reason)

#: Milepost's own words for what it does not know.
UNSURE = re.compile(r"^not proved|; not proved|^unknown: |: unknown: |^nothing to compare")


class Case:
    """A file of tests/cases as the results it holds, in order."""

    def __init__(self, path: Path) -> None:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
        self.cluster: Cluster = parse(data.get("cluster", CLUSTER), str(path))
        self.answers: dict[str, str] = data.get("answers", {})
        self.facts: dict[str, Any] = data.get("facts", {})
        nodes = {node.name: node for node in (*self.cluster.node_list, WIZARD)}
        self.results = [
            Result(node, one["key"], one.get("text", ""), one.get("code", 0))
            for one in data.get("result", [])
            for name, node in nodes.items()
            if one["node"] in (name, "*")
        ]


@cache
def cases(step: str) -> tuple[Case, ...]:
    return tuple(Case(path) for path in sorted((ROOT / step).glob("*.toml")))


@cache
def texts(step: str) -> tuple[str, ...]:
    return tuple({result.text for case in cases(step) for result in case.results})


@st.composite
def attempts(draw: st.DrawFn, step: str) -> tuple[Known, Results]:
    """A case of the step in which some results are not what they were."""
    case = draw(st.sampled_from(cases(step)))
    found = []
    for result in case.results:
        kind = draw(st.sampled_from(["same", "same", "text", "end", "absent"]))
        if kind == "text":
            text = draw(outputs([result.text, *texts(step)]))
            found.append(msgspec.structs.replace(result, text=text))
        elif kind == "end":
            code, reason = draw(st.sampled_from([0, 1, 7, 126, 127, -1])), draw(st.sampled_from(REASONS))
            found.append(msgspec.structs.replace(result, code=code, reason=reason))
        elif kind == "same":
            found.append(result)
    return Known(case.cluster, case.facts), Results(found, case.answers)


def asked(step: Step, known: Known, done: Results) -> list[Cmd]:
    """What the step wants next: it reads the same results to decide."""
    wanted = step.rounds(known, done)
    assert wanted is None or isinstance(wanted, Round)
    return [cmd for _, cmd in wanted.work] if wanted else []


@pytest.mark.parametrize("name", sorted(STEPS))
@settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_every_judge_ends_in_a_verdict(name: str, data: st.DataObject) -> None:
    step = STEPS[name]()
    known, done = data.draw(attempts(name))
    verdict = step.judge(known, done)
    assert isinstance(verdict, Verdict)
    assert verdict.summary
    # A recording holds it, and a gate that is shut says why.
    assert msgspec.json.decode(msgspec.json.encode(verdict), type=Verdict).passed is verdict.passed
    assert verdict.passed or verdict.failures
    # What is not proved, or could not be read, is never green.
    unsure = [one for one in verdict.checks if UNSURE.search(one.found)]
    assert all(one.state != "ok" for one in unsure), unsure
    commands = asked(step, known, done)
    document = expected.load(name).on(step.ways(known))
    for result in done.items:
        document.compare(result, step.variables(known, result.node))
        for cmd in commands:
            assert cmd.until is None or cmd.until(result) in (True, False)
            assert cmd.stop is None or cmd.stop(result.text) in (True, False)
