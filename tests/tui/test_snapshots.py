"""Pictures of the screen at 80x24 and 120x40. The clock stands still, so nothing in them moves.

After a change that is meant: pytest tests/tui/test_snapshots.py --snapshot-update, and look at the pictures.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from tests.helpers.tui_fakes import Scripted, ToyWalk, WriteExpected, toy_cluster, toy_expected, until
from tests.tui.test_walk import HELLO, three
from tui.app.app import MilepostApp
from tui.screens.question import QuestionScreen
from tui.widgets.bars import HeadingBar
from wizard_steps.engine.clock import ZeroClock

__all__ = ["toy_expected"]
SIZES = [(80, 24), (120, 40)]
Steps = Callable[[Pilot[Any]], Any]


class Still(ZeroClock):
    """Time does not pass."""

    async def sleep(self, seconds: float) -> None:
        await super().sleep(0)


@pytest.fixture(autouse=True)
def colours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)


def make(tmp_path: Path, toy_expected: WriteExpected, simulated: bool = False) -> MilepostApp:
    script = {**HELLO, ("gpu-b", "serve"): [("address already in use\n", 1)]}
    cluster = toy_cluster(simulated=simulated)
    walk = ToyWalk(tmp_path / "walk", three(toy_expected), Scripted(script), cluster, Still())
    return MilepostApp(walk, None, linger=0.0)


async def question(pilot: Pilot[Any]) -> None:
    app: Any = pilot.app
    await until(pilot, lambda: isinstance(app.screen, QuestionScreen))
    # Behind it the walk is drawn a moment later: no longer the step that has just passed.
    await until(pilot, lambda: "waits" in str(app._walk_screen.query_one(HeadingBar)._said))
    await pilot.pause(0.3)


async def gate(pilot: Pilot[Any]) -> None:
    app: Any = pilot.app
    await question(pilot)
    await pilot.press("enter")
    await until(pilot, lambda: app.gate_open and not app.session.evidence.held)
    await pilot.pause(0.5)


async def compare(pilot: Pilot[Any]) -> None:
    await gate(pilot)
    await pilot.press("1", "i")
    await pilot.pause(0.8)


async def log(pilot: Pilot[Any]) -> None:
    await gate(pilot)
    await pilot.press("l")
    await pilot.pause(0.5)


@pytest.mark.parametrize("size", SIZES, ids=["80x24", "120x40"])
@pytest.mark.parametrize("steps", [question, gate, compare, log], ids=lambda steps: steps.__name__)
def test_screen(
    snap_compare: Any, tmp_path: Path, toy_expected: WriteExpected, size: tuple[int, int], steps: Steps
) -> None:
    app = make(tmp_path, toy_expected, simulated=steps is gate)
    assert snap_compare(app, terminal_size=size, run_before=steps)


def test_the_pictures_are_pictures() -> None:
    """An app that answers something else when it is photographed would be compared with that for ever."""
    pictures = list(Path(__file__).with_name("__snapshots__").rglob("*.svg"))
    assert len(pictures) == len(SIZES) * 10 + 1
    assert all(picture.read_text(encoding="utf-8").startswith("<svg") for picture in pictures)


def test_set_up(snap_compare: Any) -> None:
    app = MilepostApp(None, Path("no-such-folder/milepost.toml"))

    async def still(pilot: Pilot[Any]) -> None:
        await pilot.pause(0.3)
        for field in app.screen.query(Input):
            field.cursor_blink = False
        await pilot.pause(0.1)

    assert snap_compare(app, terminal_size=(80, 24), run_before=still)
