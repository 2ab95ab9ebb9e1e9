"""The page of `milepost top`: keys answer while samples come, and nothing of a node's text steers the screen."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from tests.helpers.case_runner import CLUSTER
from tests.helpers.tui_fakes import until
from tests.monitor.test_board import text
from tui.app.top_app import TopApp
from tui.widgets.gpu_grid import GpuGrid
from wizard_steps.cluster.file import parse
from wizard_steps.model import Chunk, Cmd, Exit, Node


class Steady:
    async def run(self, node: Node, cmd: Cmd) -> AsyncGenerator[Chunk | Exit]:
        if cmd.key == "log":
            yield Chunk(b"INFO \x1b[31mred [bold]not bold\n")
            await asyncio.sleep(60)
        for n in range(1, 1000):
            yield Chunk(text(n, n * 100).encode())
            await asyncio.sleep(0.05)
        yield Exit(0)

    async def close(self) -> None:
        pass


async def test_the_page() -> None:
    app = TopApp(parse(CLUSTER), 1.0, Steady())
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: "100.0" in str(app.query_one("#top-engines").render()))
        await until(pilot, lambda: "not bold" in str(app.query_one("#top-lines").render()))
        grid = app.query_one(GpuGrid)
        line = "".join(segment.text for segment in grid.render_line(1))
        assert line.startswith("a ")
        assert "90 %" in line
        said = str(app.query_one("#top-lines").render())
        assert "[bold]not bold" in said
        assert "\x1b" not in said
        await pilot.press("space")
        version = app._drawn
        assert app.paused
        seen = app.board.version
        await until(pilot, lambda: app.board.version > seen + 2)
        assert app._drawn == version
        await pilot.press("space", "l", "t")
        assert not app.query_one("#top-log").display
        await pilot.resize_terminal(50, 12)
        await pilot.press("q")
    assert app.return_value is None
