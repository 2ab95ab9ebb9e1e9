"""Long lines: where they are broken, and a log that is read, searched and copied while they are wrapped."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

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
from tui.app import present
from tui.app.app import MilepostApp
from tui.app.text import is_rule
from tui.widgets.log_view import LogView
from tui.widgets.rows import INDENT, breaks
from tui.widgets.step_list import StepList, StepRow
from wizard_steps.plan import OPTIONAL, PATHS

__all__ = ["toy_expected"]
TEXT = st.text(alphabet="ab 日é", max_size=200)


@given(TEXT, st.integers(8, 60), st.integers(1, 12))
def test_rows_are_the_line_in_order_and_fit(text: str, width: int, most: int) -> None:
    rows = breaks(text, width, most)
    assert 1 <= len(rows) <= most
    assert rows[0][0] == 0
    assert all(a[1] == b[0] for a, b in pairwise(rows))
    room = [width] + [width - len(INDENT)] * (len(rows) - 1)
    assert all(end - start <= fits for (start, end), fits in zip(rows, room, strict=True))
    if len(rows) < most:
        assert rows[-1][1] == cell_len(text)


def test_words_stay_whole_where_that_costs_little() -> None:
    text = "INFO loading weights took 3.2 seconds on rank zero"
    assert [text[a:b] for a, b in breaks(text, 20, 9)] == [
        "INFO loading ",
        "weights took 3.2 ",
        "seconds on rank ",
        "zero",
    ]
    assert breaks("x" * 50, 20, 9) == [(0, 20), (20, 38), (38, 50)]


def long_walk(tmp_path: Path, toy_expected: WriteExpected, *lines: str) -> MilepostApp:
    toy_expected("serve", "Serve", "* (optional)")
    script = {("gpu-a", "serve"): [("".join(line + "\n" for line in lines), 0)]}
    walk = ToyWalk(tmp_path / "walk", [Toy("serve", "Serve")], Scripted(script), toy_cluster(0))
    return MilepostApp(walk, None, linger=0.0)


def marked(number: int) -> str:
    return f"<{number}>" + "word " * 40 + f"<end {number}>"


async def test_every_part_of_a_wrapped_log_can_be_reached(
    tmp_path: Path, toy_expected: WriteExpected
) -> None:
    app = long_walk(tmp_path, toy_expected, *(marked(n) for n in range(30)))
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app.session and app.session.state.outcome == "passed")
        await pilot.press("2")
        view = app.screen.query_one("#log-view", LogView)
        for size in ((80, 24), (120, 40)):
            await pilot.resize_terminal(*size)
            await shows(app, "exit status 0", "<end 29>")
            assert view.following
            await pilot.press("home")
            seen, before = "", -1
            while view.scroll_offset.y != before:
                before = view.scroll_offset.y
                await pilot.pause()
                seen += plain(app)
                await pilot.press("pagedown")
            assert all(f"<{n}>" in seen and f"<end {n}>" in seen for n in range(30))
            await until(pilot, lambda: view.following)
            after = view.scroll_offset.y
            await pilot.press("pageup")
            assert view.scroll_offset.y < after
            assert not view.following
            await pilot.press("end")


async def test_w_leaves_lines_whole_and_wraps_them_again(tmp_path: Path, toy_expected: WriteExpected) -> None:
    app = long_walk(tmp_path, toy_expected, marked(1))
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app.session and app.session.state.outcome == "passed")
        await pilot.press("w")
        view = app.screen.query_one("#log-view", LogView)
        await until(pilot, lambda: "<end 1>" in plain(app))
        assert not view.show_horizontal_scrollbar
        await pilot.press("w")
        await until(pilot, lambda: "<end 1>" not in plain(app) and "w wraps" in plain(app))
        await until(pilot, lambda: view.max_scroll_x > 0)
        await pilot.press("w")
        await until(pilot, lambda: "<end 1>" in plain(app))
        await pilot.press("y")
        assert marked(1) in app.clipboard, "a copy has no breaks"


async def test_a_hit_deep_in_a_wrapped_log_is_on_the_screen(
    tmp_path: Path, toy_expected: WriteExpected
) -> None:
    lines = [marked(n) for n in range(60)]
    lines[40] = marked(40).replace("<end 40>", "the needle")
    app = long_walk(tmp_path, toy_expected, *lines)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app.session and app.session.state.outcome == "passed")
        await pilot.press("slash", *"needle", "enter")
        view = app.screen.query_one("#log-view", LogView)
        await until(pilot, lambda: view.hit == 41 and "the needle" in plain(app))


def test_in_a_narrow_list_every_milestone_has_a_name_that_fits() -> None:
    steps = {step.id: step for path in (*PATHS.values(), OPTIONAL) for step in path}
    assert all(0 < len(step.short) <= 14 for step in steps.values())
    view = StepList()
    for step in steps.values():
        short = present.short_title(step.id, step.title)
        view._rows = [StepRow(step.id, step.title, short, "running", "12m05s")]
        line = "".join(text for text, _ in view.pieces(0, 26))
        assert len(line) <= 26
        assert "…" not in line
        assert "12m05s" in line
    view._rows = [
        StepRow("own", "A milestone of one's own making", "A milestone of one's own making", "passed", "1s")
    ]
    assert "…" in "".join(text for text, _ in view.pieces(0, 26))


def test_a_rule_is_no_table() -> None:
    assert is_rule("--------")
    assert not is_rule("+-----+")
    assert not is_rule("| a |")
    assert not is_rule("")
