"""The live log under the keys of a reader: follow, pause, search, jump; nothing a node writes is obeyed."""

from __future__ import annotations

import asyncio
from pathlib import Path

from textual.widgets import Static

from tests.helpers.tui_fakes import Scripted, Toy, ToyWalk, WriteExpected, plain, shows, toy_expected, until
from tui.app.app import MilepostApp
from tui.screens.walk import WalkScreen
from tui.widgets.log_view import LogView

__all__ = ["toy_expected"]


def place(app: MilepostApp) -> str:
    return str(app.screen.query_one("#place", Static).visual)


async def test_follow_pause_search_and_jump(tmp_path: Path, toy_expected: WriteExpected) -> None:
    toy_expected("serve", "Serve", "line 1 (optional)")
    go, flowing = asyncio.Event(), asyncio.Event()
    count = 0

    async def pause() -> None:
        nonlocal count
        count += 1
        if count == 300:
            flowing.set()
            await go.wait()
        elif count % 20 == 0:
            await asyncio.sleep(0)

    lines = [f"line {n}\n" for n in range(400)]
    lines[120] = "here is a \x1b[31mNeedle\x1b]0;title\x07 and \x9b2J more\n"
    script = {("gpu-a", "serve"): [("".join(lines), 0)]}
    walk = ToyWalk(tmp_path / "walk", [Toy("serve", "Serve")], Scripted(script, pause))
    app = MilepostApp(walk, None, linger=0.0)
    async with app.run_test(size=(80, 24)) as pilot:
        await flowing.wait()
        await pilot.press("2")
        view = app.screen.query_one("#log-view", LogView)
        await until(pilot, lambda: view.line_total() >= 299 and view.scroll_offset.y == view.max_scroll_y)
        assert place(app).startswith("following")
        await pilot.press("pageup", "pageup")
        before = view.scroll_offset.y
        go.set()
        await until(pilot, lambda: app.session.state.outcome is not None or app.gate_open)
        await until(pilot, lambda: view.line_total() == 402)
        assert view.scroll_offset.y == before
        assert "paused at" in place(app)
        await pilot.press("end")
        await until(pilot, lambda: view.scroll_offset.y == view.max_scroll_y and view.following)
        await pilot.press("slash")
        await shows(app, "Search Esc Close F1 Help")
        assert "super" not in plain(app)
        await pilot.press(*"needle", "enter")
        await until(pilot, lambda: view.hit == 121)
        await shows(app, "Needle")
        assert not view.following
        assert "\x1b]0;" not in app.export_screenshot()
        await pilot.press("slash")
        app.screen.query_one("#find-input").value = "line 39"  # type: ignore[attr-defined]
        await pilot.press("enter")
        await until(pilot, lambda: view.hit == 391)
        await pilot.press("n")
        await until(pilot, lambda: view.hit == 392)
        await pilot.press("N", "N")
        await until(pilot, lambda: view.hit < 391)
        await pilot.press("g", *"200", "enter")
        await until(pilot, lambda: view.hit == 199)
        await pilot.press("y")
        assert "line 399" in app.clipboard


async def test_copy_takes_the_command_or_the_selection(tmp_path: Path, toy_expected: WriteExpected) -> None:
    toy_expected("serve", "Serve", "serve on {{node}}")
    walk = ToyWalk(tmp_path / "walk", [Toy("serve", "Serve", "vllm serve x")], Scripted({}))
    app = MilepostApp(walk, None, linger=0.0)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app.session and app.session.state.outcome == "passed")
        await pilot.press("c")
        assert app.clipboard == "vllm serve x"
        await pilot.press("2")
        await shows(app, "serve on gpu-a", "exit status 0")
        view = app.screen.query_one("#log-view", LogView)
        await pilot.mouse_down(view, offset=(0, 1))
        await pilot.hover(view, offset=(9, 1))
        await pilot.mouse_up(view, offset=(9, 1))
        await pilot.press("c")
        assert "serve on" in app.clipboard


async def test_another_step_and_node_can_be_looked_at(tmp_path: Path, toy_expected: WriteExpected) -> None:
    for name in ("one", "two"):
        toy_expected(name, name, name + " on {{node}}")
    walk = ToyWalk(tmp_path / "walk", [Toy("one", "First"), Toy("two", "Second")], Scripted({}))
    app = MilepostApp(walk, None, linger=0.0)
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: app.session and app.session.state.outcome == "passed")
        await until(pilot, lambda: not app.session.evidence.held)
        screen = app.screen
        assert isinstance(screen, WalkScreen)
        assert screen.shown == "two"
        await pilot.press("right_square_bracket")
        assert screen.node == "gpu-b"
        app.screen.query_one("#steps").focus()
        await pilot.press("up")
        assert screen.shown == "one"
        await shows(app, "one on gpu-b")
        await pilot.press("i")
        await shows(app, "Because one comes first.")
        await pilot.press("escape")
        assert screen.shown == "two"
