"""Asks for the key that clients of vLLM's API must give: masked, checked, kept in memory only."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.widgets import Input, Static

from tui.screens.dialog import Dialog
from wizard_steps.node import api_key


class ApiKeyScreen(Dialog[str]):
    """Escape gives none."""

    heading = "API key of the server"

    def body(self) -> ComposeResult:
        text = (
            "Clients must give this key to use the model. Does vLLM run already? Then it is the key that "
            f"it was started with. Else {api_key.HOW}, keep it in a safe place, and paste it here."
        )
        yield Static(text, id="dialog-text", markup=False)
        yield Input(password=True, id="answer", compact=True)
        yield Static(id="where", markup=False)
        yield self.error_line()
        hint = (
            "Enter takes it; Esc gives none, and nothing is run. It is kept in memory only: never on disk or "
            f"recorded, so it is asked for at every walk unless {api_key.NAME} is set."
        )
        yield Static(hint, id="dialog-hint", markup=False)

    def on_mount(self) -> None:
        self.query_one(Input).focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        """How much came: a masked field that shows nothing of a paste leaves a person in doubt."""
        count = len(event.value)
        self.query_one("#where", Static).update(f"{count} characters" if count else "")
        self.say_error("")

    def on_input_submitted(self, event: Input.Submitted) -> None:
        key = event.value.strip()
        wrong = api_key.problem(key)
        if wrong:
            self.say_error(f"{wrong}.")
        else:
            self.dismiss(key)
