"""A note written while the walk is recorded: kept without secrets, shown where the recording is watched."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual.widgets import Input

from tests.helpers.tui_fakes import Scripted, Toy, ToyWalk, WriteExpected, plain, shows, toy_expected, until
from tui.app.app import MilepostApp
from tui.app.watch_app import WatchApp
from tui.screens.note import NoteScreen
from wizard_steps.recording import journal as walks
from wizard_steps.recording.notes import of_step
from wizard_steps.walks.watching import Playback

__all__ = ["toy_expected"]
SECRET = "hunter2-secret"


def walk_of(tmp_path: Path, toy_expected: WriteExpected) -> ToyWalk:
    toy_expected("reach", "Reach", "reach on {{node}}")
    script = {("gpu-a", "reach"): [("no route\n", 255), ("reach on gpu-a\n", 0)]}
    return ToyWalk(tmp_path / "walk", [Toy("reach", "Reach every node")], Scripted(script))


async def test_a_note_belongs_to_the_attempt_it_was_written_beside(
    tmp_path: Path, toy_expected: WriteExpected
) -> None:
    walk = walk_of(tmp_path, toy_expected)
    walk.redactor.add(SECRET)
    app = MilepostApp(walk, None, linger=0.0)
    async with app.run_test(size=(80, 24), notifications=True) as pilot:
        await until(pilot, lambda: app.gate_open)
        await until(pilot, lambda: "m Note" in plain(app))
        await pilot.press("m")
        assert isinstance(app.screen, NoteScreen)
        await pilot.press(*"look at row 3")
        assert "look at row 3" in plain(app)
        await pilot.press("enter")
        await pilot.press("m")
        assert "- look at row 3" in plain(app)
        app.screen.query_one(Input).value = f"not with {SECRET}"
        await pilot.press("enter")
        await until(pilot, lambda: "without the secret" in plain(app))
        await pilot.press("m", *"never", "escape", "m", *"  ", "enter")
        await pilot.press("r")
        await until(pilot, lambda: app.session.state.outcome == "passed")
        await pilot.press("m", *"fine now", "enter")
        await pilot.press("ctrl+c")
        app.simulate_key("ctrl+c")
        await until(None, lambda: app.return_value is not None)
    recorded = walks.load(tmp_path / "walk")
    assert [n.text for n in of_step(recorded.notes, "reach", 1)] == ["look at row 3", "not with [REDACTED]"]
    assert [n.text for n in of_step(recorded.notes, "reach", 2)] == ["fine now"]
    assert SECRET.encode() not in (tmp_path / "walk" / "notes.jsonl").read_bytes()
    await watched(recorded)


async def watched(recorded: walks.Walk) -> None:
    app = WatchApp(Playback(recorded))
    async with app.run_test(size=(80, 24), notifications=True) as pilot:
        await until(pilot, lambda: app.playback.told >= len(recorded.events) or app.playback.player.question)
        await pilot.press("space")
        await until(pilot, lambda: "fine now" in plain(app), limit=30)
        assert "look at row 3" not in plain(app)
        await pilot.press("m")
        await until(pilot, lambda: "milepost edit WALK --note" in plain(app))
        assert not isinstance(app.screen, NoteScreen)


async def test_a_disk_that_refuses_is_told_and_the_walk_goes_on(
    tmp_path: Path, toy_expected: WriteExpected, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = MilepostApp(walk_of(tmp_path, toy_expected), None, linger=0.0)
    async with app.run_test(size=(80, 24), notifications=True) as pilot:
        await until(pilot, lambda: app.gate_open)
        for word in ("one", "two", "three", "four"):
            app.notify(word * 30, timeout=1000)
        await pilot.press("m", *"seen")
        await shows(app, "seen", "twotwo")
        (tmp_path / "walk" / "notes.jsonl").mkdir()
        await pilot.press("enter")
        await until(pilot, lambda: any("cannot be written" in told.message for told in app._notifications))
        assert app.gate_open
