"""Who answers: a person in the TUI, the cluster file, or a recording."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from msgspec import Struct

from wizard_steps.errors import UsageError
from wizard_steps.model import Option, Question


class Answer(Struct, frozen=True):
    """``value`` is the answer. At a failed gate it is retry, back, stop; edit with a field in ``where`` and
    its value in ``text``, or several in ``edits``; fix with node names in ``where`` (blanks between) and a
    command in ``text``; or restart with node names in ``where``."""

    value: str
    where: str = ""
    text: str = ""
    edits: tuple[tuple[str, str], ...] = ()

    @property
    def changes(self) -> tuple[tuple[str, str], ...]:
        """The fields of an edit and their new values."""
        return self.edits or ((self.where, self.text),)


class Decider(Protocol):
    """Who answers: a person, an answers file or a recording."""

    async def ask(self, step: str, question: Question) -> Answer: ...


GATE_OPTIONS = (
    Option("retry", "Retry", "run this step again"),
    Option("edit", "Edit an answer", "change a value of the cluster file, then run this step again"),
    Option("log", "Look at the full log"),
    Option("back", "Back", "to the step before"),
    Option("stop", "Stop", "end the walk here; what runs on the nodes keeps running"),
)


class FileDecider:
    """Headless: answers come from the cluster file alone. ``note`` is told what was decided."""

    def __init__(self, note: Callable[[str], None] = lambda _: None) -> None:
        self._note = note

    async def ask(self, step: str, question: Question) -> Answer:
        if question.kind == "gate":
            return Answer("stop")
        if question.unattended:
            return Answer(question.unattended)
        where = question.field or question.id
        options = ", ".join(option.value for option in question.options)
        raise UsageError(
            f"{step}: an answer is missing: {where}: {question.text}"
            + (f" Possible values: {options}." if options else "")
            + " Set it in the cluster file, or run the wizard in a terminal."
        )


class GivenAnswer(FileDecider):
    """Headless, with an answer from the command line to one question; an empty ``value`` is none. A step that
    asks the same again is not helped by it."""

    def __init__(self, question: str, value: str) -> None:
        super().__init__()
        self._question, self._value = question, value
        self._asked: set[tuple[str, str]] = set()

    async def ask(self, step: str, question: Question) -> Answer:
        again = (step, question.text) in self._asked
        self._asked.add((step, question.text))
        given = question.id == self._question and bool(self._value) and not again
        return Answer(self._value) if given else await super().ask(step, question)
