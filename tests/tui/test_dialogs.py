"""Set-up, SSH's questions, many nodes, a small terminal, debugging, a fix: each driven by keys."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from textual.widgets import Input, OptionList

from tests.helpers.tui_fakes import (
    Scripted,
    Toy,
    ToyWalk,
    WriteExpected,
    plain,
    shows,
    toy_cluster,
    toy_expected,
    until,
)
from tui.app.app import MilepostApp
from tui.screens.fix import FixScreen
from tui.screens.help import HelpScreen
from tui.screens.leave import QuitScreen, TooSmallScreen
from tui.screens.nodes import NodesScreen
from tui.screens.question import HostKeyScreen, SecretScreen
from tui.screens.setup import SetupScreen
from tui.screens.walk import WalkScreen
from wizard_steps.cluster.file import Cluster, load
from wizard_steps.diagnose.model import Action, Diagnosis, Evidence, Fix

__all__ = ["toy_expected"]


async def test_set_up_writes_the_file_and_walks(tmp_path: Path, toy_expected: WriteExpected) -> None:
    toy_expected("reach", "Reach", "reach on {{node}}")
    path = tmp_path / "milepost.toml"
    made: list[Cluster] = []

    def factory(cluster: Cluster, folder: Path | None) -> ToyWalk:
        made.append(cluster)
        return ToyWalk(tmp_path / "walk", [Toy("reach", "Reach")], Scripted({}), cluster)

    app = MilepostApp(None, path, engine_factory=factory, linger=0.0)
    async with app.run_test(size=(80, 24)) as pilot:
        assert isinstance(app.screen, SetupScreen)
        app.screen.query_one("#f-serve-port", Input).value = "x"
        await pilot.press("ctrl+s")
        assert "Port: 'x' is not a whole number" in plain(app)
        assert app.focused is app.screen.query_one("#f-serve-port")
        app.screen.query_one("#f-serve-port", Input).value = "8100"
        await pilot.press("ctrl+n")
        await pilot.press(*"gpu-c")
        await pilot.press("ctrl+s")
        await until(pilot, lambda: app.session and app.session.state.outcome == "passed")
    assert load(path) == made[0]
    assert [node.host for node in made[0].nodes] == ["gpu-a", "gpu-b", "gpu-c"]
    assert made[0].serve.port == 8100


async def test_leaving_the_set_up_writes_nothing(tmp_path: Path) -> None:
    app = MilepostApp(None, tmp_path / "milepost.toml")
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("ctrl+c")
        assert "Leave the set-up?" in plain(app)
        app.simulate_key("enter")
        await until(None, lambda: app.return_value is not None)
    assert app.return_value == 130
    assert not list(tmp_path.iterdir())


class Asking(Scripted):
    """Asks for a host key and a password before it answers, as SSH does."""

    walk: ToyWalk
    answers: list[Any]

    async def run(self, node: Any, cmd: Any) -> Any:
        if node.name == "gpu-a":
            asker = self.walk.asker
            key = await asker.host_key(node, "gpu-a", 22, "ssh-ed25519", "SHA256:abc")
            self.answers = [key, await asker.password(node, "Password for root@gpu-a:")]
        async for item in super().run(node, cmd):
            yield item


async def test_host_key_and_password_are_asked(tmp_path: Path, toy_expected: WriteExpected) -> None:
    toy_expected("reach", "Reach", "reach on {{node}}")
    transport = Asking({})
    walk = transport.walk = ToyWalk(tmp_path / "walk", [Toy("reach", "Reach")], transport)
    app = MilepostApp(walk, None, linger=0.0)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: isinstance(app.screen, HostKeyScreen))
        await shows(app, "SHA256:abc")
        await pilot.press("down", "enter")
        await until(pilot, lambda: isinstance(app.screen, SecretScreen))
        await pilot.press(*"hunter22")
        assert "hunter22" not in plain(app)
        await pilot.press("enter")
        await until(pilot, lambda: app.session.state.outcome == "passed")
    assert transport.answers == [True, "hunter22"]
    assert walk.redactor.text("x hunter22 y") == "x [REDACTED] y"
    assert all(b"hunter22" not in file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())


async def test_many_nodes_are_a_list_and_the_failed_one_is_first(
    tmp_path: Path, toy_expected: WriteExpected
) -> None:
    toy_expected("smi", "smi", "smi on {{node}}")
    cluster = toy_cluster(workers=39)
    name = cluster.nodes[30].host
    script = {(name, "smi"): [("no devices\n", 9)]}
    walk = ToyWalk(tmp_path / "walk", [Toy("smi", "nvidia-smi")], Scripted(script), cluster)
    app = MilepostApp(walk, None, linger=0.0)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app.gate_open and "1 failed" in plain(app))
        screen = app.screen
        assert isinstance(screen, WalkScreen)
        assert screen.node == name
        assert "node 31 of 40" in plain(app)
        await pilot.press("f")
        assert isinstance(app.screen, NodesScreen)
        assert plain(app).index(f" {name} ") < plain(app).index(" gpu-a ")
        await pilot.press(*"gpu-a", "enter")
        assert screen.node == "gpu-a"
        await pilot.press("f", *"failed", "enter")
        assert screen.node == name


async def test_a_small_terminal_gets_a_message_and_recovers(
    tmp_path: Path, toy_expected: WriteExpected
) -> None:
    toy_expected("smi", "smi", "smi on {{node}}")
    walk = ToyWalk(tmp_path / "walk", [Toy("smi", "nvidia-smi")], Scripted({}))
    app = MilepostApp(walk, None, linger=0.0)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.resize_terminal(60, 20)
        await until(pilot, lambda: isinstance(app.screen, TooSmallScreen))
        await shows(app, "terminal too small, needs 80x24")
        await pilot.resize_terminal(80, 24)
        await until(pilot, lambda: isinstance(app.screen, WalkScreen))
        await pilot.press("f1")
        assert isinstance(app.screen, HelpScreen)
        await pilot.press("escape")
        assert isinstance(app.screen, WalkScreen)


async def test_leaving_is_asked_in_a_small_terminal_and_staying_brings_the_walk_back(
    tmp_path: Path, toy_expected: WriteExpected
) -> None:
    toy_expected("smi", "smi", "smi on {{node}}")
    app = MilepostApp(ToyWalk(tmp_path / "walk", [Toy("smi", "nvidia-smi")], Scripted({})), None, linger=0.0)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.resize_terminal(60, 20)
        await until(pilot, lambda: isinstance(app.screen, TooSmallScreen))
        await shows(app, "Ctrl+C leaves")
        await pilot.press("ctrl+c")
        await until(pilot, lambda: isinstance(app.screen, QuitScreen))
        await pilot.resize_terminal(58, 20)
        await pilot.pause()
        assert isinstance(app.screen, QuitScreen)
        await pilot.resize_terminal(100, 30)
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, WalkScreen))


async def test_debugging_is_one_key(tmp_path: Path, toy_expected: WriteExpected) -> None:
    toy_expected("smi", "smi", "smi on {{node}}")
    script = {("gpu-a", "smi"): [("", 1)]}
    walk = ToyWalk(tmp_path / "walk", [Toy("smi", "nvidia-smi")], Scripted(script))
    app = MilepostApp(walk, None, linger=0.0)
    async with app.run_test(size=(120, 40), notifications=True) as pilot:
        await until(pilot, lambda: app.gate_open)
        await pilot.press("d")
        assert app.session.engine.cluster.env == {"NCCL_DEBUG": "INFO"}
        await until(pilot, lambda: "NCCL_DEBUG=INFO" in plain(app))
        await pilot.press("d")
        assert app.session.engine.cluster.env == {}


async def test_a_fix_is_shown_whole_confirmed_and_run(tmp_path: Path, toy_expected: WriteExpected) -> None:
    toy_expected("head", "Head", "head on {{node}}")
    fix = Fix("Stop the other Ray", "{venv}/bin/ray stop", where="node")
    finding = Diagnosis(
        rule="stale",
        family="stale",
        kind="cause",
        cause="Another Ray runs already",
        node="gpu-a",
        evidence=(Evidence("gpu-a head", 1, "already running"),),
        try_=(Action("stop it"),),
        confidence=0.9,
        source="test",
        fixes=(fix,),
    )
    script = {("gpu-a", "head"): [("already running\n", 1), ("head on gpu-a\n", 0)]}
    transport = Scripted(script)
    walk = ToyWalk(tmp_path / "walk", [Toy("head", "Start the head")], transport)
    app = MilepostApp(walk, None, linger=0.0, diagnose=lambda state, session: [finding])
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app.gate_open and "Another Ray runs already" in plain(app))
        await pilot.press("a")
        assert isinstance(app.screen, FixScreen)
        assert "$ /opt/vllm-venv/bin/ray stop" in plain(app)
        assert app.screen.query_one(OptionList).highlighted == 0
        await pilot.press("enter")
        await asyncio.sleep(0)
        assert ("gpu-a", "/opt/vllm-venv/bin/ray stop") not in transport.ran
        await pilot.press("a", "down", "enter")
        await until(pilot, lambda: app.session.state.outcome == "passed")
    assert ("gpu-a", "/opt/vllm-venv/bin/ray stop") in transport.ran
