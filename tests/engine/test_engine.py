"""The engine's gates: retry, back, edit, fix, dry run, and the state that its events add up to."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import pytest

from tests.helpers.engine_help import Second, Toy, engine
from wizard_steps.engine.decide import Answer
from wizard_steps.engine.step import Known
from wizard_steps.errors import UsageError
from wizard_steps.model import Chunk, Cmd, Exit, Node, Question, Results, Round, Verdict
from wizard_steps.recording import events as ev
from wizard_steps.recording.state import fold
from wizard_steps.transport.dry import Dry


async def test_a_failed_gate_is_never_passed_over() -> None:
    made, events = engine(["no"], plan=[Toy(), Second()])
    assert await made.walk() == "failed"
    assert [e.step for e in events if isinstance(e, ev.StepStarted)] == ["reach"]
    assert made.state.step("smi").status == "pending"


async def test_retry_runs_the_step_again() -> None:
    made, events = engine(["no", "yes"], Answer("retry"))
    assert await made.walk() == "passed"
    assert [e.verdict.passed for e in events if isinstance(e, ev.Judged)] == [False, True]


async def test_back_goes_to_the_step_before() -> None:
    made, events = engine(["yes", "no", "yes", "yes"], Answer("back"), plan=[Toy(), Second()])
    assert await made.walk() == "passed"
    assert [e.step for e in events if isinstance(e, ev.StepStarted)] == ["reach", "smi", "reach", "smi"]


async def test_an_edit_goes_back_to_the_step_that_owns_the_field() -> None:
    plan = [Second(), Toy()]
    made, events = engine(["yes", "no", "yes", "yes"], Answer("edit", "serve.port", "9000"), plan=plan)
    assert await made.walk() == "passed"
    assert made.cluster.serve.port == 9000
    assert [e.step for e in events if isinstance(e, ev.StepStarted)] == ["smi", "reach", "smi", "reach"]


async def test_a_confirmed_fix_runs_on_its_node_and_the_step_again() -> None:
    made, events = engine(["no", "yes"], Answer("fix", "b", "echo mended"))
    assert await made.walk() == "passed"
    fixes = [
        (e.node, e.text, e.mutates) for e in events if isinstance(e, ev.CommandStarted) and e.key == "fix"
    ]
    assert fixes == [("b", "echo mended", True)]


async def test_a_dry_run_judges_what_only_reads_and_lists_the_rest() -> None:
    class Changes(Second):
        def rounds(self, known: Known, done: Results) -> Round | None:
            return None if done.has("toy") else Round(work=((known.head, Cmd("toy", "x", mutates=True)),))

    class After(Toy):
        id = "curl"

    made, events = engine(["yes"], plan=[Toy(), Changes(), After()])
    made._runner._transport = Dry(made._runner._transport)
    assert await made.walk(gated=False) == "listed"
    assert [e.step for e in events if isinstance(e, ev.Judged)] == ["reach"]
    assert [step.status for step in made.state.steps] == ["passed", "listed", "listed"]


async def test_a_dry_run_ends_where_a_node_does_not_answer() -> None:
    """Nothing is judged that was not seen: what a milestone makes of no answer is no verdict."""

    class Lost:
        async def run(self, node: Node, cmd: Cmd) -> AsyncGenerator[Chunk | Exit]:
            yield Exit(code=-1, reason="lost", detail="refused")

        async def close(self) -> None: ...

    class Lenient(Toy):
        def judge(self, known: Known, done: Results) -> Verdict:
            return Verdict(True, "not proved")

    for first, judged in ((Toy(), ["reach"]), (Lenient(), [])):
        made, events = engine([], plan=[first, Second()])
        made._runner._transport = Dry(Lost())
        assert await made.walk(gated=False) == "failed"
        assert [e.step for e in events if isinstance(e, ev.Judged)] == judged
        assert made.state.step("smi").status == "pending"


async def test_state_is_a_fold_of_the_events() -> None:
    made, events = engine(["no", "yes"], Answer("retry"))
    await made.walk()
    assert fold(events) == made.state
    assert made.state.facts == {"said": "yes"}


async def test_facts_of_a_failed_gate_are_not_learnt() -> None:
    made, _ = engine(["no"])
    await made.walk()
    assert made.state.facts == {}


async def test_a_missing_answer_names_the_field() -> None:
    from wizard_steps.engine.decide import FileDecider

    question = Question("ip-b", "Which address?", "choice", field="nodes[1].fabric_ip")
    with pytest.raises(UsageError, match=r"nodes\[1\]\.fabric_ip"):
        await FileDecider().ask("ip", question)
    assert (await FileDecider().ask("ip", Question("gate", "", "gate"))).value == "stop"
