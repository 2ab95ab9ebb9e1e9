"""Reads the lessons of ``milepost learn``: ``snapshots/course/NN-name.toml``, one file a lesson.

title, teaches, minutes, text (Markdown), walks (names of shipped recordings), fault (of the lab)
[[question]]  ask, right, wrong (a list), why; walk and step where it belongs to a recording;
              output: real output that is shown with the question
exam = true, draw = N: an exam asks N of its questions, chosen at random; the walk is named afterwards
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import msgspec
from msgspec import Struct

from wizard_steps.engine.expected import SNAPSHOTS
from wizard_steps.errors import MilepostError, UsageError

FOLDER = SNAPSHOTS / "course"


class QuizQuestion(Struct, frozen=True, forbid_unknown_fields=True):
    """``why`` is shown after the answer, right or wrong."""

    ask: str
    right: str
    wrong: tuple[str, ...]
    why: str
    walk: str = ""
    step: str = ""
    output: str = ""

    @property
    def key(self) -> str:
        """What an answer is remembered by: a question that was written anew is asked again."""
        return hashlib.sha256(self.ask.encode()).hexdigest()[:12]

    def choices(self, chance: random.Random) -> list[str]:
        """All choices, shuffled."""
        found = [self.right, *self.wrong]
        chance.shuffle(found)
        return found


class _File(Struct, frozen=True, forbid_unknown_fields=True):
    title: str
    teaches: str
    minutes: int
    text: str
    walks: tuple[str, ...] = ()
    fault: str = ""
    exam: bool = False
    draw: int = 0
    question: tuple[QuizQuestion, ...] = ()


class Lesson(Struct, frozen=True):
    """``id`` is the file's name, ``number`` its first part. ``minutes`` includes watching at speed 1."""

    id: str
    number: int
    title: str
    teaches: str
    minutes: int
    text: str
    walks: tuple[str, ...]
    fault: str
    exam: bool
    draw: int
    questions: tuple[QuizQuestion, ...]

    def asked(self, chance: random.Random) -> list[QuizQuestion]:
        """The questions of one sitting: all in their order; of an exam ``draw`` at random."""
        if not self.exam:
            return list(self.questions)
        return chance.sample(self.questions, min(self.draw or len(self.questions), len(self.questions)))


@lru_cache(maxsize=4)
def course(folder: Path = FOLDER) -> tuple[Lesson, ...]:
    """All lessons in their order. Raises MilepostError with the file's name when one is wrong."""
    return tuple(_lesson(path) for path in sorted(folder.glob("*.toml")))


def _lesson(path: Path) -> Lesson:
    number, _, name = path.stem.partition("-")
    if not (number.isdigit() and name):
        raise MilepostError(f"{path}: a lesson is named NN-name.toml")
    try:
        found = msgspec.toml.decode(path.read_bytes(), type=_File)
    except (OSError, msgspec.DecodeError) as error:
        raise MilepostError(f"{path}: {error}") from None
    for question in found.question:
        if len({question.right, *question.wrong}) < len(question.wrong) + 1 or len(question.wrong) < 2:
            raise MilepostError(f"{path}: needs two or more wrong choices, all different: {question.ask}")
    return Lesson(
        id=path.stem,
        number=int(number),
        title=found.title,
        teaches=found.teaches,
        minutes=found.minutes,
        text=found.text.strip(),
        walks=found.walks,
        fault=found.fault,
        exam=found.exam,
        draw=found.draw,
        questions=found.question,
    )


def find(lessons: Sequence[Lesson], name: str) -> Lesson:
    """A lesson by its number, its id, or its name without the number. Raises UsageError."""
    for lesson in lessons:
        number, _, word = lesson.id.partition("-")
        if name in (lesson.id, word, number, str(lesson.number)):
            return lesson
    known = ", ".join(f"{lesson.number} ({lesson.id.partition('-')[2]})" for lesson in lessons)
    raise UsageError(f"{name}: no such lesson. There are: {known}")
