"""The thin lines of the screen: header, heading of a step, node tabs, view tabs, progress."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.cells import cell_len
from rich.text import Text
from textual.widget import Widget

from tui.app.amount import Amount
from tui.app.present import NodeMark
from tui.app.text import STEP_STATES, cut, safe, spinner
from tui.app.waiting import waiting
from wizard_steps.model import counted

#: Above this many nodes a filterable list takes the place of the tabs.
TABS = 8


class Bar(Widget):
    """One line. ``show`` draws again only when what it says has changed."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "bar--good",
        "bar--bad",
        "bar--warning",
        "bar--accent",
        "bar--quiet",
        "bar--strong",
        "bar--badge",
        "bar--chosen",
        "bar--key",
    }

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._said: object = None

    def changed(self, said: object) -> bool:
        if said == self._said:
            return False
        self._said = said
        self.refresh()
        return True

    def add(self, text: Text, words: str, name: str = "") -> Text:
        style = self.get_component_rich_style(f"bar--{name}", partial=True) if name else ""
        return text.append(safe(words), style)


class HeaderBar(Bar):
    """Name of the cluster, how far the walk is, and what must not be overlooked: SIMULATED, debugging on."""

    def show(
        self, cluster: str, path: str, done: int, total: int, warnings: int, badges: Sequence[str]
    ) -> None:
        if self.changed((cluster, path, done, total, warnings, tuple(badges))):
            self._values = (cluster, path, done, total, warnings, tuple(badges))

    def render(self) -> Text:
        text = Text(no_wrap=True)
        self.add(text, "milepost", "strong")
        if self._said is None:
            return text
        cluster, path, done, total, warnings, badges = self._values
        right = Text(no_wrap=True)
        for badge in badges:
            right.append(" ")
            self.add(right, f" {badge} ", "badge")
        room = self.size.width - right.cell_len
        said = f", {counted(warnings, 'warning')}" if warnings else ""
        passed = f"{done} of {total} passed"
        # In little room the path goes first, then the end of the name.
        left = room - text.cell_len - len(passed) - len(said) - 5
        where = f"{cluster}  {path}" if len(cluster) + len(path) + 2 <= left else cut(cluster, max(8, left))
        self.add(text, cut(f"  {where}  {passed}", max(0, room - 9)), "quiet")
        self.add(text, cut(said, max(0, room - text.cell_len)), "warning")
        text.append(" " * max(0, room - text.cell_len))
        return text.append_text(right)


class HeadingBar(Bar):
    """The step on show: its state in symbol and word, title, and its summary on the second line."""

    def show(self, title: str, status: str, line: str, pinned: bool) -> None:
        if self.changed((title, status, line, pinned)):
            self._values = (title, status, line, pinned)
            self.refresh(layout=True)  # a longer verdict takes more lines

    def render(self) -> Text:
        if self._said is None:
            return Text()
        title, status, line, pinned = self._values
        symbol, word, style = STEP_STATES[status]
        text = Text()
        self.add(text, f"{symbol} {word}  ", style)
        self.add(text, title, "strong")
        if pinned:
            self.add(text, "   Esc: back to the current step", "quiet")
        text.append("\n")
        return self.add(text, line, "bad" if status == "failed" else "quiet")


class NodeBar(Bar):
    """A tab for each node; with many nodes, the chosen one and the way to the list."""

    def show(self, marks: Sequence[NodeMark], chosen: str) -> None:
        if self.changed((tuple(marks), chosen)):
            self._marks, self._chosen = tuple(marks), chosen

    def render(self) -> Text:
        if self._said is None:
            return Text()
        tabs = self._tabs()
        fits = len(self._marks) <= TABS and tabs.cell_len <= self.size.width
        return tabs if fits else self._summary()

    def _label(self, mark: NodeMark) -> tuple[str, str]:
        symbol, _, style = STEP_STATES[mark.state]
        return f"{symbol} ", style

    def _tabs(self) -> Text:
        text = Text(no_wrap=True)
        for number, mark in enumerate(self._marks):
            symbol, style = self._label(mark)
            tab = Text(" ")
            self.add(tab, symbol, style)
            tab.append(cut(mark.name, 24) + " ")
            if mark.name == self._chosen:
                tab.stylize(self.get_component_rich_style("bar--chosen", partial=True))
            tab.apply_meta({"@click": f"screen.node_number({number})"})
            text.append_text(tab).append(" ")
        return text

    def _summary(self) -> Text:
        text = Text(no_wrap=True)
        names = [mark.name for mark in self._marks]
        at = names.index(self._chosen) if self._chosen in names else 0
        failed = sum(mark.failures > 0 for mark in self._marks)
        if self._marks:
            symbol, style = self._label(self._marks[at])
            self.add(text, f" {symbol}", style)
            self.add(text, cut(names[at], 28), "strong")
        self.add(text, f"  node {at + 1} of {len(names)}", "quiet")
        if failed:
            self.add(text, f"  {failed} failed", "bad")
        return self.add(text, "  f: list", "quiet")


class ViewBar(Bar):
    """Which view is on show, and the key of each."""

    def show(self, views: Sequence[tuple[str, str]], chosen: str) -> None:
        if self.changed((tuple(views), chosen)):
            self._views, self._chosen = tuple(views), chosen

    def render(self) -> Text:
        text = Text(no_wrap=True)
        for number, (name, label) in enumerate(self._views if self._said else (), 1):
            tab = Text(" ")
            self.add(tab, f"{number}", "quiet")
            tab.append(f" {label} ")
            if name == self._chosen:
                tab.stylize(self.get_component_rich_style("bar--chosen", partial=True))
            tab.apply_meta({"@click": f"screen.view('{name}')"})
            text.append_text(tab).append(" ")
        return text


class WaitBar(Bar):
    """The phases of what goes on, and a bar of how much is done. Not there when nothing is known."""

    def show(self, step_id: str, phase: str, amount: Amount | None) -> None:
        self.display = bool(phase or amount)
        if self.changed((step_id, phase, amount)):
            self._values = (step_id, phase, amount)

    def render(self) -> Text:
        text = Text(no_wrap=True, overflow="ellipsis")
        if self._said is not None:
            for words, name in waiting(*self._values, self.size.width):
                self.add(text, words, name)
        return text


class ProgressLine(Bar):
    """A spinner and what goes on; still when nothing does."""

    def show(self, text: str, now: float, busy: bool, tone: str = "") -> None:
        mark = spinner(now) if busy else " "
        if self.changed((mark, text, tone)):
            self._values = (mark, text, tone)

    def render(self) -> Text:
        if self._said is None:
            return Text()
        mark, words, tone = self._values
        text = Text(no_wrap=True, overflow="ellipsis")
        self.add(text, f"{mark} ", "accent")
        room = self.size.width - 2
        return self.add(text, words if cell_len(words) <= room else cut(words, room), tone)
