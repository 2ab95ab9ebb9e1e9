"""The terminal's manners: colours of 16 and 256, the theme that is kept, title and messages, what is rung for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from rich.color import Color, ColorSystem

from tests.helpers.tui_fakes import Scripted, Toy, ToyWalk, WriteExpected, toy_cluster, toy_expected, until
from tests.tui.test_parts import walked
from tui.app import present, themes
from tui.app.app import MilepostApp
from wizard_steps.model import Verdict
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
