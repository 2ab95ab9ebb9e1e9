"""What the set-up form is made of: a machine's row, a field with a few answers, the word on TP x PP."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.message import Message
from textual.suggester import SuggestFromList
from textual.widgets import Button, Input, Static

from tui.app.form import CHOICES, Form, NodeForm
from tui.app.split import split_line
from tui.app.text import safe_block


class NodeRow(Horizontal):
    """One machine: SSH host or alias, role, GPUs, address for GPU traffic."""

    def __init__(self, node: NodeForm, known: Sequence[str] = ()) -> None:
        """``known``: hosts of the ssh configuration, proposed while one is typed."""
        super().__init__(classes="node-row")
        self._node = node
        self._known = known

    def compose(self) -> ComposeResult:
        yield Input(
            self._node.host,
            placeholder="user@host:port or alias",
            classes="host",
            compact=True,
            suggester=SuggestFromList(self._known) if self._known else None,
        )
        yield Button(self._node.role, classes="role", compact=True)
        yield Input(self._node.gpus, placeholder="GPUs", classes="gpus", compact=True)
        yield Input(self._node.fabric_ip, placeholder="asked for in step 3", classes="ip", compact=True)
        yield Button("remove", classes="remove", compact=True)

    @property
    def value(self) -> NodeForm:
        if not self.query(".remove"):
            return self._node  # it is being put in: its fields come in a moment

        def text(name: str) -> str:
            return self.query_one(f".{name}", Input).value

        return NodeForm(text("host"), self._node.role, text("gpus"), text("ip"), self._node.base)

    def fill(self, gpus: int | None, fabric_ip: str) -> None:
        """What the machine itself has said; an address that was typed stays."""
        if gpus is not None:
            self.query_one(".gpus", Input).value = str(gpus)
        ip = self.query_one(".ip", Input)
        ip.value = ip.value or fabric_ip

    def set_role(self, role: str) -> None:
        self._node.role = role
        self.query_one(".role", Button).label = role


class Choice(Button):
    """One of a field's few answers; Enter or a click goes to the next one."""

    def __init__(self, where: str, value: str, **more: Any) -> None:
        self._words = CHOICES[where]
        super().__init__(self._label(value), compact=True, classes="choice", **more)
        self.value = value
        # While a button looks pressed it takes no key: a second answer would be lost.
        self.active_effect_duration = 0

    class Changed(Message):
        """Another answer was chosen."""

    def next(self) -> None:
        values = list(self._words)
        self.set_value(values[(values.index(self.value) + 1) % len(values)])

    def set_value(self, value: str) -> None:
        self.value = value
        self.label = self._label(value)
        self.post_message(self.Changed())

    def _label(self, value: str) -> str:
        return f"‹ {self._words.get(value, value)} ›"


class SplitLine(Static):
    """How TP x PP sits on the machines: in words, and in a colour."""

    def show(self, form: Form) -> None:
        found = split_line(form)
        for grade in ("doubt", "bad"):
            self.set_class(found.grade == grade, f"-{grade}")
        self.update(Text(safe_block(found.text)))


def field_widget(where: str, value: str) -> Input | Choice:
    """What a field of the cluster file is typed or chosen in."""
    if where in CHOICES:
        return Choice(where, value, id=field_id(where))
    return Input(value, id=field_id(where), compact=True)


def field_id(where: str) -> str:
    """The id of a field's widget."""
    return "f-" + where.replace(".", "-").replace("_", "-")
