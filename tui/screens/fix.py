"""A fix before it is done: the command and its nodes, or the change of the cluster file, and a question."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text
from textual.app import ComposeResult
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from tui.app.fixes import FixOffer
from tui.app.text import safe, safe_block
from tui.screens.dialog import Dialog


class FixScreen(Dialog[FixOffer]):
    """Answers the offer a person confirmed. Nothing is the first choice."""

    heading = "Run a fix?"

    def __init__(self, offers: Sequence[FixOffer]) -> None:
        super().__init__()
        self._offers = offers

    def body(self) -> ComposeResult:
        words = "Read it: it is run exactly as shown here. The step runs again afterwards."
        yield Static(words, id="dialog-text", markup=False)
        yield OptionList(Option(Text("Do nothing")), *map(_option, self._offers), id="choices", compact=True)
        yield Static("Up and Down choose, Enter confirms; Esc goes back", id="dialog-hint", markup=False)

    def on_mount(self) -> None:
        options = self.query_one(OptionList)
        options.highlighted = 0
        options.focus()

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(self._offers[event.option_index - 1] if event.option_index else None)


def _option(offer: FixOffer) -> Option:
    text = Text(safe(offer.text))
    where = f"on {safe(', '.join(offer.nodes))}" if offer.nodes else "in the cluster file"
    text.append(f"\n  {where}\n", "dim")
    lines = "\n".join(f"  {safe_block(line)}" for line in offer.lines)
    return Option(text.append(lines, "bold"))
