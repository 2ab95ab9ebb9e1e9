"""`milepost top` on a terminal: GPUs, engines, and the server's log with what the diagnosis sees in it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any, ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.widgets import Footer, Static

from tui.app.terminal import TerminalApp, gone_terminal
from tui.app.text import safe
from tui.app.themes import DARK, LIGHT
from tui.widgets.gpu_grid import GpuGrid
from wizard_steps.cluster.file import Cluster
from wizard_steps.engine.transport import Transport
from wizard_steps.monitor import board as boards
from wizard_steps.monitor.watch import Watch
from wizard_steps.transport.over_ssh import cleaned

#: Pictures a second at most; samples come more rarely, from many nodes at any time.
_FRAMES = 5.0
#: Lines of the log on the page.
_SHOWN = 400


class TopApp(TerminalApp[None]):
    """``transport``: another one than SSH, for tests."""

    CSS_PATH: ClassVar[list[str | PurePath]] = ["top.tcss"]
    TITLE = "milepost top"
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "leave", "Quit"),
        Binding("ctrl+c,ctrl+q", "leave", "Quit", show=False),
        Binding("space", "pause", "Pause"),
        Binding("l", "log", "Log"),
        Binding("t", "colours", "Colours"),
        Binding(TerminalApp.WORDS_KEYS, "words", "Words"),
        Binding("tab", "focus_next", "Next pane", show=False),
    ]

    def __init__(self, cluster: Cluster, every: float = 1.0, transport: Transport | None = None) -> None:
        super().__init__()
        self._transport = transport or cleaned(cluster)
        self.board = boards.new(cluster)
        self._watch = Watch(cluster, self._transport, self.board, every)
        self._task: asyncio.Task[None] | None = None
        self._drawn = -1
        self.paused = False

    def compose(self) -> ComposeResult:
        yield Static(id="top-title", markup=False)
        yield GpuGrid(self.board)
        yield Static(id="top-engines", markup=False)
        yield Static(id="top-said", markup=False)
        with VerticalScroll(id="top-log"):
            yield Static(id="top-lines", markup=False)
        yield Footer()

    def on_mount(self) -> None:
        self.heed_signals()
        for theme in (DARK, LIGHT):
            self.register_theme(theme)
        self.theme = DARK.name
        self._task = asyncio.create_task(self._watch.run())
        self.set_interval(1 / _FRAMES, self._draw)
        self.query_one(GpuGrid).focus()
        self._draw()

    def run(self, **options: Any) -> Any:
        """As Textual's. The terminal is given back at once: a node that hangs may need seconds to be left."""
        with gone_terminal():
            return asyncio.run(self._whole(options))

    async def _whole(self, options: Mapping[str, Any]) -> None:
        try:
            await self.run_async(**options)
        finally:
            if self._task is not None:
                self._task.cancel()
                await asyncio.gather(self._task, return_exceptions=True)
            await self._transport.close()

    def on_unmount(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def _draw(self) -> None:
        """Once for all that came since the last picture."""
        self.query_one("#top-title", Static).update(self._title())
        if self.paused or self.board.version == self._drawn:
            return
        self._drawn = self.board.version
        self.query_one(GpuGrid).show()
        engines = boards.engine_lines(self.board) or ["no engine answers yet"]
        self.query_one("#top-engines", Static).update(Text("\n".join(map(safe, engines))))
        said = self.board.complaints()
        self.query_one("#top-said", Static).update(Text("\n".join(f"! {safe(line)}" for line in said[:6])))
        self.query_one("#top-said").display = bool(said)
        log = self.query_one("#top-log", VerticalScroll)
        at_end = log.scroll_offset.y >= log.max_scroll_y - 1
        lines = list(self.board.lines)[-_SHOWN:] or ["serve.log: nothing was read yet"]
        self.query_one("#top-lines", Static).update(Text("\n".join(map(safe, lines))))
        if at_end:
            log.scroll_end(animate=False)

    def _title(self) -> Text:
        text = Text(" milepost top  ", "bold")
        if self.board.simulated:
            text.append("SIMULATED", "reverse bold").append("  ")
        text.append(safe(self.board.title))
        if self.paused:
            text.append("  PAUSED", "bold")
        failed = self._task is not None and self._task.done() and not self._task.cancelled()
        if failed and self._task is not None and (error := self._task.exception()) is not None:
            text.append(f"  the samples have ended: {safe(str(error))}", "bold")
        return text

    def action_pause(self) -> None:
        self.paused = not self.paused
        self._draw()

    def action_log(self) -> None:
        log = self.query_one("#top-log")
        log.display = not log.display

    def action_colours(self) -> None:
        self.theme = LIGHT.name if self.theme == DARK.name else DARK.name

    def leave(self) -> None:
        self.exit(None)

    def action_leave(self) -> None:
        self.leave()
