"""The screen driven through walks by its keys, with the real engine underneath."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual.widgets import Input, Static

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
from tui.screens.edit import EditScreen
from tui.screens.leave import ErrorScreen, QuitScreen
from tui.screens.question import QuestionScreen
from wizard_steps.cluster.file import load
from wizard_steps.errors import HostKeyChanged
from wizard_steps.model import Option, Question
from wizard_steps.persist import write
from wizard_steps.recording import events as ev
from wizard_steps.recording import journal as walks

__all__ = ["toy_expected"]

QUESTION = Question(
    id="net",
    text="Which network?",
    kind="choice",
    options=(Option("10.0.0.1", "10.0.0.1 on eth1", "fast"), Option("192.168.0.1", "192.168.0.1 on eth0")),
    field="nodes[0].fabric_ip",
)


def three(toy_expected: WriteExpected) -> list[Toy]:
    toy_expected("reach", "Reach", "hello from {{node}}")
    toy_expected("ip", "IP", "...\nip * (glob)")
    toy_expected("serve", "Serve", "serve on {{node}}")
    return [
        Toy("reach", "Reach every node"),
        Toy("ip", "Pick the IP", question=QUESTION),
        Toy("serve", "Serve", "listen on PORT", owns=(r"serve\.port",), mutates=True),
    ]


HELLO = {("gpu-a", "reach"): [("hello from gpu-a\n", 0)], ("gpu-b", "reach"): [("hello from gpu-b\n", 0)]}


async def test_a_whole_walk_passes_and_leaves_evidence(tmp_path: Path, toy_expected: WriteExpected) -> None:
    walk = ToyWalk(tmp_path / "walk", three(toy_expected), Scripted(HELLO))
    file = tmp_path / "milepost.toml"
    write(file, walk.cluster)
    app = MilepostApp(walk, file, linger=0.0)
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: isinstance(app.screen, QuestionScreen))
        await pilot.press("down", "enter")
        await until(pilot, lambda: app.session and app.session.state.outcome == "passed")
        await until(pilot, lambda: app.session and not app.session.evidence.held)
        await shows(app, "All 3 milestones passed.", "serve on gpu-a")
        await pilot.press("q")
        assert isinstance(app.screen, QuitScreen)
        await shows(app, "vllm serve on gpu-a")
        app.simulate_key("enter")
        await until(pilot, lambda: app.return_value is not None)
    assert app.return_value == 0
    assert walk.closed
    evidence = tmp_path / "walk" / "evidence"
    assert [p.name for p in sorted(evidence.glob("*.svg"))] == ["01-reach.svg", "02-ip.svg", "03-serve.svg"]
    assert "hello&#160;from&#160;gpu-a" in (evidence / "01-reach.svg").read_text()
    recorded = walks.load(tmp_path / "walk").events
    assert [e.value for e in recorded if isinstance(e, ev.Answered)] == ["192.168.0.1"]
    assert load(file).nodes[0].fabric_ip == "192.168.0.1"


async def test_a_failing_gate_is_edited_and_retried(tmp_path: Path, toy_expected: WriteExpected) -> None:
    """From the plan to the end by keys alone."""
    script = {**HELLO, ("gpu-b", "serve"): [("address in use\n", 1), ("serve on gpu-b\n", 0)]}
    transport = Scripted(script)
    walk = ToyWalk(tmp_path / "walk", three(toy_expected), transport)
    file = tmp_path / "milepost.toml"
    write(file, walk.cluster)
    app = MilepostApp(None, file, engine_factory=lambda *_: walk, linger=0.0, cluster=walk.cluster, plan=True)
    async with app.run_test(size=(80, 24)) as pilot:
        await shows(app, "PLAN: nothing runs yet")
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, QuestionScreen))
        await pilot.press("enter")
        await until(pilot, lambda: app.gate_open)
        await shows(app, "wanted", "The gate stays shut", "change the port: something", "failed")
        await pilot.press("e")
        assert isinstance(app.screen, EditScreen)
        await pilot.press("enter")
        box = app.screen.query_one("#answer", Input)
        assert box.value == "8000"
        await pilot.press("end", *["backspace"] * 4, *"many", "enter")
        assert "'many' is not a whole number" in str(app.screen.query_one("#dialog-error", Static).visual)
        await pilot.press(*["backspace"] * 4, *"9000", "enter")
        await until(pilot, lambda: app.session and app.session.state.outcome == "passed")
        assert [text for node, text in transport.ran if node == "gpu-b"][-2:] == [
            "listen on 8000",
            "listen on 9000",
        ]
        await pilot.press("ctrl+c")
        app.simulate_key("ctrl+c")
        await until(pilot, lambda: app.return_value is not None)
    assert app.return_value == 0
    assert load(file).serve.port == 9000


async def test_stop_at_a_gate_exits_1(tmp_path: Path, toy_expected: WriteExpected) -> None:
    walk = ToyWalk(tmp_path / "walk", three(toy_expected), Scripted({}))
    app = MilepostApp(walk, None, linger=0.0)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app.gate_open)
        await shows(app, "expected line")
        await pilot.press("r")
        await until(pilot, lambda: app.gate_open and app.session.state.step("reach").attempt == 2)
        await pilot.press("l")
        await shows(app, "reach on gpu-a")
        await pilot.press("q")
        await shows(app, "Stop the walk?")
        await pilot.press("down")
        app.simulate_key("enter")
        await until(pilot, lambda: app.return_value is not None)
    assert app.return_value == 1
    assert isinstance(walks.load(tmp_path / "walk").events[-1], ev.WalkEnded)


async def test_ctrl_c_asks_and_exits_130(tmp_path: Path, toy_expected: WriteExpected) -> None:
    walk = ToyWalk(tmp_path / "walk", three(toy_expected), Scripted(HELLO))
    app = MilepostApp(walk, None, linger=0.0)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: isinstance(app.screen, QuestionScreen))
        await pilot.press("ctrl+c")
        assert isinstance(app.screen, QuitScreen)
        await pilot.press("escape")
        assert isinstance(app.screen, QuestionScreen)
        await pilot.press("ctrl+c")
        app.simulate_key("ctrl+c")
        await until(pilot, lambda: app.return_value is not None)
    assert app.return_value == 130
    last = walks.load(tmp_path / "walk").events[-1]
    assert isinstance(last, ev.WalkEnded)
    assert last.outcome == "interrupted"


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (HostKeyChanged("gpu-a: the host key changed"), 1, "the host key changed"),
        (ZeroDivisionError("a bug"), 1, "evidence/crash.txt"),
    ],
)
async def test_an_error_is_shown_and_the_recording_kept(
    tmp_path: Path, toy_expected: WriteExpected, error: Exception, code: int, words: str
) -> None:
    def fail() -> None:
        raise error

    walk = ToyWalk(tmp_path / "walk", three(toy_expected), Scripted({}, pause=fail))
    app = MilepostApp(walk, None, linger=0.0)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: isinstance(app.screen, ErrorScreen))
        # A long path of the test's folder is wrapped.
        await until(pilot, lambda: words.replace(" ", "") in "".join(plain(app).split()))
        assert "Traceback" not in plain(app)
        app.simulate_key("enter")
        await until(pilot, lambda: app.return_value is not None)
    assert app.return_value == code
    assert isinstance(walks.load(tmp_path / "walk").events[-1], ev.WalkEnded)


async def test_a_simulated_walk_says_so(tmp_path: Path, toy_expected: WriteExpected) -> None:
    cluster = toy_cluster(simulated=True)
    walk = ToyWalk(tmp_path / "walk", three(toy_expected), Scripted(HELLO), cluster)
    app = MilepostApp(walk, None, linger=0.0)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: isinstance(app.screen, QuestionScreen))
        await shows(app, "SIMULATED")
