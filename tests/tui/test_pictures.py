"""Pictures of the screens a person meets: plan, failure, compare, matrix, ending, lesson; 80x24 and 120x40.

Failure, compare, matrix and ending show shipped recordings, drawn by the real screens. After a change that is
meant: pytest tests/tui/test_pictures.py --snapshot-update, and look at them.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

from syrupy.assertion import SnapshotAssertion
from textual.app import App

from tests.helpers.tui_fakes import until
from tests.tui.test_snapshots import SIZES, colours, differing, svg
from tui.app.learn_app import LearnApp
from tui.app.themes import DARK
from tui.app.watch_app import WatchApp
from tui.screens.handover import HandoverScreen
from tui.screens.nodes import NodesScreen
from tui.screens.plan import PlanScreen
from wizard_steps.cluster.file import parse
from wizard_steps.learn.lessons import Lesson, QuizQuestion
from wizard_steps.learn.progress import Progress
from wizard_steps.recording import journal
from wizard_steps.recording.journal import Walk
from wizard_steps.recording.state import State, fold
from wizard_steps.walks.handover import handover
from wizard_steps.walks.shipped import find
from wizard_steps.walks.watching import Playback

__all__ = ["colours", "svg"]
CLUSTER = """name = "two-boxes"
[[nodes]]
host = "root@gpu-a:2222"
name = "gpu-a"
role = "head"
gpus = 8
[[nodes]]
host = "gpu-b"
gpus = 8
[serve]
model = "meta-llama/Llama-3.1-70B-Instruct"
tensor_parallel = 8
pipeline_parallel = 2
"""


class Shown(App[None]):
    """One screen in milepost's own theme and style."""

    CSS_PATH = str(Path(__file__).parents[2] / "tui" / "app" / "wizard.tcss")

    def __init__(self, screen: Any) -> None:
        super().__init__()
        self._wanted = screen

    def on_mount(self) -> None:
        self.register_theme(DARK)
        self.theme = DARK.name
        self.push_screen(self._wanted)

    def action_ask_quit(self) -> None: ...


@lru_cache(maxsize=4)
def walk(name: str) -> tuple[Walk, State]:
    found = journal.load(find(Path(name)))
    return found, fold(found.events)


def plan_() -> App[None]:
    return Shown(PlanScreen(parse(CLUSTER), Path("milepost.toml")))


def matrix() -> App[None]:
    return Shown(NodesScreen(lambda: walk("hidden-gpus")[1]))


def ending() -> App[None]:
    found, state = walk("h100x2-hosts-tp2")
    made = handover(state, found.read, "milepost-walks/two-boxes", "milepost.toml")
    assert made is not None
    return Shown(HandoverScreen(made))


#: Its own words: the course's may change, and what its faults need differs between machines.
LESSON = Lesson(
    id="06-networks",
    number=6,
    title="Prove the network",
    teaches="the names of NCCL's transports",
    minutes=6,
    text="""A cluster can form, and everything stops at the first exchange. The network has layers:

    TCP, port 6379       workers join
    large packets        MTU 9000 on all switches? If not, normal pings
                         pass and data stops

The **all_reduce** needs each of them: afterwards every rank has the sum of what all ranks had.
""",
    walks=("high-ports-dropped", "h100x2-nvlink"),
    fault="",
    exam=False,
    draw=0,
    questions=(QuizQuestion("Which one is slow?", "NET/Socket", ("P2P", "SHM"), "It is plain TCP."),),
)


def lesson(tmp_path: Path) -> LearnApp:
    return LearnApp((LESSON,), Progress(tmp_path / "learn.json"), LESSON)


async def test_picture(svg: SnapshotAssertion, tmp_path: Path) -> None:
    wrong = []
    for name, made in {"plan": plan_, "matrix": matrix, "ending": ending}.items():
        async with made().run_test(size=SIZES[0]) as pilot:
            wrong += await differing(pilot, svg, name)
    async with lesson(tmp_path).run_test(size=SIZES[0]) as pilot:
        wrong += await differing(pilot, svg, "lesson")
    assert not wrong


async def test_walk_screen(svg: SnapshotAssertion) -> None:
    """The recorded walk at its end: half the GPUs of a machine are missing."""
    playback = Playback(walk("hidden-gpus")[0])
    app = WatchApp(playback)
    async with app.run_test(size=SIZES[0]) as pilot:
        await until(pilot, lambda: app.session is not None)
        playback.player.seek(len(playback.walk.events))
        await until(pilot, lambda: app.session is not None and app.session.state.outcome is not None)
        # A failed gate brings its checks to the front: a view chosen before that would be taken away.
        await until(pilot, lambda: app.screen.query_one("#checks").display)
        wrong = await differing(pilot, svg, "3-failure")
        await pilot.resize_terminal(*SIZES[0])
        # `ray status` is the head's output; the node that failed comes first.
        await pilot.press("1", "left_square_bracket")
        wrong += await differing(pilot, svg, "1-compare")
    assert not wrong


def test_the_readme_shows_the_screen_as_it_is() -> None:
    """Copy the file after an update of the snapshots."""
    root = Path(__file__).parents[2]
    here = root / "tests/tui/__snapshots__/test_pictures/test_walk_screen[1-compare-120x40].svg"
    assert (root / "snapshots/pictures/compare.svg").read_bytes() == here.read_bytes()
    assert "snapshots/pictures/compare.svg" in (root / "README.md").read_text(encoding="utf-8")
