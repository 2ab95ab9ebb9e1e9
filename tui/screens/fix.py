"""What a finding offers to run: the whole command and where, before anything happens."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text
from textual.app import ComposeResult
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from tui.app.fixes import Offer
from tui.app.text import safe, safe_block
from tui.screens.dialog import Dialog


class FixScreen(Dialog[Offer]):
    """Answers the offer a person confirmed. Nothing is the first choice."""

    heading = "Run a fix?"

    def __init__(self, offers: Sequence[Offer]) -> None:
        super().__init__()
        self._offers = offers

    def body(self) -> ComposeResult:
        words = "The step runs again afterwards. Read the command: it is run exactly as shown."
        yield Static(words, id="dialog-text", markup=False)
        options = [Option(Text("Run nothing"))]
        for offer in self._offers:
            text = Text(safe(offer.text))
            text.append(f"\n  on {safe(', '.join(offer.nodes))}\n", "dim")
            text.append("  $ " + safe_block(offer.command), "bold")
            options.append(Option(text))
        yield OptionList(*options, id="choices", compact=True)
        yield Static("Up and Down choose, Enter confirms; Esc goes back", id="dialog-hint", markup=False)

    def on_mount(self) -> None:
        options = self.query_one(OptionList)
        options.highlighted = 0
        options.focus()

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(self._offers[event.option_index - 1] if event.option_index else None)
