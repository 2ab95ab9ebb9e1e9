"""One-key fixes at a failed gate: shown as the change or command they are, and done as shown; Enter to the log."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.helpers.tui_fakes import (
    Scripted,
    Toy,
    ToyWalk,
    WriteExpected,
    plain,
    toy_cluster,
    toy_expected,
    until,
)
from tui.app.app import MilepostApp
from tui.screens.fix import FixScreen
from tui.widgets.log_view import LogView
from wizard_steps.cluster.file import dump, load
from wizard_steps.engine.step import Known
from wizard_steps.model import Check, Cmd, Node, Results, Verdict, Work

__all__ = ["toy_expected"]


class Port(Toy):
    """Fails while its port is 8000, in the words of the real gate."""

    def judge(self, known: Known, done: Results) -> Verdict:
        port = known.cluster.serve.port
        found = f"port {port} is taken by a process milepost did not start (nginx)"
        bad = Check("port", False, found, "a free port", "gpu-a")
        return Verdict(port != 8000, "the port", (bad,) if port == 8000 else ())


class Starts(Toy):
    """Leaves something running on every node."""

    def leaves_running(self, known: Known, node: Node) -> str:
        return "Ray worker"

    def undo(self, known: Known) -> list[Work]:
        return [
            (node, Cmd("stop", "kill it", mutates=True, show=f"stop of {node.name}")) for node in known.nodes
        ]


class Gone(Toy):
    """Fails until the start before it was done twice."""

    def judge(self, known: Known, done: Results) -> Verdict:
        again = Gone.started > 1
        bad = Check("own Ray", False, "its raylet is gone", "running", "gpu-b")
        return Verdict(again, "Ray", () if again else (bad,))

    started = 0


async def test_a_change_of_the_file_is_one_key(tmp_path: Path, toy_expected: WriteExpected) -> None:
    toy_expected("serve", "Serve", "...")
    file = tmp_path / "milepost.toml"
    file.write_text("# ours\n" + dump(toy_cluster()) + "\n[serve]\nport = 8000  # the usual one\n")
    walk = ToyWalk(tmp_path / "walk", [Port("serve", "Serve", "listen")], Scripted({}))
    app: Any = MilepostApp(walk, file, linger=0.0)
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: app.gate_open and "4 fix  use port 8001 and retry" in plain(app))
        line = file.read_text().splitlines().index("port = 8000  # the usual one") + 1
        await until(pilot, lambda: f"serve.port: 8000 → 8001   (milepost.toml:{line})" in plain(app))
        await pilot.press("9", "4")
        await until(pilot, lambda: app.session.state.outcome == "passed")
    assert load(file).serve.port == 8001
    assert "port = 8001  # the usual one" in file.read_text()
    assert file.read_text().startswith("# ours\n")


async def test_a_restart_is_shown_confirmed_and_goes_back(
    tmp_path: Path, toy_expected: WriteExpected
) -> None:
    for name in ("join", "status"):
        toy_expected(name, name, "...")
    Gone.started = 0

    class Counted(Starts):
        def judge(self, known: Known, done: Results) -> Verdict:
            Gone.started += 1
            return Verdict(True, "joined")

    transport = Scripted({})
    walk = ToyWalk(tmp_path / "walk", [Counted("join", "Join"), Gone("status", "Status")], transport)
    app: Any = MilepostApp(walk, None, linger=0.0)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app.gate_open and "4 fix  restart Ray worker on gpu-b" in plain(app))
        assert "$ stop of gpu-b" in plain(app)
        await pilot.press("4")
        assert isinstance(app.screen, FixScreen)
        await pilot.press("enter")
        assert app.gate_open, "doing nothing is the first choice"
        await pilot.press("4", "down", "enter")
        await until(pilot, lambda: app.session.state.outcome == "passed")
    assert [node for node, text in transport.ran if text == "kill it"] == ["gpu-b"]
    assert app.session.state.step("join").attempt == 2


async def test_enter_goes_to_the_line_of_the_log(tmp_path: Path, toy_expected: WriteExpected) -> None:
    toy_expected("serve", "Serve", "ready")
    text = "".join(f"line {n}\n" for n in range(300)) + "it broke\n"
    script = {("gpu-a", "serve"): [(text, 1)], ("gpu-b", "serve"): [("ready\n", 0)]}
    walk = ToyWalk(tmp_path / "walk", [Toy("serve", "Serve", "listen")], Scripted(script))
    app: Any = MilepostApp(walk, None, linger=0.0)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app.gate_open and "opens the log at gpu-a" in plain(app))
        await pilot.press("enter")
        await until(pilot, lambda: "it broke" in plain(app))
        view = app.screen.query_one("#log-view", LogView)
        assert view.hit > 299
        assert not view.following
