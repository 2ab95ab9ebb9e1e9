"""Questions of a step, of SSH (host keys, passwords) and the answers to them."""

from __future__ import annotations

from collections.abc import Callable

from rich.text import Text
from textual.app import ComposeResult
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from tui.app.text import safe, safe_block
from tui.screens.dialog import Dialog
from wizard_steps.errors import MilepostError
from wizard_steps.model import Option as Choice
from wizard_steps.model import Question

#: Checks an answer; raises MilepostError when it does not fit.
Check = Callable[[str], object]

_YES_NO = (Choice("yes", "Yes"), Choice("no", "No"))


class QuestionScreen(Dialog[str]):
    """A choice, a yes or no, or a text. It stays until it is answered; q and Ctrl-C still end the walk."""

    escapable = False

    def __init__(self, title: str, question: Question, check: Check) -> None:
        super().__init__()
        self.heading = title
        self._question = question
        self._check = check
        self._choices = question.options or (_YES_NO if question.kind == "confirm" else ())

    def body(self) -> ComposeResult:
        yield Static(Text(safe_block(self._question.text), "bold"), id="dialog-text")
        if self._question.why:
            yield Static(Text(safe_block(self._question.why)), id="dialog-why")
        if self._choices:
            yield OptionList(*(_option(c) for c in self._choices), id="choices", compact=True)
        else:
            yield Input(self._question.default, id="answer", compact=True)
        yield self.error_line()
        hint = "Up and Down choose, Enter answers" if self._choices else "Enter answers"
        yield Static(hint, id="dialog-hint", markup=False)

    def on_mount(self) -> None:
        if self._choices:
            values = [choice.value for choice in self._choices]
            default = self._question.default
            options = self.query_one(OptionList)
            options.highlighted = values.index(default) if default in values else 0
            options.focus()
        else:
            self.query_one(Input).focus()

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        self._answer(self._choices[event.option_index].value)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        self._answer(event.value.strip())

    def _answer(self, value: str) -> None:
        try:
            self._check(value)
        except MilepostError as error:
            self.say_error(safe_block(str(error)))
            return
        self.dismiss(value)


def _option(choice: Choice) -> Option:
    text = Text(safe(choice.label), "bold" if choice.why else "")
    if choice.why:
        text.append(f"\n  {safe(choice.why)}", "not bold")
    return Option(text)


class HostKeyScreen(Dialog[bool]):
    """A host key that is on no record. No is the answer that Enter gives."""

    heading = "Unknown host key"

    def __init__(self, node: str, host: str, port: int, key_type: str, fingerprint: str) -> None:
        super().__init__()
        self._rows = (
            ("node", node),
            ("host", f"{host} port {port}"),
            ("key", key_type),
            ("fingerprint", fingerprint),
        )

    def body(self) -> ComposeResult:
        text = Text("This host has never been seen from here.\n\n")
        for name, value in self._rows:
            text.append(f"{name:<12}", "dim").append(safe(value) + "\n")
        yield Static(text, id="dialog-text")
        why = (
            "Compare the fingerprint with the one shown on the machine itself: ssh-keygen -lf "
            "/etc/ssh/ssh_host_ed25519_key.pub. When they differ, someone else may be answering."
        )
        yield Static(why, id="dialog-why", markup=False)
        no = Option(Text("No, do not connect"))
        yes = Option(Text("Yes, trust this key and record it in known_hosts"))
        yield OptionList(no, yes, id="choices", compact=True)

    def on_mount(self) -> None:
        options = self.query_one(OptionList)
        options.highlighted = 0
        options.focus()

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(event.option_index == 1)


class SecretScreen(Dialog[str]):
    """A password or passphrase: masked, kept in memory only. Escape gives none."""

    def __init__(self, title: str, prompt: str) -> None:
        super().__init__()
        self.heading = title
        self._prompt = prompt

    def body(self) -> ComposeResult:
        yield Static(Text(safe_block(self._prompt)), id="dialog-text")
        yield Input(password=True, id="answer", compact=True)
        hint = "Enter sends it; Esc gives none. It is kept in memory only: never on disk or recorded."
        yield Static(hint, id="dialog-hint", markup=False)

    def on_mount(self) -> None:
        self.query_one(Input).focus()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        self.dismiss(event.value)
