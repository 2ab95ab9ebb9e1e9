"""A failed gate and its diagnosis, from the output of the attempt."""

from __future__ import annotations

from tests.helpers.case_runner import CLUSTER
from wizard_steps.cluster.file import parse
from wizard_steps.diagnose import Finding, Fix
from wizard_steps.diagnose.explain import findings_of, fix_command, fix_nodes
from wizard_steps.engine.step import Known
from wizard_steps.recording import events as ev
from wizard_steps.recording.spool import MemorySpool
from wizard_steps.recording.state import fold


def attempt(*outputs: tuple[str, str]) -> tuple:
    spool, events = (
        MemorySpool(),
        [ev.WalkStarted(0, "bare-metal", (("head", "h"),)), ev.StepStarted(0, "head", 1)],
    )
    for run, (node, text) in enumerate(outputs):
        start, end = spool.append(f"{node}.log", text.encode())
        events.append(ev.CommandStarted(0, run, "head", node, "start", "ray", run, f"{node}.log"))
        events.append(ev.Output(0, run, node, start, end))
        events.append(ev.CommandEnded(0, run, node, 1, "exit", 0, 1))
    return fold(events), spool


def test_the_node_and_the_line_are_named() -> None:
    state, spool = attempt(
        ("a", "Ray runtime started.\n"),
        (
            "b",
            "RuntimeError: Version mismatch: The cluster was started with:\n    Ray: 2.60.0\n",
        ),
    )
    first = findings_of(state, "head", spool)[0]
    assert (first.family, first.node) == ("version", "b")
    assert "Version mismatch" in first.evidence[0].text


def test_nothing_known_is_nothing_said() -> None:
    state, spool = attempt(("a", "Ray runtime started.\n"))
    assert findings_of(state, "head", spool) == []


def finding(node: str = "b", **values: str) -> Finding:
    return Finding("r", "network", "cause", "c", node, (), (), 0.9, "", values=values)


def test_a_fix_is_filled_in_with_quoted_values_or_not_offered() -> None:
    known = Known(parse(CLUSTER))
    fix = Fix("install", "{venv}/bin/pip install {package}")
    assert (
        fix_command(known, finding(package="x; rm -rf /"), fix)
        == "/opt/vllm-venv/bin/pip install 'x; rm -rf /'"
    )
    assert fix_command(known, finding(), fix) is None


def test_where_a_fix_belongs() -> None:
    known = Known(parse(CLUSTER))
    assert list(fix_nodes(known, finding(), Fix("", "", where="node"))) == ["b"]
    assert list(fix_nodes(known, finding(node=""), Fix("", "", where="node"))) == []
    assert list(fix_nodes(known, finding(), Fix("", "", where="all"))) == ["a", "b"]
    assert list(fix_nodes(known, finding(), Fix("", "", where="head"))) == ["a"]
