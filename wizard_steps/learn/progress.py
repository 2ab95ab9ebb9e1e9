"""What a person has watched and answered: one file in the XDG state folder, on this machine only."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
from msgspec import Struct, field

from wizard_steps.errors import MilepostError
from wizard_steps.files import read_plain
from wizard_steps.learn.lessons import Lesson

#: Bytes of that file: one of the whole course has a hundredth of it.
MOST = 1 << 20
#: An exam is passed with this share of right answers.
PASS = 0.8


def default_path() -> Path:
    """``$XDG_STATE_HOME/milepost/learn.json``; without the variable below ~/.local/state."""
    base = os.environ.get("XDG_STATE_HOME", "")
    root = Path(base) if base.startswith("/") else Path.home() / ".local" / "state"
    return root / "milepost" / "learn.json"


class Mark(Struct):
    """Of one lesson. ``answers``: question key -> whether the first answer was right."""

    watched: list[str] = field(default_factory=list)
    answers: dict[str, bool] = field(default_factory=dict)
    #: Of an exam: the best sitting, as (right, asked).
    best: tuple[int, int] | None = None


class _State(Struct):
    schema: int = 1
    lessons: dict[str, Mark] = field(default_factory=dict)


class Progress:
    """Read once, written after each answer. A file that cannot be read begins anew, and is kept beside."""

    def __init__(self, path: Path | None = None) -> None:
        self.path = path or default_path()
        self._state = self._read()

    def _read(self) -> _State:
        try:
            return msgspec.json.decode(read_plain(self.path, MOST), type=_State)
        except FileNotFoundError:
            return _State()
        except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            try:
                self.path.replace(self.path.with_suffix(".unreadable"))
            except OSError as error:
                raise MilepostError(f"{self.path}: cannot be read: {error.strerror or error}") from None
            return _State()

    def mark(self, lesson: Lesson) -> Mark:
        return self._state.lessons.get(lesson.id) or Mark()

    def _own(self, lesson: Lesson) -> Mark:
        return self._state.lessons.setdefault(lesson.id, Mark())

    def watched(self, lesson: Lesson, walk: str) -> None:
        mark = self._own(lesson)
        if walk not in mark.watched:
            mark.watched.append(walk)
            self._write()

    def answered(self, lesson: Lesson, key: str, right: bool) -> None:
        """The first answer counts; asking again is for learning."""
        self._own(lesson).answers.setdefault(key, right)
        self._write()

    def sat(self, lesson: Lesson, right: int, asked: int) -> None:
        """An exam was finished."""
        mark = self._own(lesson)
        if mark.best is None or right * mark.best[1] > mark.best[0] * asked:
            mark.best = (right, asked)
            self._write()

    def reset(self) -> None:
        """Begin anew."""
        self._state = _State()
        self._write()

    def _write(self) -> None:
        new = self.path.with_suffix(".new")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            new.write_bytes(msgspec.json.format(msgspec.json.encode(self._state)))
            new.replace(self.path)
        except OSError as error:
            raise MilepostError(f"{self.path}: cannot be written: {error.strerror or error}") from None

    def score(self, lesson: Lesson) -> tuple[int, int, int]:
        """(right first answers, answered, questions); of an exam its best sitting."""
        mark = self.mark(lesson)
        if lesson.exam:
            right, asked = mark.best or (0, 0)
            return right, asked, min(lesson.draw or len(lesson.questions), len(lesson.questions))
        known = {question.key for question in lesson.questions}
        kept = [right for key, right in mark.answers.items() if key in known]
        return sum(kept), len(kept), len(known)

    def done(self, lesson: Lesson) -> bool:
        """Every question was answered; of an exam: it was passed."""
        right, answered, all_ = self.score(lesson)
        if lesson.exam:
            return bool(answered) and right >= PASS * answered
        return answered == all_

    def begun(self, lesson: Lesson) -> bool:
        mark = self.mark(lesson)
        return bool(mark.watched or mark.answers or mark.best)
