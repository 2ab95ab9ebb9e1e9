"""`milepost --watch`: pace, capped pauses, jumps both ways, questions before a shut gate is judged."""

from __future__ import annotations

import asyncio
import fcntl
import os
import pty
import shutil
import struct
import sys
import termios
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.helpers.tui_fakes import plain, shows, until
from tests.helpers.walk_maker import make, record, settled_plan
from tui.app.watch_app import WatchApp
from tui.cli.main import main
from tui.screens.watch_screen import JumpScreen
from tui.widgets.panes import InfoPanel
from wizard_steps.engine.decide import Answer
from wizard_steps.model import Verdict
from wizard_steps.recording import events as ev
from wizard_steps.recording import journal as walks
from wizard_steps.recording import notes
from wizard_steps.recording.state import State, fold
from wizard_steps.walks.player import CAP, FAILED, PASSED, SPEEDS, Player, Timeline
from wizard_steps.walks.watching import QUESTION, Playback

__all__ = ["settled_plan"]

TIMES = st.lists(st.floats(0, 1e5), max_size=30)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("watch") / "walk"
    make(folder, {"smi": ("one-gpu-lost", "eight-and-eight"), "serve": "port-taken"}, (Answer("retry"),))
    notes.append(folder, notes.now("reach", "the first note"))
    notes.append(folder, notes.now("smi", "Count the rows. What would you try?", kind="ask", attempt=1))
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "walk"))


def steps_at(*times: float) -> Timeline:
    return Timeline([ev.StepStarted(t, "s", 1) for t in times])


def test_pauses_are_capped_and_all_else_keeps_its_pace() -> None:
    line = steps_at(0, 0.5, 100.5, 101.0)
    assert line.played == [0, 0.5, 0.5 + CAP, 1.0 + CAP]
    assert line.recorded_at(0.25) == 0.25
    # The screen's clock runs through a capped pause faster, and arrives on time.
    assert line.recorded_at(0.5 + CAP / 2) == 50.5
    assert line.recorded_at(99) == 101.0


def test_a_shut_gate_stays_on_show_even_where_a_script_answered_at_once() -> None:
    shut, opened = (ev.Judged(1.0, "s", 1, Verdict(ok, "")) for ok in (False, True))
    line = Timeline([ev.StepStarted(0.0, "s", 1), shut, ev.StepStarted(1.0, "s", 2), opened, shut])
    assert line.played == [0, 1, 1 + FAILED, 1 + FAILED, 1 + FAILED + PASSED]
    assert line.recorded_at(3) == 1.0


@given(TIMES)
def test_playing_time_never_runs_backwards(times: list[float]) -> None:
    line = steps_at(*times)
    assert line.played == sorted(line.played)
    assert line.length <= CAP * len(times)
    shown = [line.recorded_at(line.length * n / 20) for n in range(21)] if times else []
    assert shown == sorted(shown)


class Now:
    def __init__(self) -> None:
        self.t = 0.0

    def __call__(self) -> float:
        return self.t


def test_pause_speed_and_question() -> None:
    now = Now()
    player = Player(steps_at(*range(100)), now)
    now.t = 3
    assert player.at == 3
    player.toggle()
    now.t = 9
    assert player.at == 3
    player.toggle()
    player.faster(2)
    assert player.speed == 4
    now.t = 10
    assert player.at == 7
    player.hold("what would you try?")
    now.t = 20
    assert player.at == 7
    player.toggle()
    now.t = 21
    assert (player.at, player.question) == (11, "")
    for _ in range(20):
        player.faster(1)
    assert player.speed == SPEEDS[-1]
    now.t = 1000
    assert player.at == player.timeline.length


async def test_the_engine_tells_all_events_and_their_fold(made: Path) -> None:
    walk = walks.load(made)
    playback = Playback(walk)
    told: list[ev.AnyEvent] = []
    states: list[State] = []

    def on_event(event: ev.AnyEvent, state: State) -> None:
        told.append(event)
        states.append(state)

    engine = playback.engine(None, None, on_event)  # type: ignore[arg-type]
    playback.player.seek(len(walk.events))
    task = asyncio.create_task(engine.walk())
    await asyncio.sleep(0.05)
    assert not task.done()
    assert tuple(told) == walk.events
    assert states[-1] == fold(walk.events)
    assert playback.watched
    # Back to the second milestone, from the beginning.
    rewound: list[bool] = []
    playback.rewound = lambda: rewound.append(True)
    playback.player.toggle()
    playback.jump(1)
    await asyncio.sleep(0.05)
    assert rewound == [True]
    assert states[-1] == fold(walk.events[: playback.milestones[1] + 1])
    playback.move(1)
    await asyncio.sleep(0.05)
    assert states[-1] == fold(walk.events[: playback.milestones[2] + 1])
    playback.move(-1)
    await asyncio.sleep(0.05)
    assert states[-1] == fold(walk.events[: playback.milestones[1] + 1])
    assert playback.watched, "going back makes nothing unseen"
    task.cancel()


async def test_a_shut_gate_is_judged_only_after_the_question(made: Path) -> None:
    walk = walks.load(made)
    playback = Playback(walk)
    told: list[ev.AnyEvent] = []
    engine = playback.engine(None, None, lambda event, state: told.append(event))  # type: ignore[arg-type]
    at = next(n for n, e in enumerate(walk.events) if isinstance(e, ev.Judged) and not e.verdict.passed)
    playback.player.speed = SPEEDS[-1]
    playback.player.seek(at - 1)
    task = asyncio.create_task(engine.walk())
    await asyncio.sleep(0.3)
    assert playback.player.question == "Count the rows. What would you try?"
    assert len(told) == at
    assert not playback.watched
    playback.player.toggle()
    await asyncio.sleep(0.3)
    assert told[at] == walk.events[at]
    # The author asked nothing about the other gate that stays shut.
    playback.player.seek(len(walk.events) - 4)
    await asyncio.sleep(0.3)
    assert playback.player.question == QUESTION
    task.cancel()


async def test_a_recording_of_older_steps_can_be_watched(tmp_path: Path) -> None:
    await record(tmp_path / "w")
    events = tmp_path / "w" / "events.jsonl"
    events.write_text(events.read_text().replace("nvidia-smi", "old-smi"))
    walk = walks.load(tmp_path / "w")
    playback = Playback(walk)
    told: list[ev.AnyEvent] = []
    engine = playback.engine(None, None, lambda event, state: told.append(event))  # type: ignore[arg-type]
    playback.player.seek(len(walk.events))
    task = asyncio.create_task(engine.walk())
    await asyncio.sleep(0.05)
    assert tuple(told) == walk.events
    task.cancel()


async def test_it_says_what_is_recorded_and_stops_at_each_milestone_when_asked(folder: Path) -> None:
    walk = walks.load(folder)
    walk = replace(walk, meta=replace(walk.meta, title="A short walk", note="What it shows."))
    app = WatchApp(Playback(walk), card=True)
    async with app.run_test(size=(80, 24)) as pilot:
        await shows(app, "A short walk", "What it shows.", "Step by step")
        assert app.playback.player.paused
        assert app.playback.told == 0
        await pilot.press("s")
        await until(pilot, lambda: app.playback.told and app.playback.player.paused)
        assert app.screen.query_one(InfoPanel).display
        judged = [n for n, event in enumerate(walk.events) if isinstance(event, ev.Judged)]
        assert app.playback.told == judged[0] + 1
        await pilot.press("space")
        await until(pilot, lambda: app.playback.told == judged[1] + 1 or app.playback.player.question)


def test_what_answers_the_question_is_kept_back_until_the_verdict(folder: Path) -> None:
    playback = Playback(walks.load(folder))
    shut = [e for e in playback.walk.events if isinstance(e, ev.Judged) and not e.verdict.passed]
    assert shut
    assert all(playback.answers(event.step, event.attempt) for event in shut)
    assert not playback.answers("reach", 1)


@pytest.mark.parametrize("size", [(80, 24), (140, 40)])
async def test_the_screen(folder: Path, size: tuple[int, int]) -> None:
    walk = walks.load(folder)
    app = WatchApp(Playback(walk))
    player = app.playback.player
    async with app.run_test(size=size) as pilot:
        await until(pilot, lambda: "RECORDED" in plain(app))
        await pilot.press("space")
        await until(pilot, lambda: "PAUSED" in plain(app))
        await pilot.press("plus", "plus")
        await until(pilot, lambda: "4x" in plain(app))
        await pilot.press("J")
        assert isinstance(app.screen, JumpScreen)
        await pilot.press("escape")
        app.playback.jump(0)
        await until(pilot, lambda: "the first note" in plain(app))
        app.playback.jump(walk_place(app, "smi"))
        await until(pilot, lambda: "the first note" not in plain(app))
        assert app.session is not None
        assert app.session.state.current == "smi"
        assert ", . milestones" in plain(app)
        await pilot.press("space")
        await until(pilot, lambda: player.question)
        await until(pilot, lambda: "What would you try?" in plain(app))
        assert "YOUR TURN" in plain(app)
        assert "✗ failed" not in plain(app)
        player.speed = SPEEDS[0]
        await pilot.press("space")
        session = app.session
        await until(pilot, lambda: session.state.step("smi").status == "failed")
        player.toggle()
        await until(pilot, lambda: "✗ failed" in plain(app))
        player.toggle()
        player.seek(len(walk.events))
        await until(pilot, lambda: "THE END" in plain(app))
        await pilot.press("comma")
        await until(pilot, lambda: "THE END" not in plain(app))
        await pilot.press("q")
        await until(None, lambda: app.return_value is not None)
    # Nothing was written.
    assert walks.load(folder).events == walk.events


def walk_place(app: WatchApp, step: str) -> int:
    events = app.playback.walk.events
    started = [events[n] for n in app.playback.milestones]
    return next(n for n, e in enumerate(started) if isinstance(e, ev.StepStarted) and e.step == step)


def test_watching_needs_a_terminal_and_a_walk(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--watch", str(folder)]) == 2
    assert "needs a terminal" in capsys.readouterr().err


@pytest.mark.skipif(os.name != "posix", reason="needs a pseudo-terminal")
def test_on_a_real_terminal_it_plays_and_q_leaves_with_status_0(folder: Path) -> None:
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(Path(__file__).parents[2])
        os.environ["TERM"] = "xterm"
        os.execv(sys.executable, [sys.executable, "-m", "tui.cli.main", "--watch", str(folder)])
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
    seen = b""
    keys = [(b"Step by step", b" "), (b"PLAYING", b"q")]
    while True:
        try:
            seen += os.read(terminal, 65536)
        except OSError:
            break
        if keys and keys[0][0] in seen:
            os.write(terminal, keys.pop(0)[1])
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert b"nothing was run" in seen
    assert b"Traceback" not in seen


async def test_a_change_of_the_cluster_file_that_is_not_todays_is_told(tmp_path: Path) -> None:
    await record(tmp_path / "w")
    walk = walks.load(tmp_path / "w")
    edit = ev.ClusterEdited(0.0, "serve.model", "m", {"nodes": 3})
    playback = Playback(replace(walk, events=(*walk.events, edit)))
    assert playback.unread == 1
    assert Playback(walk).unread == 0
