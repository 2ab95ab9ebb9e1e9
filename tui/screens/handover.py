"""The end of a walk that passed: where the model answers, commands to copy, what to do next."""

from __future__ import annotations

from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from tui.app.text import safe
from tui.screens.dialog import Dialog
from wizard_steps.walks.handover import Handover, NextCommand, seconds

_BAR = 24


class HandoverScreen(Dialog[None]):
    """Escape goes back to the walk; Enter or c copies the command that is marked."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("c", "copy", "Copy", show=False),
        Binding("q", "app.ask_quit", "Quit", show=False),
    ]

    def __init__(self, made: Handover) -> None:
        super().__init__()
        self.heading = f"✓ {safe(made.title)}"
        self._made = made
        self._commands: tuple[NextCommand, ...] = (*made.commands, *made.following)

    def body(self) -> ComposeResult:
        with VerticalScroll(id="handover-scroll", can_focus=False):
            yield Static(facts_text(self._made), id="dialog-text")
            yield OptionList(*self._options(), id="choices", compact=True)
            yield Static(rest_text(self._made), id="handover-rest")
        yield Static(
            "Up, Down choose   Enter or c copies   Esc to the walk   q quits", id="dialog-hint", markup=False
        )

    def _options(self) -> list[Option | None]:
        options: list[Option | None] = []
        where = ""
        for number, command in enumerate(self._commands):
            if (place := command.where or "Next") != where:
                where = place
                options.append(Option(Text(f"{safe(where)}", "bold"), disabled=True))
            line = Text(f"  {safe(command.label):<12}").append(safe(command.text))
            options.append(Option(line, id=str(number)))
        return options

    def on_mount(self) -> None:
        options = self.query_one(OptionList)
        options.highlighted = 1
        options.focus(scroll_visible=False)
        # What is true now stands above the list.
        self.call_after_refresh(self.query_one(VerticalScroll).scroll_home, animate=False)

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        self._copy(event.option)

    def action_copy(self) -> None:
        options = self.query_one(OptionList)
        if options.highlighted is not None:
            self._copy(options.get_option_at_index(options.highlighted))

    def _copy(self, option: Option) -> None:
        if option.id is not None:
            command = self._commands[int(option.id)]
            self.app.copy_text(command.text, command.label)  # type: ignore[attr-defined]


def facts_text(made: Handover) -> Text:
    """Endpoint, split, versions, KV cache, recording."""
    text = Text()
    for row in made.facts:
        first, *more = row.text.splitlines() or [""]
        text.append(f"  {safe(row.label):<12}", "bold").append(f"{safe(first)}\n")
        text.append("".join(f"{'':14}{safe(line)}\n" for line in more))
    return text


def rest_text(made: Handover) -> Text:
    """What took how long, and the warnings."""
    text = Text("\nTime\n", "bold")
    longest = max((spent for _, spent in made.times), default=1.0) or 1.0
    for title, spent in made.times[:5]:
        bar = "▇" * max(1, round(_BAR * spent / longest))
        text.append(f"  {safe(title):<28}", "").append(f"{seconds(spent):>7} ").append(f"{bar}\n", "dim")
    if made.warnings:
        text.append(f"\nWarnings ({len(made.warnings)})\n", "bold")
    for check in made.warnings:
        node = f"{safe(check.node)}: " if check.node else ""
        text.append(f"  ! {node}{safe(check.name)}: {safe(check.found)}\n")
    return text
