"""`milepost learn`: the course; --list and --json without a screen."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from typing import Any

from tui.cli.door import needs_screen
from wizard_steps.learn.lessons import Lesson, course, find
from wizard_steps.learn.progress import Progress
from wizard_steps.model import counted

EPILOG = """\
Each lesson: read, watch a recording (the player asks before it shows the answer), a quiz, and a fault to
find yourself in the lab. What you answered is kept on this machine only, in
$XDG_STATE_HOME/milepost/learn.json (default ~/.local/state).
"""


def add(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "learn",
        help="the course: lessons with recordings, a quiz, and faults to find in the lab",
        description="A course on multi-node vLLM, 3 to 6 minutes a lesson.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("lesson", nargs="?", help="open this lesson: its number or its name")
    parser.add_argument("--list", action="store_true", help="list the lessons and how far you are")
    parser.add_argument("--json", action="store_true", help="the same as JSON")
    parser.add_argument("--reset", action="store_true", help="forget what you answered")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    lessons, progress = course(), Progress()
    if args.reset:
        progress.reset()
    chosen = find(lessons, args.lesson) if args.lesson else None
    shown = [chosen] if chosen else list(lessons)
    if args.json:
        print(json.dumps(as_json(shown, progress), indent=1))
        return 0
    if args.list or args.reset:
        print(as_text(shown, progress))
        return 0
    needs_screen("the course draws a screen; `milepost learn --list` and --json do not")
    return run_course(lessons, progress, chosen)


def as_text(lessons: Sequence[Lesson], progress: Progress) -> str:
    """One lesson a line, and what it teaches below."""
    lines = []
    for lesson in lessons:
        sign = "✓" if progress.done(lesson) else "●" if progress.begun(lesson) else "○"
        right, answered, questions = progress.score(lesson)
        score = f"{right} of {answered} right" if answered else counted(questions, "question")
        lines.append(f"{sign} {lesson.number:>2}  {lesson.title:<40} {lesson.minutes:>2} min  {score}")
        lines.append(f"      {lesson.teaches}")
    done = sum(map(progress.done, lessons))
    return "\n".join([*lines, "", f"{done} of {len(lessons)} done. ✓ done, ● begun, ○ not yet"])


def as_json(lessons: Sequence[Lesson], progress: Progress) -> dict[str, Any]:
    """What a program may want to know; the answers themselves are not in it."""
    found = []
    for lesson in lessons:
        right, answered, questions = progress.score(lesson)
        found.append(
            {
                "id": lesson.id,
                "number": lesson.number,
                "title": lesson.title,
                "teaches": lesson.teaches,
                "minutes": lesson.minutes,
                "walks": list(lesson.walks),
                "fault": lesson.fault,
                "exam": lesson.exam,
                "questions": questions,
                "answered": answered,
                "right": right,
                "watched": progress.mark(lesson).watched,
                "done": progress.done(lesson),
            }
        )
    return {"schema": 1, "lessons": found}


def run_course(lessons: tuple[Lesson, ...], progress: Progress, opened: Lesson | None) -> int:
    """The course on the terminal. Recordings and the lab take the screen; then it comes back."""
    from tui.app.learn_app import LearnApp

    theme = ""
    while True:
        app = LearnApp(lessons, progress, opened, theme)
        wish = app.run()
        if app.return_code:
            return app.return_code
        if wish is None:
            return 0
        theme, opened = app.theme, wish.lesson
        if wish.kind == "watch":
            if _watch(wish.value):
                progress.watched(wish.lesson, wish.value)
        else:
            _lab(wish.value)


def _watch(name: str) -> bool:
    from tui.app.watch_app import run_lesson

    return run_lesson(name)


def _lab(fault: str) -> None:
    from tui.cli.main import main

    main(["--lab", "--fault", fault])
