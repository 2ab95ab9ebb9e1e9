"""Pictures of the screen at 80x24 and 120x40. The clock stands still, so nothing in them moves.

After a change that is meant: pytest tests/tui/test_snapshots.py --snapshot-update, and look at the pictures.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pytest_textual_snapshot import SVGImageExtension
from syrupy.assertion import SnapshotAssertion
from textual.pilot import Pilot

from tests.helpers.tui_fakes import (
    Scripted,
    ToyWalk,
    WriteExpected,
    picture,
    toy_cluster,
    toy_expected,
    until,
)
from tests.tui.test_walk import HELLO, three
from tui.app.app import MilepostApp
from tui.screens.question import QuestionScreen
from tui.widgets.bars import HeadingBar
from tui.widgets.panes import GateBar, InfoPanel
from wizard_steps.engine.clock import ZeroClock

__all__ = ["toy_expected"]
SIZES = [(80, 24), (120, 40)]


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


async def gate(pilot: Pilot[Any]) -> None:
    app: Any = pilot.app
    await question(pilot)
    await pilot.press("enter")
    await until(pilot, lambda: app.gate_open and not app.session.evidence.held)
    await until(pilot, lambda: app._walk_screen.query_one(GateBar)._said)


async def compare(pilot: Pilot[Any]) -> None:
    await pilot.press("1", "i")
    panel = pilot.app.screen.query_one(InfoPanel)
    await until(pilot, lambda: not panel._drawing and "Because Serve comes first." in str(panel._wanted))


async def log(pilot: Pilot[Any]) -> None:
    await pilot.press("i", "l")


async def differing(pilot: Pilot[Any], svg: SnapshotAssertion, name: str) -> list[str]:
    """The screen in both sizes against the pictures of it: the names of those that differ."""
    found = {f"{name}-{width}x{height}": await picture(pilot, (width, height)) for width, height in SIZES}
    return [name for name, made in found.items() if svg(name=name) != made]


@pytest.fixture
def svg(snapshot: SnapshotAssertion) -> SnapshotAssertion:
    return snapshot.use_extension(SVGImageExtension)


async def test_screen(svg: SnapshotAssertion, tmp_path: Path, toy_expected: WriteExpected) -> None:
    """One walk; each of its screens in both sizes."""
    app = make(tmp_path, toy_expected, simulated=True)
    wrong = []
    async with app.run_test(size=SIZES[0], notifications=True) as pilot:
        for steps in (question, gate, compare, log):
            await steps(pilot)
            wrong += await differing(pilot, svg, steps.__name__)
    assert not wrong


def test_the_pictures_are_pictures() -> None:
    """An app that answers something else when it is photographed would be compared with that for ever."""
    pictures = list(Path(__file__).with_name("__snapshots__").rglob("*.svg"))
    assert len(pictures) == len(SIZES) * 10 + 1
    assert all(picture.read_text(encoding="utf-8").startswith("<svg") for picture in pictures)


async def test_set_up(svg: SnapshotAssertion) -> None:
    app = MilepostApp(None, Path("no-such-folder/milepost.toml"))
    async with app.run_test(size=SIZES[0]) as pilot:
        await until(pilot, lambda: app.focused is not None)
        assert svg == await picture(pilot, SIZES[0])
