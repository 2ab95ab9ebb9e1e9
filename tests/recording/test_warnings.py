"""A warning is a state of its own: it opens the gate, and no list, file or sentence calls it plainly passed."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import msgspec
import pytest

from tui.app import present
from tui.app.text import STEP_STATES
from wizard_steps.model import Check, Verdict, with_warnings
from wizard_steps.recording import events as ev
from wizard_steps.recording.state import fold
from wizard_steps.walks import verdicts as vs
from wizard_steps.walks.evidence import check_line
from wizard_steps.walks.verdict_files import as_annotations, as_json, as_junit

FINE = Check("driver", True, "580.95.05", node="a")
WARNED = Check("open files", True, "20000", node="b", hint="raise nofile", warning=True)
FAILED = Check("GPUs", False, "7", "8", "b")


@pytest.mark.parametrize(
    ("checks", "state", "words"),
    [
        ((FINE,), "passed", "passed"),
        ((FINE, WARNED), "warning", "passed with 1 warning"),
        ((WARNED, WARNED), "warning", "passed with 2 warnings"),
        ((FINE, WARNED, FAILED), "failed", "failed"),
    ],
)
def test_a_verdict_stands_as_its_checks_do(checks: tuple[Check, ...], state: str, words: str) -> None:
    verdict = Verdict(all(check.ok for check in checks), "", checks)
    assert (verdict.state, verdict.words) == (state, words)


def test_old_recordings_have_the_word_in_the_text() -> None:
    old = msgspec.json.decode(b'{"name": "MTU", "ok": true, "found": "warning: 1500"}', type=Check)
    assert old.state == "warning"
    assert msgspec.json.decode(b'{"name": "MTU", "ok": true, "found": "1500"}', type=Check).state == "ok"


def walked(verdict: Verdict) -> list[ev.AnyEvent]:
    cluster = {"name": "c", "nodes": [{"name": "a", "host": "a"}, {"name": "b", "host": "b"}]}
    return [
        ev.WalkStarted(0.0, "bare-metal", (("preflight", "Look"),), cluster, False),
        ev.StepStarted(0.0, "preflight", 1),
        ev.CommandStarted(t=0.1, run=1, step="preflight", node="a", key="facts", text="x", use=0, spool="a"),
        ev.CommandStarted(t=0.1, run=2, step="preflight", node="b", key="facts", text="x", use=0, spool="b"),
        ev.Judged(1.0, "preflight", 1, verdict),
        ev.WalkEnded(1.0, "passed"),
    ]


def test_the_screen_marks_it() -> None:
    state = fold(walked(Verdict(True, "looked", (FINE, WARNED))))
    step = state.step("preflight")
    assert (step.status, step.passed, state.warnings) == ("warning", True, 1)
    assert STEP_STATES[step.status] == ("!", "passed", "warning")
    assert [mark.state for mark in present.node_marks(state, "preflight")] == ["passed", "warning"]
    assert present.outcome_line(state) == "The milestone passed with 1 warning."


def test_the_log_gives_it_its_hint() -> None:
    assert check_line(WARNED) == "   warn open files [b]: 20000\n        try: raise nofile"


def test_json_and_junit_tell_it() -> None:
    milestone = vs.MilestoneVerdict("preflight", "Look", "warning", warnings=("open files [b]: 20000",))
    walk = vs.WalkVerdict(Path("w"), "passed", (milestone,))
    (told,) = as_json([walk], 0)["walks"][0]["milestones"]
    assert (told["status"], told["warnings"]) == ("warning", ["open files [b]: 20000"])
    suite = ElementTree.fromstring(as_junit([walk]).partition("\n")[2])[0]
    assert suite.get("failures") == "0"
    assert "passed with 1 warning" in (suite[0].findtext("system-out") or "")
    (line,) = as_annotations([walk])
    assert line.startswith("::warning ")


def test_one_warning_is_singular() -> None:
    assert [with_warnings("passed", n) for n in (0, 1, 2)] == [
        "passed",
        "passed with 1 warning",
        "passed with 2 warnings",
    ]
