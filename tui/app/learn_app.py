"""`milepost learn`: the course as an app. Recordings and the lab have apps of their own: it returns what the
person wants next, and is started again afterwards."""

from __future__ import annotations

from pathlib import PurePath
from typing import ClassVar, Literal

from msgspec import Struct
from textual.binding import Binding, BindingType

from tui.app.terminal import TerminalApp
from tui.app.themes import DARK, LIGHT
from tui.screens.course import CourseScreen
from tui.screens.lesson import LessonScreen
from wizard_steps.learn.lessons import Lesson
from wizard_steps.learn.progress import Progress


class Wish(Struct, frozen=True):
    """What to run now: a recording to watch, or the lab with a fault. Then the lesson is opened again."""

    kind: Literal["watch", "lab"]
    value: str
    lesson: Lesson


class LearnApp(TerminalApp[Wish | None]):
    """``opened``: the lesson to open at once. Returns None when the person leaves."""

    CSS_PATH: ClassVar[list[str | PurePath]] = ["wizard.tcss", "learn.tcss"]
    TITLE = "milepost learn"
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(TerminalApp.WORDS_KEYS, "words", "Words"),
        Binding("q", "leave", "Leave"),
        Binding("ctrl+c,ctrl+q", "leave", "Leave", show=False),
    ]

    def __init__(
        self, lessons: tuple[Lesson, ...], progress: Progress, opened: Lesson | None = None, theme: str = ""
    ) -> None:
        super().__init__()
        self.lessons, self.progress = lessons, progress
        self._opened = opened
        self._theme_name = theme or DARK.name

    def on_mount(self) -> None:
        self.heed_signals()
        for theme in (DARK, LIGHT):
            self.register_theme(theme)
        self.theme = self._theme_name
        self.push_screen(CourseScreen(self.lessons, self.progress))
        if self._opened is not None:
            self.open(self._opened)

    def open(self, lesson: Lesson) -> None:
        self.push_screen(LessonScreen(lesson, self.progress))

    def wish(self, kind: Literal["watch", "lab"], value: str, lesson: Lesson) -> None:
        self.exit(Wish(kind, value, lesson))

    def leave(self) -> None:
        self.exit(None)

    def action_leave(self) -> None:
        self.leave()
