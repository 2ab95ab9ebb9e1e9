"""Editing TP and PP at a gate shows at once what they mean."""

from __future__ import annotations

from textual.app import App
from textual.widgets import Static

from tests.helpers.case_runner import CLUSTER
from tui.screens.edit import EditScreen
from wizard_steps.cluster.file import parse


def shown(app: App[None]) -> str:
    return str(app.screen.query_one("#effect", Static).render())


async def test_the_picture_follows_what_is_typed() -> None:
    app: App[None] = App()
    async with app.run_test(size=(100, 40)) as pilot:
        await app.push_screen(EditScreen(parse(CLUSTER), ("serve.tensor_parallel",)))
        await pilot.pause()
        await pilot.press(*"tensor", "enter")
        await pilot.pause()
        assert "TP 8 x PP 2 = 16 of 16 GPUs" in shown(app)
        await pilot.press("backspace", "4")
        await pilot.pause()
        assert "TP 4 x PP 2 = 8 of 16 GPUs" in shown(app)
        assert "stage 2" in shown(app)
        await pilot.press("0")
        await pilot.pause()
        assert "the nodes promise 16" in shown(app)


async def test_fields_that_fit_only_together_are_edited_together() -> None:
    app: App[None] = App()
    answers: list[object] = []
    async with app.run_test(size=(100, 40)) as pilot:
        screen = EditScreen(parse(CLUSTER), (r"nodes\[1\].gpus", "serve.tensor_parallel"))
        await app.push_screen(screen, answers.append)
        await pilot.pause()
        await pilot.press("enter")
        assert "new value of nodes[1].gpus (now: 8)" in str(screen.query_one("#where", Static).render())
        await pilot.press("backspace", "4", "enter")
        assert "TP x PP" in str(screen.query_one("#dialog-error", Static).render())
        await pilot.press("ctrl+n")
        assert "nodes[1].gpus: 8 → 4" in str(screen.query_one("#changed", Static).render())
        await pilot.press(*"tensor", "enter", "backspace", "4", "enter")
        await pilot.pause()
    assert answers == [(("nodes[1].gpus", "4"), ("serve.tensor_parallel", "4"))]
