"""The lessons as data: complete, true to the recordings, narrow enough for a small terminal."""

from __future__ import annotations

import gzip
import random
from functools import lru_cache
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wizard_steps.errors import MilepostError, UsageError
from wizard_steps.learn import glossary
from wizard_steps.learn.lessons import QuizQuestion, course, find
from wizard_steps.learn.progress import Progress, default_path
from wizard_steps.recording.journal import Walk, load
from wizard_steps.recording.notes import of_step
from wizard_steps.walks.shipped import FOLDER, about, listing, names, watchable

LESSONS = course()
QUESTIONS = [(lesson.id, question) for lesson in LESSONS for question in lesson.questions]


def test_the_course_is_complete() -> None:
    assert [lesson.number for lesson in LESSONS] == list(range(len(LESSONS)))
    assert LESSONS[-1].exam
    for lesson in LESSONS:
        assert 3 <= lesson.minutes <= 6, lesson.id
        assert len(lesson.questions) >= 3, lesson.id
        assert set(lesson.walks) <= set(names()), lesson.id
    keys = [question.key for _, question in QUESTIONS]
    assert len(keys) == len(set(keys))


def test_every_shipped_walk_is_watched_in_a_lesson_and_has_notes() -> None:
    assert {walk for lesson in LESSONS for walk in lesson.walks} == set(names())
    for name in names():
        assert load(FOLDER / name).notes, name


@pytest.mark.parametrize(("lesson", "question"), QUESTIONS, ids=[f"{i}-{q.key}" for i, q in QUESTIONS])
def test_a_question_belongs_to_its_recording(lesson: str, question: QuizQuestion) -> None:
    if not question.walk:
        assert not question.step
        assert not question.output
        return
    walk, recorded = everything(question.walk)
    if question.step:
        titles = dict(getattr(walk.events[0], "steps", ()))
        assert question.step in titles, lesson
    for line in question.output.strip().splitlines():
        assert " ".join(line.split()) in recorded, f"{lesson}: not in the recording: {line}"


@lru_cache(maxsize=64)
def everything(name: str) -> tuple[Walk, str]:
    """A shipped walk, and all that was recorded in it, without line breaks."""
    walk = load(FOLDER / name)
    files = sorted((FOLDER / name / "out").iterdir())
    texts = [
        gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
        for data in (path.read_bytes() for path in files)
    ]
    output = b"\n".join(texts).decode("utf-8", "replace")
    return walk, " ".join((repr(walk.events) + output).split())


def test_pictures_fit_eighty_columns() -> None:
    for lesson in LESSONS:
        for line in lesson.text.splitlines():
            assert not line.startswith("    ") or len(line) <= 76, f"{lesson.id}: {len(line)}: {line}"
            assert line == line.rstrip(), f"{lesson.id}: trailing blank: {line}"


@given(st.integers())
def test_choices_are_shuffled_and_whole(seed: int) -> None:
    question = QuizQuestion("?", "r", ("a", "b", "c"), "because")
    assert sorted(question.choices(random.Random(seed))) == ["a", "b", "c", "r"]


def test_the_right_choice_has_no_favourite_place() -> None:
    question = QuizQuestion("?", "r", ("a", "b", "c"), "because")
    chance = random.Random(1)
    places = [question.choices(chance).index("r") for _ in range(400)]
    assert all(50 < places.count(n) < 150 for n in range(4))


def test_an_exam_draws_and_a_lesson_asks_all() -> None:
    exam = LESSONS[-1]
    drawn = exam.asked(random.Random(0))
    assert len(drawn) == exam.draw == len(set(drawn))
    assert exam.asked(random.Random(0)) != exam.asked(random.Random(3))
    assert LESSONS[2].asked(random.Random(0)) == list(LESSONS[2].questions)


def test_lessons_are_found_by_number_and_name() -> None:
    assert find(LESSONS, "2") is find(LESSONS, "reach") is find(LESSONS, "02-reach") is LESSONS[2]
    with pytest.raises(UsageError, match=r"no such lesson. There are: 0 \(what-we-build\)"):
        find(LESSONS, "nothing")


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("x.toml", "", "NN-name"),
        ("01-x.toml", "titel = 'x'", "unknown field"),
        ("01-x.toml", "not toml", "01-x.toml"),
        (
            "01-x.toml",
            "title='t'\nteaches='t'\nminutes=3\ntext='t'\n"
            "[[question]]\nask='?'\nright='a'\nwrong=['a','b']\nwhy='w'",
            "all different",
        ),
    ],
)
def test_a_wrong_lesson_is_named(tmp_path: Path, name: str, text: str, says: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(MilepostError, match=says):
        course(tmp_path)


def test_progress_is_kept_and_the_first_answer_counts(tmp_path: Path) -> None:
    lesson = LESSONS[2]
    path = tmp_path / "state" / "learn.json"
    progress = Progress(path)
    assert not progress.begun(lesson)
    progress.watched(lesson, "ssh-refused")
    first, *rest = lesson.questions
    progress.answered(lesson, first.key, False)
    progress.answered(lesson, first.key, True)
    for question in rest:
        progress.answered(lesson, question.key, True)
    again = Progress(path)
    assert again.done(lesson)
    assert again.score(lesson) == (len(rest), len(lesson.questions), len(lesson.questions))
    assert again.mark(lesson).watched == ["ssh-refused"]
    again.reset()
    assert not Progress(path).begun(lesson)


def test_an_exam_is_passed_with_four_of_five(tmp_path: Path) -> None:
    progress, exam = Progress(tmp_path / "learn.json"), LESSONS[-1]
    progress.sat(exam, 3, 5)
    assert not progress.done(exam)
    progress.sat(exam, 4, 5)
    progress.sat(exam, 1, 5)
    assert progress.done(exam)
    assert progress.score(exam)[:2] == (4, 5)


@given(st.binary(max_size=200))
def test_any_state_file_can_be_begun_with(data: bytes) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "learn.json")
        path.write_bytes(data)
        progress = Progress(path)
        progress.answered(LESSONS[0], "key", True)
        assert Progress(path).mark(LESSONS[0]).answers["key"]


def test_the_state_folder_is_the_users(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert default_path() == tmp_path / "milepost" / "learn.json"
    monkeypatch.setenv("XDG_STATE_HOME", "relative")
    monkeypatch.setenv("HOME", "/home/somebody")
    assert default_path() == Path("/home/somebody/.local/state/milepost/learn.json")


def test_walks_are_listed_with_title_and_length() -> None:
    text = listing()
    for name in names():
        assert name in text
        assert about(name).title in text
    with pytest.raises(UsageError, match="no such walk"):
        watchable(Path("nothing-of-that-name"))


def test_failing_walks_ask_before_they_tell() -> None:
    for name in names():
        walk = load(FOLDER / name)
        judged = [event for event in walk.events if hasattr(event, "verdict")]
        shut = [event for event in judged if not event.verdict.passed]
        for event in shut:
            assert of_step(walk.notes, event.step, event.attempt, "ask"), name


@given(st.text())
def test_any_page_can_be_read_for_words(text: str) -> None:
    glossary.parse(text)
