"""`milepost learn`: the list, a lesson, a quiz, what is remembered, and the words."""

from __future__ import annotations

import importlib
import json
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from textual.app import App
from textual.screen import ModalScreen, Screen
from textual.widgets import Input, Markdown, OptionList, Static

import tui
from tui.app.glossary import linked, of_link, used_in, words
from tui.app.learn_app import LearnApp, Wish
from tui.app.watch_app import WatchApp, run_lesson
from tui.cli.learn import run_course
from tui.cli.main import main
from tui.screens.course import CourseScreen
from tui.screens.lesson import LessonScreen
from tui.screens.quiz import QuizScreen
from tui.screens.words import WordsScreen
from wizard_steps.learn.lessons import course
from wizard_steps.learn.progress import Progress

LESSONS = course()


@pytest.fixture
def progress(tmp_path: Path) -> Progress:
    return Progress(tmp_path / "learn.json")


async def test_read_answer_and_come_back(progress: Progress) -> None:
    lesson = LESSONS[2]
    app = LearnApp(LESSONS, progress, lesson)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        assert isinstance(app.screen, LessonScreen)
        await pilot.press("z")
        quiz = app.screen
        assert isinstance(quiz, QuizScreen)
        for number, _ in enumerate(lesson.questions):
            question = quiz.question
            assert question is not None
            # The first one is answered wrongly.
            wanted = question.right if number else question.wrong[0]
            await pilot.press(str(quiz.choices.index(wanted) + 1))
            why = str(quiz.query_one("#quiz-why", Static).visual)
            assert question.why[:30] in why
            assert ("Right." in why) == bool(number)
            await pilot.press("space")
        assert quiz.question is None
        await pilot.press("space")
        assert isinstance(app.screen, LessonScreen)
        assert progress.done(lesson)
        assert progress.score(lesson)[0] == len(lesson.questions) - 1
        await pilot.press("escape")
        await pilot.pause()
        assert isinstance(app.screen, CourseScreen)
        assert f"1 of {len(course())} done" in str(app.screen.query_one("#course-title", Static).visual)


async def test_an_answer_must_be_given_first(progress: Progress) -> None:
    app = LearnApp(LESSONS, progress, LESSONS[1])
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("z")
        await pilot.pause()
        quiz = app.screen
        assert isinstance(quiz, QuizScreen)
        before = quiz.question
        await pilot.press("space")
        assert quiz.question is before
        assert not progress.begun(LESSONS[1])


async def test_the_exam_names_no_walk_before_the_answer(progress: Progress) -> None:
    exam = LESSONS[-1]
    app = LearnApp(LESSONS, progress, exam)
    async with app.run_test(size=(100, 36)) as pilot:
        await pilot.press("z")
        await pilot.pause()
        quiz = app.screen
        assert isinstance(quiz, QuizScreen)
        for _ in range(exam.draw):
            question = quiz.question
            assert question is not None
            assert question.output.strip()[:20] in str(quiz.query_one("#quiz-output", Static).visual)
            assert not quiz.query_one("#quiz-why", Static).display
            await pilot.press(str(quiz.choices.index(question.right) + 1), "space")
        assert "Passed." in str(quiz.query_one("#quiz-why", Static).visual)
    assert progress.done(exam)


@pytest.mark.parametrize(
    ("key", "kind", "value"), [("w", "watch", "ssh-refused"), ("d", "lab", "ssh-refused")]
)
async def test_a_wish_leaves_the_app(progress: Progress, key: str, kind: str, value: str) -> None:
    app = LearnApp(LESSONS, progress, LESSONS[2])
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        await pilot.press(key)
    wish = app.return_value
    assert wish is not None
    assert (wish.kind, wish.value, wish.lesson) == (kind, value, LESSONS[2])


@pytest.mark.parametrize("seen", [False, True])
def test_a_walk_counts_as_watched_when_its_end_was_seen(
    progress: Progress, monkeypatch: pytest.MonkeyPatch, seen: bool
) -> None:
    wishes = iter([Wish("watch", "ssh-refused", LESSONS[2]), None])
    monkeypatch.setattr(LearnApp, "run", lambda self: next(wishes))
    monkeypatch.setattr("tui.app.watch_app.run_lesson", lambda folder: seen)
    assert run_course(LESSONS, progress, None) == 0
    assert progress.mark(LESSONS[2]).watched == (["ssh-refused"] if seen else [])


async def test_the_list_opens_the_first_lesson_that_is_not_done(progress: Progress) -> None:
    for question in LESSONS[0].questions:
        progress.answered(LESSONS[0], question.key, True)
    app = LearnApp(LESSONS, progress)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        assert app.screen.query_one(OptionList).highlighted == 1
        await pilot.press("enter")
        await pilot.pause()
        assert isinstance(app.screen, LessonScreen)
        assert app.screen.lesson is LESSONS[1]


async def test_words_of_the_text_come_first(progress: Progress) -> None:
    app = LearnApp(LESSONS, progress, LESSONS[1])
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        await pilot.press("question_mark")
        assert isinstance(app.screen, WordsScreen)
        text = str(app.screen.query_one("#words", Static).visual)
        assert text.startswith("In this text")
        assert "KV cache" in text
        await pilot.press(*"xid")
        assert "fallen off the bus" in str(app.screen.query_one("#words", Static).visual)
        await pilot.press("escape")
        assert isinstance(app.screen, LessonScreen)


def test_the_words_are_a_key_away_on_every_screen() -> None:
    """Keys of an app reach its screens; a modal screen has to have them itself, and every one is a Dialog."""
    for module in pkgutil.walk_packages(tui.__path__, "tui."):
        importlib.import_module(module.name)
    ours = [one for one in (*_below(App), *_below(Screen)) if one.__module__.startswith("tui.")]
    assert len(ours) > 12
    for one in ours:
        keys = one._merge_bindings().key_to_bindings
        if issubclass(one, ModalScreen | App):
            assert keys["f4"][0].action in ("words", "app.words"), one
            assert keys["question_mark"][0].action in ("words", "app.words"), one
        else:
            found = [binding.action for key in ("f4", "question_mark") for binding in keys.get(key, ())]
            assert set(found) <= {"app.words"}, one


def _below(kind: type[Any]) -> Iterator[type[Any]]:
    for one in kind.__subclasses__():
        yield one
        yield from _below(one)


def test_words_are_found_whole_and_in_short() -> None:
    assert "tensor parallelism (TP)" in used_in("set TP to 8")
    assert used_in("the ranks meet") == ["rank"]
    assert "rank" not in used_in("frankly")
    assert len(words()) > 40
    assert all(sentence.endswith(".") for sentence in words().values())


def test_the_list_without_a_screen(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert main(["learn", "--list"]) == 0
    text = capsys.readouterr().out
    assert "What we build" in text
    assert f"0 of {len(course())} done" in text
    assert main(["learn", "--json", "reach"]) == 0
    found = json.loads(capsys.readouterr().out)["lessons"]
    assert [one["id"] for one in found] == ["02-reach"]
    assert found[0]["walks"] == ["ssh-refused"]
    assert main(["learn", "nothing"]) == 2
    assert "no such lesson" in capsys.readouterr().err
    assert main(["learn"]) == 2
    assert "--list" in capsys.readouterr().err


def test_watch_lists_the_shipped_walks(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--watch"]) == 0
    assert "port-taken" in capsys.readouterr().out
    assert main(["--watch", "nothing-like-it"]) == 2
    assert "port-taken" in capsys.readouterr().err


def test_the_first_use_of_a_word_is_a_link() -> None:
    text = "Ranks meet; a rank waits. `rank`\n\n# rank\n\n    rank\n\n[raylet](x) KV cache, all_reduce."
    found = linked(text)
    assert found.startswith(
        "[Ranks](word:rank) meet; a rank waits. `rank`\n\n# rank\n\n    rank\n\n[raylet](x)"
    )
    assert "[KV cache](word:KV%20cache), [all_reduce](word:all_reduce)." in found
    assert of_link("word:KV%20cache") == "KV cache"
    assert of_link("https://example.org") == ""


@given(st.text())
def test_links_change_nothing_that_is_read(text: str) -> None:
    assert re.sub(r"\[([^\]]*)\]\(word:[^)]*\)", r"\1", linked(text)) == text


async def test_a_link_in_a_text_opens_its_word(progress: Progress) -> None:
    app = LearnApp(LESSONS, progress, LESSONS[1])
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        markdown = app.screen.query_one(Markdown)
        markdown.post_message(Markdown.LinkClicked(markdown, "word:KV%20cache"))
        await pilot.pause()
        assert isinstance(app.screen, WordsScreen)
        assert app.screen.query_one(Input).value == "KV cache"
        assert "KV cache" in str(app.screen.query_one("#words", Static).visual)


def test_a_lesson_plays_the_shipped_walk_and_not_a_folder_of_that_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ssh-refused").mkdir()
    (tmp_path / "ssh-refused" / "meta.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(WatchApp, "start", lambda self: 0)
    assert run_lesson("ssh-refused") is False
