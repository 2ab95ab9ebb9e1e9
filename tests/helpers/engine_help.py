"""Plans and answers small enough to see through, for the tests of the engine and its recordings."""

from __future__ import annotations

from pathlib import Path

from tests.helpers.case_runner import CLUSTER, CaseTransport
from wizard_steps.cluster.file import parse
from wizard_steps.engine.clock import ZeroClock
from wizard_steps.engine.decide import Answer
from wizard_steps.engine.engine import Engine
from wizard_steps.engine.expected import Expected
from wizard_steps.engine.step import Known, Step
from wizard_steps.model import Check, Cmd, Question, Results, Round, Verdict
from wizard_steps.recording import journal as walks


def no_texts(step: str) -> Expected:
    """Toys compare nothing."""
    return Expected(step, (), ())


class Toy(Step):
    """Passes when node a prints "yes"."""

    id, title = "reach", "a toy"

    def rounds(self, known: Known, done: Results) -> Round | None:
        return None if done.has("toy") else Round(work=((known.head, Cmd("toy", "echo yes")),))

    def judge(self, known: Known, done: Results) -> Verdict:
        result = done.get("toy", known.head)
        ok = result is not None and "yes" in result.text
        return Verdict(ok, "yes" if ok else "no", (Check("toy", ok),), {"said": "yes"})


class Second(Toy):
    id, owns = "smi", (r"serve\..*",)


class Script:
    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)

    async def ask(self, step: str, question: Question) -> Answer:
        return self.answers.pop(0) if self.answers else Answer("stop")


def engine(outputs: list[str], *answers: Answer, plan: list[Step] | None = None) -> tuple[Engine, list]:
    results = [{"node": "*", "key": "toy", "text": text} for text in outputs]
    journal = walks.MemoryJournal()
    steps = plan or [Toy()]
    made = Engine(
        steps, parse(CLUSTER), CaseTransport(results), Script(*answers), ZeroClock(), journal, texts=no_texts
    )
    return made, journal.events


async def recorded(tmp_path: Path, *outputs: str, answers: tuple[Answer, ...] = ()) -> Path:
    """A recording of the real reach step."""
    from wizard_steps.milestones.reach import Reach

    who = "user: u\nhost: h\nkernel: Linux 6\nos: O\npython3: {}\n"
    results = [{"node": "*", "key": "whoami", "text": who.format(o)} for o in outputs]
    folder = walks.WalkFolder(tmp_path / "walk", walks.new_meta(title="t"))
    made = Engine([Reach()], parse(CLUSTER), CaseTransport(results), Script(*answers), ZeroClock(), folder)
    await made.walk()
    folder.close()
    return tmp_path / "walk"
