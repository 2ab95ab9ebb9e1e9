"""The terminal's manners: colours of 16 and 256, the theme that is kept, title and messages, what is rung for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from rich.color import Color, ColorSystem

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
from tests.tui.test_fixes import Port
from tests.tui.test_parts import walked
from tui.app import matrix, present, themes
from tui.app.app import MilepostApp
from tui.cli.main import main
from wizard_steps.cluster.file import Cluster
from wizard_steps.model import Check, Verdict
from wizard_steps.recording import events as ev
from wizard_steps.recording.state import State, fold

__all__ = ["toy_expected"]


@pytest.mark.parametrize("system", [ColorSystem.STANDARD, ColorSystem.EIGHT_BIT])
def test_red_and_green_stay_red_and_green_in_few_colours(system: ColorSystem) -> None:
    for name, part in (("text-error", 0), ("text-success", 1)):
        colour = Color.parse(themes.BASIC.variables[name]).downgrade(system).get_truecolor()
        assert colour[part] > 1.5 * max(colour[1 - part], colour[2])


def test_the_theme_is_kept_and_a_broken_file_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert themes.remembered() == ""
    themes.remember("nord")
    assert themes.remembered() == "nord"
    for text in ("", "[]", '{"theme": 3}', "\x00"):
        (tmp_path / "milepost" / "screen.json").write_text(text)
        assert themes.remembered() == ""
    monkeypatch.setenv("XDG_CONFIG_HOME", "/proc/nowhere")
    themes.remember("nord")
    assert themes.remembered() == ""


async def test_a_chosen_theme_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, toy_expected: WriteExpected
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    toy_expected("reach", "Reach", "reach on {{node}}")
    for number, theme in enumerate(("gruvbox", "milepost-light")):
        walk = ToyWalk(tmp_path / f"walk{number}", [Toy("reach", "Reach")], Scripted({}), toy_cluster())
        app: Any = MilepostApp(walk, None, linger=0.0)
        app.remembers = True
        async with app.run_test(size=(80, 24)) as pilot:
            await until(pilot, lambda app=app: app.session and app.session.state.outcome == "passed")
            if number:
                assert app.theme == "gruvbox"
            app.theme = theme
            await until(pilot, lambda theme=theme: themes.remembered() == theme)


def test_what_is_rung_for() -> None:
    def rings(t: float, passed: bool) -> str:
        event = ev.Judged(t, "serve", 1, Verdict(passed, "two of three\x1b[2J"))
        return present.rings(event, fold(walked(event)))

    assert rings(5, True) == ""
    assert rings(45, True) == "vllm serve: passed"
    assert rings(5, False).startswith("vllm serve failed: two of three")
    assert "\x1b" not in rings(5, False)


def test_the_window_says_how_far_the_walk_is() -> None:
    assert present.window_title(State()) == "milepost"
    assert present.window_title(fold(walked())) == "0/2 demo · milepost"
    failed = ev.Judged(5, "serve", 1, Verdict(False, "no"))
    assert present.window_title(fold(walked(failed))) == "✗ 0/2 demo · milepost"


def test_long_lists_are_summarised() -> None:
    text = "GPU traffic uses " + ", ".join(f"n{n}=10.0.0.{n}" for n in range(200))
    assert (
        present.summarised(text) == "GPU traffic uses n0=10.0.0.0, n1=10.0.0.1 … n199=10.0.0.199 (200 in all)"
    )
    assert present.summarised("a, b, c") == "a, b, c"


def test_the_matrix_counts_and_is_ordered() -> None:
    nodes = [{"host": name, "role": "head" if name == "z" else "worker", "gpus": 1} for name in "zab"]
    state = fold([ev.WalkStarted(0, "bare-metal", (("serve", "Serve"),), {"nodes": nodes})])
    rows = [
        matrix.MatrixRow("b", ("failed",), "x"),
        matrix.MatrixRow("a", ("passed",), ""),
        matrix.MatrixRow("z", ("warning",), ""),
    ]
    assert matrix.counts(rows) == "nodes 3   ✓ 1  ! 1  ✗ 1"
    assert [row.name for row in matrix.ordered(rows, state, "by name")] == ["a", "b", "z"]
    assert [row.name for row in matrix.ordered(rows, state, "as in the file")] == ["z", "a", "b"]
    assert matrix.ordered(rows, state, matrix.SORTS[0]) == rows


def test_the_matrix_marks_the_milestone_and_the_nodes_its_words_name() -> None:
    nodes = [{"host": name, "role": role, "gpus": 1} for name, role in (("a", "head"), ("b-1", "worker"))]
    begun = [ev.WalkStarted(0, "bare-metal", (("serve", "Serve"),), {"nodes": nodes})]

    def after(*checks: Check) -> State:
        judged = ev.Judged(2, "serve", 1, Verdict(False, "it differs", checks))
        return fold([*begun, ev.StepStarted(1, "serve", 1), judged])

    total = after(Check("GPUs", False, "12", "16"))
    assert matrix.whole(total) == matrix.MatrixRow(matrix.MILESTONE, ("failed",), "GPUs: 12, wanted 16")
    assert {row.states for row in matrix.rows(total)} == {("pending",)}
    said = matrix.head(total, 6).plain
    assert said.splitlines() == ["node    1", "all     ✗  GPUs: 12, wanted 16"]
    named = {row.name: row for row in matrix.rows(after(Check("token", False, "b-1: another one than a-1")))}
    assert (named["b-1"].states, named["a"].states) == (("failed",), ("pending",))
    assert named["b-1"].note == "token: b-1: another one than a-1"
    assert matrix.counts(list(named.values())) == "nodes 2   ✓ 1  ! 0  ✗ 1"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_knows_options_and_recordings(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    text = capsys.readouterr().out
    assert "headless" in text
    for value in ("hidden-gpus", "port-taken"):
        assert value in text


async def test_why_is_open_where_there_is_room(tmp_path: Path, toy_expected: WriteExpected) -> None:
    toy_expected("reach", "Reach", "reach on {{node}}")
    walk = ToyWalk(tmp_path / "walk", [Toy("reach", "Reach")], Scripted({}), toy_cluster())
    app: Any = MilepostApp(walk, None, linger=0.0)
    async with app.run_test(size=(200, 40)) as pilot:
        await until(pilot, lambda: app.session and app.session.state.outcome == "passed")
        info = app._walk_screen.query_one("#info")
        assert info.display
        await pilot.resize_terminal(120, 40)
        await until(pilot, lambda: not info.display)
        await pilot.press("i")
        assert info.display
        await pilot.press("escape")
        assert not info.display


async def test_a_walk_by_mouse_alone(tmp_path: Path, toy_expected: WriteExpected) -> None:
    """Start at the plan, fix the gate, close: each by a click on what is on the screen."""
    toy_expected("serve", "Serve", "...")
    made: list[ToyWalk] = []

    def factory(cluster: Cluster, folder: Path | None) -> ToyWalk:
        made.append(ToyWalk(tmp_path / "walk", [Port("serve", "Serve", "listen")], Scripted({}), cluster))
        return made[0]

    app: Any = MilepostApp(
        None, tmp_path / "c.toml", engine_factory=factory, linger=0.0, cluster=toy_cluster(), plan=True
    )
    async with app.run_test(size=(80, 24)) as pilot:

        async def click(words: str) -> None:
            await until(pilot, lambda: words in plain(app))
            # The lowest one: keys stand below what they are about.
            y, line = [(y, x) for y, x in enumerate(plain(app).split("\n")) if words in x][-1]
            await pilot.click(offset=(line.index(words) + 1, y))

        await click("Start")
        await click("Retry")
        await until(pilot, lambda: app.session.state.step("serve").attempt == 2 and app.gate_open)
        await click("Fix")
        await until(pilot, lambda: app.screen is not app._walk_screen)
        await click("use port 8001")
        await until(pilot, lambda: app.session.state.outcome == "passed")
    assert made[0].cluster.serve.port == 8000
    assert app.session.engine.cluster.serve.port == 8001
