"""What a walk's events add up to."""

from __future__ import annotations

from wizard_steps.model import Question, Verdict
from wizard_steps.recording import events as ev
from wizard_steps.recording.state import fold

STEPS = (("head", "Start the head"),)
QUESTION = Question(id="model", text="Which model?")


def test_a_milestone_takes_no_longer_because_a_person_thinks() -> None:
    begun = [ev.WalkStarted(0.0, "bare", STEPS, {}, False), ev.StepStarted(1.0, "head", 1)]
    asked = [*begun, ev.Asked(3.0, "head", QUESTION)]
    assert fold(asked).step("head").elapsed(500.0) == 2.0
    answered = [*asked, ev.Answered(603.0, "head", "model", "a")]
    assert fold(answered).step("head").elapsed(604.0) == 3.0
    judged = [*answered, ev.Judged(606.0, "head", 1, Verdict(passed=True, summary="it runs"))]
    assert fold(judged).step("head").elapsed(9000.0) == 5.0


def test_a_gate_that_asks_what_to_do_leaves_the_time_of_its_attempt() -> None:
    gate = Question(id="gate", text="it does not run", kind="gate")
    events = [
        ev.WalkStarted(0.0, "bare", STEPS, {}, False),
        ev.StepStarted(1.0, "head", 1),
        ev.Judged(4.0, "head", 1, Verdict(passed=False, summary="it does not run")),
        ev.Asked(4.0, "head", gate),
        ev.Answered(900.0, "head", "gate", "retry"),
    ]
    assert fold(events).step("head").elapsed(900.0) == 3.0
    assert fold([*events, ev.StepStarted(901.0, "head", 2)]).step("head").elapsed(903.0) == 2.0
