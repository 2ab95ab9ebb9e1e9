"""One lesson: its text, then watch, quiz, do it yourself."""

from __future__ import annotations

import random
from functools import cache
from typing import TYPE_CHECKING, ClassVar, cast

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import Screen
from textual.widgets import Footer, Markdown, OptionList, Static
from textual.widgets.option_list import Option

from tui.app.glossary import linked
from tui.app.text import plain_fences
from tui.screens.quiz import QuizScreen
from wizard_steps.lab.faults import obstacle
from wizard_steps.learn.lessons import Lesson
from wizard_steps.learn.progress import Progress
from wizard_steps.model import counted
from wizard_steps.walks.shipped import about

#: Asked once: the answer takes a moment, and a machine does not change meanwhile.
_obstacle = cache(obstacle)

if TYPE_CHECKING:
    from tui.app.learn_app import LearnApp


class LessonScreen(Screen[None]):
    """The text scrolls with the arrow keys when it has the focus; the steps are a list below it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("w", "watch", "Watch"),
        Binding("z", "quiz", "Quiz"),
        Binding("d", "lab", "Lab"),
        Binding("escape,b", "back", "Course"),
        Binding("pagedown,space", "scroll(1)", "More"),
        Binding("pageup", "scroll(-1)", "Text back", show=False),
    ]

    def __init__(self, lesson: Lesson, progress: Progress) -> None:
        super().__init__()
        self.lesson, self._progress = lesson, progress
        self._steps: list[tuple[str, str]] = []

    @property
    def prose(self) -> str:
        """The text on show, whose words come first in the list of words."""
        return self.lesson.text

    def compose(self) -> ComposeResult:
        yield Static(f"{self.lesson.number}  {self.lesson.title}", id="course-title", markup=False)
        with VerticalScroll(id="lesson-text", can_focus=False):
            yield Markdown(plain_fences(linked(self.lesson.text)), open_links=False)
        yield OptionList(id="lesson-steps")
        yield Footer()

    def on_mount(self) -> None:
        self._fill()
        self.query_one(OptionList).focus()

    def on_screen_resume(self) -> None:
        self._fill()

    def _fill(self) -> None:
        """The steps, what was done of them, and the next one highlighted."""
        mark = self._progress.mark(self.lesson)
        rows, done = [], []
        self._steps = []
        for walk in self.lesson.walks:
            seen = walk in mark.watched
            one = about(walk)
            rows.append(f"{'✓' if seen else '○'} Watch   {one.title} ({one.length})")
            self._steps.append(("watch", walk))
            done.append(seen)
        right, answered, all_ = self._progress.score(self.lesson)
        told = f", {right} of {answered} right so far" if answered and not self.lesson.exam else ""
        told = f", best: {right} of {answered}" if answered and self.lesson.exam else told
        rows.append(
            f"{'✓' if self._progress.done(self.lesson) else '○'} Quiz    {counted(all_, 'question')}{told}"
        )
        self._steps.append(("quiz", ""))
        done.append(self._progress.done(self.lesson))
        if self.lesson.fault:
            command = f"milepost --lab --fault {self.lesson.fault}"
            about_it = (
                "not on this machine" if _obstacle(self.lesson.fault) else "SIMULATED GPUs, on this machine"
            )
            rows.append(f"→ Do it yourself: {command}   ({about_it})")
            self._steps.append(("lab", self.lesson.fault))
            done.append(False)
        options = self.query_one(OptionList)
        options.clear_options()
        options.add_options([Option(row) for row in rows])
        options.highlighted = done.index(False) if False in done else len(rows) - 1

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        self._run(*self._steps[event.option_index])

    def _run(self, kind: str, value: str) -> None:
        if kind == "quiz":
            self.app.push_screen(QuizScreen(self.lesson, self._progress, random.Random()))
        elif kind == "lab" and (why := _obstacle(value)):
            self.app.notify(f"Not on this machine: {why}", severity="warning", timeout=20, markup=False)
        elif kind in ("watch", "lab"):
            cast("LearnApp", self.app).wish("watch" if kind == "watch" else "lab", value, self.lesson)

    def _first(self, kind: str) -> None:
        steps = [(what, value) for what, value in self._steps if what == kind]
        seen = self._progress.mark(self.lesson).watched
        unseen = [step for step in steps if step[1] not in seen]
        if steps:
            self._run(*(unseen or steps)[0])

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """The footer names only what this lesson has."""
        has = {"watch": bool(self.lesson.walks), "lab": bool(self.lesson.fault)}
        return has.get(action, True)

    def action_watch(self) -> None:
        self._first("watch")

    def action_quiz(self) -> None:
        self._run("quiz", "")

    def action_lab(self) -> None:
        self._first("lab")

    def action_back(self) -> None:
        self.app.pop_screen()

    def action_scroll(self, by: int) -> None:
        text = self.query_one("#lesson-text", VerticalScroll)
        if by > 0:
            text.scroll_page_down()
        else:
            text.scroll_page_up()
