"""Checks with findings; the prose of a step; the gate."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import ClassVar

from rich.style import Style
from rich.text import Text
from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.widgets import Markdown, Static

from tui.app.fixes import FIRST_KEY, KEYS
from tui.app.glossary import linked
from tui.app.text import cut, plain_fences
from tui.widgets.bars import Bar

_GATE_KEYS = (
    ("fix", "a", "Fix"),
    ("retry", "r", "Retry"),
    ("edit", "e", "Edit"),
    ("log", "l", "Log"),
    ("back", "b", "Back"),
    ("stop", "q", "Stop"),
)
_ORDER = ("Why", "What happens", "If it fails", "Learn", "About")


class Styled(Static):
    """A Static whose text uses the theme through named styles."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "styled--good",
        "styled--bad",
        "styled--warning",
        "styled--accent",
        "styled--quiet",
        "styled--strong",
    }

    def look(self, name: str) -> Style:
        return self.get_component_rich_style(f"styled--{name}", partial=True)


class ChecksPane(VerticalScroll):
    """Scrolls; the screen gives it its text."""

    def compose(self) -> ComposeResult:
        yield Styled(id="checks-text", markup=False)

    @property
    def styled(self) -> Styled:
        return self.query_one(Styled)

    def show_text(self, text: Text) -> None:
        self.styled.update(text)


class InfoPanel(VerticalScroll):
    """Why, what happens, what if it fails, and what there is to learn: our own prose, never remote text."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._wanted: tuple[str, Mapping[str, str]] = ("", {})
        self._drawing = False

    def compose(self) -> ComposeResult:
        yield Markdown(id="prose", open_links=False)

    def want(self, step_id: str, sections: Mapping[str, str]) -> None:
        """Show the prose of a step, if it is not there already."""
        if (step_id, sections) != self._wanted:
            self._wanted = step_id, sections
            if not self._drawing:
                self._drawing = True
                self.run_worker(self._draw(), group="prose")

    async def _draw(self) -> None:
        """The latest prose that was wanted. An update is never cut off: Textual ends the app, without a word,
        when the mounting of widgets is cancelled."""
        drawn: object = None
        try:
            while drawn != self._wanted and self.is_attached:
                drawn = self._wanted
                await asyncio.shield(self._update(self._wanted[1]))
        finally:
            self._drawing = False

    async def _update(self, sections: Mapping[str, str]) -> None:
        names = [n for n in _ORDER if n in sections] + [n for n in sections if n not in _ORDER]
        text = "\n\n".join(f"### {name}\n\n{sections[name]}" for name in names)
        await self.query_one(Markdown).update(plain_fences(linked(text)) or "This step has no further notes.")
        self.scroll_home(animate=False)


class GateBar(Bar):
    """A gate that stays shut: what can be done. There is no way past it."""

    def show(self, failures: int, fixes: int) -> None:
        if self.changed((failures, fixes)):
            self._failures, self._fixes = failures, fixes

    def render(self) -> Text:
        if self._said is None:
            return Text()
        count = f": {self._failures} checks failed" if self._failures > 1 else ""
        text = Text()
        self.add(text, f"✗ The gate stays shut{count}", "bad").append("\n")
        entries = []
        last = FIRST_KEY + min(self._fixes, KEYS) - 1
        digits = f"{FIRST_KEY}-{last}" if self._fixes > 1 else str(FIRST_KEY)
        for value, key, label in _GATE_KEYS:
            key = digits if value == "fix" else key
            if value == "fix" and not self._fixes:
                continue
            entry = Text()
            self.add(entry, key, "key")
            entry.append(f" {label}").apply_meta({"@click": f"screen.gate('{value}')"})
            entries.append(entry)
        spare = self.size.width - sum(entry.cell_len for entry in entries)
        gap = max(1, min(3, spare // (len(entries) - 1)))
        return text.append_text(Text(" " * gap).join(entries))


class PauseBar(Bar):
    """Between two milestones: what comes next, and the keys that go on."""

    def show(self, title: str, changes: bool) -> None:
        if self.changed((title, changes)):
            self._title, self._changes = title, changes

    def render(self) -> Text:
        if self._said is None:
            return Text()
        text = Text()
        self.add(text, "❚❚ Paused before: ", "accent")
        self.add(text, cut(self._title, max(8, self.size.width - 50)), "strong")
        self.add(text, "  it changes the machines" if self._changes else "  it only reads", "quiet")
        text.append("\n")
        for key, label, action in (
            ("Enter", "Go on", "go_on"),
            ("s", "Step by step, on or off", "steps"),
            ("q", "Stop", "gate('stop')"),
        ):
            entry = Text()
            self.add(entry, key, "key")
            entry.append(f" {label}   ").apply_meta({"@click": f"screen.{action}"})
            text.append_text(entry)
        return text
