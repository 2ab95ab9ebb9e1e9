"""The questions of a lesson, one at a time: choose, then read why."""

from __future__ import annotations

import random
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import Screen
from textual.widgets import Footer, OptionList, Static
from textual.widgets.option_list import Option

from wizard_steps.learn.lessons import Lesson, QuizQuestion
from wizard_steps.learn.progress import PASS, Progress


class QuizScreen(Screen[None]):
    """Choices are shuffled. Questions that were answered in an earlier sitting come last; the first answer
    to each counts."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("n,space", "next", "Next question"),
        Binding("escape,b", "back", "Lesson"),
        Binding("1", "choose(1)", "Choose", key_display="1 to 9"),
        *(Binding(str(n), f"choose({n})", show=False) for n in range(2, 10)),
    ]

    def __init__(self, lesson: Lesson, progress: Progress, chance: random.Random) -> None:
        super().__init__()
        self.lesson, self._progress, self._chance = lesson, progress, chance
        known = {} if lesson.exam else progress.mark(lesson).answers
        self._questions = sorted(lesson.asked(chance), key=lambda question: question.key in known)
        self._at = -1
        self._choices: list[str] = []
        self._answer: str | None = None
        self._right = 0

    def compose(self) -> ComposeResult:
        yield Static(id="course-title", markup=False)
        with VerticalScroll(id="quiz", can_focus=False):
            yield Static(id="quiz-output", markup=False)
            yield Static(id="quiz-ask", markup=False)
            yield OptionList(id="choices")
            yield Static(id="quiz-why", markup=False)
        yield Footer()

    def on_mount(self) -> None:
        self.query_one(OptionList).focus()
        self.action_next()

    @property
    def question(self) -> QuizQuestion | None:
        """The one on show; None when all were asked."""
        return self._questions[self._at] if 0 <= self._at < len(self._questions) else None

    @property
    def choices(self) -> list[str]:
        """As they stand on the screen."""
        return self._choices

    def action_next(self) -> None:
        if self.question is not None and self._answer is None:
            self.app.notify("Choose first: a number, or Enter.", markup=False)
            return
        if self._at >= len(self._questions):
            self.app.pop_screen()
            return
        self._at += 1
        self._answer = None
        if self.question is None:
            self._end()
        else:
            self._choices = self.question.choices(self._chance)
            self._draw()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """The footer names only what can be done now."""
        return action != "choose" or (self.question is not None and self._answer is None)

    def _draw(self) -> None:
        question = self.question
        if question is None:
            return
        self.refresh_bindings()
        place = f"question {self._at + 1} of {len(self._questions)}"
        self.query_one("#course-title", Static).update(f"{self.lesson.title}    {place}")
        output = self.query_one("#quiz-output", Static)
        output.display = bool(question.output)
        output.update(question.output.rstrip())
        self.query_one("#quiz-ask", Static).update(question.ask)
        options = self.query_one(OptionList)
        options.clear_options()
        options.add_options([Option(self._choice(n, text)) for n, text in enumerate(self._choices)])
        options.display = True
        options.highlighted = 0 if self._answer is None else self._choices.index(self._answer)
        self._explain(question)
        if self._answer is None:
            options.focus()

    def _choice(self, number: int, text: str) -> Text:
        question = self.question
        assert question is not None
        row = Text(f"{number + 1}  {text}")
        if self._answer is not None and text == question.right:
            row = Text(f"✓  {text}", "bold")
        elif text == self._answer:
            row = Text(f"✗  {text}")
        return row

    def _explain(self, question: QuizQuestion) -> None:
        why = self.query_one("#quiz-why", Static)
        why.display = self._answer is not None
        if self._answer is None:
            return
        right = self._answer == question.right
        why.set_class(not right, "-wrong")
        source = f"\nRecording: {question.walk}" if question.walk else ""
        why.update(f"{'Right.' if right else 'Not quite.'} {question.why}{source}\n\nSpace: next question")
        why.scroll_visible(animate=False)

    def action_choose(self, number: int) -> None:
        if 1 <= number <= len(self._choices):
            self._take(self._choices[number - 1])

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        if self._answer is not None or self.question is None:
            self.action_next()
        else:
            self._take(self._choices[event.option_index])

    def _take(self, choice: str) -> None:
        question = self.question
        if question is None or self._answer is not None:
            return
        self._answer = choice
        right = choice == question.right
        self._right += right
        if not self.lesson.exam:
            self._progress.answered(self.lesson, question.key, right)
        self._draw()

    def _end(self) -> None:
        self.refresh_bindings()
        asked = len(self._questions)
        if self.lesson.exam:
            self._progress.sat(self.lesson, self._right, asked)
            passed = self._right >= PASS * asked
            verdict = (
                "Passed."
                if passed
                else f"Not passed yet: {PASS:.0%} are needed. Try again, the draw changes."
            )
        else:
            verdict = "The first answer to each question counts; you can repeat as often as you like."
        self.query_one("#course-title", Static).update(f"{self.lesson.title}    done")
        self.query_one("#quiz-output", Static).display = False
        self.query_one(OptionList).display = False
        self.query_one("#quiz-ask", Static).update(f"{self._right} of {asked} right this time.")
        why = self.query_one("#quiz-why", Static)
        why.display = True
        why.set_class(False, "-wrong")
        why.update(f"{verdict}\n\nSpace: back to the lesson")
        self.screen.set_focus(None)

    def action_back(self) -> None:
        self.app.pop_screen()
