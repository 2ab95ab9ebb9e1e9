"""Below the log: whether it follows, where the reader is; a line to search or jump in."""

from __future__ import annotations

import asyncio

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.widgets import Input, Static

from tui.app.text import cut
from tui.widgets.log_view import LogView


class FindBar(Horizontal):
    """One line high. The search runs in small stretches, so keys go on working in a log of any size."""

    def compose(self) -> ComposeResult:
        yield Static(id="place", markup=False)
        yield Input(id="find-input", compact=True)

    def on_mount(self) -> None:
        self.query_one(Input).display = False
        self._mode = "search"
        self._note = ""
        self._told = ""

    @property
    def _log_view(self) -> LogView:
        return self.screen.query_one("#log-view", LogView)

    def refresh_place(self) -> None:
        """Say where the reader is."""
        log = self._log_view
        total = log.line_total()
        if log.following:
            words = f"following  {total:,} lines"
        else:
            words = f"paused at {log.last_shown():,} of {total:,} lines  End follows"
        if not self.is_open:  # there it is a letter
            words += "   w unwraps" if log.wrap else "   w wraps"
        if self._note:
            words += f"   {self._note}"
        if words != self._told:
            self._told = words
            self.query_one("#place", Static).update(Text(words, no_wrap=True, overflow="ellipsis"))

    def open_search(self) -> None:
        self._open("search", "search, Enter; Esc closes")

    def open_line(self) -> None:
        self._open("line", "line number, Enter")

    def _open(self, mode: str, placeholder: str) -> None:
        self._mode = mode
        box = self.query_one(Input)
        box.placeholder = placeholder
        box.value = self._log_view.wanted if mode == "search" else ""
        box.display = True
        box.focus()
        self.refresh_place()

    @property
    def is_open(self) -> bool:
        return bool(self.query_one(Input).display)

    def close(self) -> None:
        box = self.query_one(Input)
        if self.is_open:
            box.display = False
            self._log_view.focus()
            self.refresh_place()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        value = event.value
        self.close()
        if self._mode == "line":
            number = int(value) if value.strip().isdigit() else 0
            if number:
                self._log_view.go_to(min(number, self._log_view.line_total()) - 1)
            return
        self._log_view.wanted = value
        self._note = ""
        if value:
            self._start(self._log_view.scroll_offset.y)

    def again(self, by: int) -> None:
        """The next hit, or the one before."""
        log = self._log_view
        if not log.wanted:
            self.open_search()
        elif by > 0:
            self._start(log.hit + 1)
        else:
            self._start(log.hit, back=True)

    def _start(self, first: int, back: bool = False) -> None:
        self.run_worker(self._back(first) if back else self._seek(first), group="find", exclusive=True)

    async def _seek(self, first: int) -> None:
        hit = await self._first(first)
        if hit is None and first > 0:
            hit = await self._first(0)
            self._say("from the top" if hit is not None else "")
        self._found(hit)

    async def _back(self, before: int) -> None:
        """The last hit before a line: looked for in stretches that double towards the top."""
        reach, hit = 256, None
        end = before
        while end > 0 and hit is None:
            begin = max(0, end - reach)
            at = await self._first(begin, end)
            while at is not None:
                hit, at = at, await self._first(at + 1, end)
            end, reach = begin, reach * 2
        self._found(hit)

    async def _first(self, first: int, before: int | None = None) -> int | None:
        doc, wanted = self._log_view.doc, self._log_view.wanted
        if doc is None:
            return None
        for hit in doc.search(wanted, max(0, first), before):
            if hit is not None:
                return hit
            self._say("searching")
            await asyncio.sleep(0)
        return None

    def _found(self, hit: int | None) -> None:
        wanted = cut(self._log_view.wanted, 20)
        if hit is None:
            self._say(f"{wanted!r}: not found")
            return
        self._say(
            f"{wanted!r} at line {hit + 1:,}" + (" (from the top)" if self._note == "from the top" else "")
        )
        self._log_view.go_to(hit)

    def _say(self, note: str) -> None:
        self._note = note
        self.refresh_place()
