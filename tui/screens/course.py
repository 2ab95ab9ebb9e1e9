"""The course: its lessons, what each one teaches, how far the person is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, cast

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import Screen
from textual.widgets import Footer, OptionList, Static
from textual.widgets.option_list import Option

from wizard_steps.learn.lessons import Lesson
from wizard_steps.learn.progress import Progress

if TYPE_CHECKING:
    from tui.app.learn_app import LearnApp

DONE, BEGUN, OPEN = "✓", "●", "○"


def sign(lesson: Lesson, progress: Progress) -> str:
    """Done, begun or not: a sign, so that colour alone never says it."""
    return DONE if progress.done(lesson) else BEGUN if progress.begun(lesson) else OPEN


def summary(lessons: Sequence[Lesson], progress: Progress) -> str:
    """How many lessons are done, and the share of right answers so far."""
    done = sum(progress.done(lesson) for lesson in lessons)
    right = answered = 0
    for lesson in lessons:
        if not lesson.exam:
            mine = progress.score(lesson)
            right, answered = right + mine[0], answered + mine[1]
    share = f" · {right} of {answered} answers right" if answered else ""
    return f"{done} of {len(lessons)} done{share}"


def score_of(lesson: Lesson, progress: Progress) -> str:
    """``2/3`` right, or nothing where nothing was answered."""
    right, answered, _all = progress.score(lesson)
    return f"{right}/{answered}" if answered else ""


def next_lesson(lessons: Sequence[Lesson], progress: Progress) -> int:
    """The place of the first lesson that is not done."""
    return next((n for n, lesson in enumerate(lessons) if not progress.done(lesson)), 0)


class CourseScreen(Screen[None]):
    """A list; Enter opens."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("o", "open", "Open", key_display="enter")]

    def __init__(self, lessons: Sequence[Lesson], progress: Progress) -> None:
        super().__init__()
        self._lessons, self._progress = lessons, progress

    def compose(self) -> ComposeResult:
        yield Static(id="course-title", markup=False)
        yield OptionList(id="lessons")
        yield Static(id="teaches", markup=False)
        yield Footer()

    def on_mount(self) -> None:
        self._fill()
        self.query_one(OptionList).highlighted = next_lesson(self._lessons, self._progress)
        self.query_one(OptionList).focus()

    def on_screen_resume(self) -> None:
        """A lesson was left: what it added is shown."""
        self._fill()

    def _fill(self) -> None:
        options = self.query_one(OptionList)
        at = options.highlighted
        options.clear_options()
        options.add_options([Option(self._row(lesson)) for lesson in self._lessons])
        options.highlighted = at
        title = f"Course: multi-node vLLM    {summary(self._lessons, self._progress)}"
        self.query_one("#course-title", Static).update(title)

    def _row(self, lesson: Lesson) -> Text:
        style = "" if self._progress.done(lesson) else "bold"
        text = Text(no_wrap=True, overflow="ellipsis")
        text.append(f"{sign(lesson, self._progress)} {lesson.number:>2}  ")
        text.append(f"{lesson.title:<40} ", style)
        text.append(f"{lesson.minutes:>2} min  {score_of(lesson, self._progress):>5}")
        return text

    def on_option_list_option_highlighted(self, event: OptionList.OptionHighlighted) -> None:
        lesson = self._lessons[event.option_index]
        watch = f"Recordings: {', '.join(lesson.walks)}." if lesson.walks else "No recording."
        fault = " Ends in the lab." if lesson.fault else ""
        self.query_one("#teaches", Static).update(f"You learn {lesson.teaches}.\n{watch}{fault}")

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        cast("LearnApp", self.app).open(self._lessons[event.option_index])

    def action_open(self) -> None:
        self.query_one(OptionList).action_select()
