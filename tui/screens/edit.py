"""Edit answers at a gate: choose fields of the cluster file, type their values. Checked first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from tui.app.fields import fields
from tui.app.text import safe, safe_block
from tui.screens.dialog import Dialog
from wizard_steps.cluster.edit import with_values
from wizard_steps.cluster.file import Cluster
from wizard_steps.errors import MilepostError

#: Fields that decide how a model is split over the GPUs.
SPLITS = ("serve.tensor_parallel", "serve.pipeline_parallel", "serve.extra_flags")


class EditScreen(Dialog[tuple[tuple[str, str], ...]]):
    """Answers (where, value) of each field that was changed. They have to fit together, not one by one."""

    heading = "Edit answers"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+n", "another", "Another field", show=False, priority=True)
    ]

    def __init__(
        self, cluster: Cluster, first: Sequence[str], facts: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__()
        self._cluster = cluster
        self._facts = facts or {}
        self._fields = fields(cluster, first)
        self._shown = self._fields
        self._where = ""
        self._changes: dict[str, str] = {}

    def body(self) -> ComposeResult:
        yield Static(id="changed", markup=False)
        yield Input(placeholder="type to find a field", id="filter", compact=True)
        yield OptionList(id="choices", compact=True)
        yield Static(id="where", markup=False)
        yield Input(id="answer", compact=True, disabled=True)
        with VerticalScroll(id="effect-scroll", can_focus=False):
            yield Static(id="effect", markup=False)
        yield self.error_line()
        hint = (
            "Enter takes the field, Enter again runs the step with it; Ctrl+N: change another field first; "
            "Esc goes back"
        )
        yield Static(hint, id="dialog-hint", markup=False)

    def on_mount(self) -> None:
        self._typing(False)
        self._fill("")
        self.query_one("#filter", Input).focus()

    def _fill(self, wanted: str) -> None:
        self._shown = [(w, v) for w, v in self._fields if wanted.lower() in f"{w} {v}".lower()]
        width = max((len(where) for where, _ in self._shown), default=0)
        options = self.query_one(OptionList)
        options.clear_options()
        for where, value in self._shown:
            text = Text(f"{where:<{width}}  ", no_wrap=True, overflow="ellipsis").append(safe(value))
            options.add_option(Option(text))
        options.highlighted = 0 if self._shown else None

    def on_input_changed(self, event: Input.Changed) -> None:
        if event.input.id == "filter":
            self._fill(event.value.strip())
        else:
            self.say_error("")
            self._show_effect(event.value)

    def _show_effect(self, value: str) -> None:
        """A picture of machines, GPUs and stages while TP, PP or vLLM's flags are being typed."""
        lines: list[str] = []
        if self._where in SPLITS:
            from wizard_steps.advisor import effect_of

            try:
                lines = effect_of(with_values(self._cluster, self._with(value)), self._facts)
            except MilepostError as error:
                lines = [str(error)]
        self.query_one("#effect", Static).update(Text(safe_block("\n".join(lines))))
        self.set_class(bool(lines), "-effect")

    def on_key(self, event: object) -> None:
        key = getattr(event, "key", "")
        if key in ("down", "up") and self.query_one("#filter", Input).has_focus:
            options = self.query_one(OptionList)
            (options.action_cursor_down if key == "down" else options.action_cursor_up)()

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        self._take(event.option_index)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        if event.input.id == "filter":
            highlighted = self.query_one(OptionList).highlighted
            if highlighted is not None:
                self._take(highlighted)
        else:
            self._submit(event.value)

    def _take(self, index: int) -> None:
        self._where, value = self._shown[index]
        now = safe(value) or "not set"
        self.query_one("#where", Static).update(f"new value of {self._where} (now: {now})")
        value = self._changes.get(self._where, value)
        self._typing(True)
        answer = self.query_one("#answer", Input)
        answer.value = value
        answer.focus()

    def _typing(self, on: bool) -> None:
        """A value is typed in place of the list of fields: each has the room of the other."""
        self.query_one(OptionList).display = not on
        for name in ("#where", "#answer", "#effect-scroll"):
            self.query_one(name).display = on
        self.query_one("#answer", Input).disabled = not on
        self.query_one("#changed").display = bool(self._changes)
        self.set_class(False, "-effect")

    def _with(self, value: str) -> tuple[tuple[str, str], ...]:
        return tuple({**self._changes, self._where: value}.items())

    def _submit(self, value: str) -> None:
        try:
            with_values(self._cluster, self._with(value))
        except MilepostError as error:
            self.say_error(safe_block(str(error)))
            return
        self.dismiss(self._with(value))

    def action_another(self) -> None:
        """Keep the value and choose a further field; whether all fit is seen at the end."""
        answer = self.query_one("#answer", Input)
        if answer.disabled:
            return
        self._changes[self._where] = answer.value
        before = dict(self._fields)
        lines = [f"{where}: {before[where] or 'not set'} → {new}" for where, new in self._changes.items()]
        self.query_one("#changed", Static).update(safe_block("\n".join(lines)))
        self.action_cancel()
        self.query_one("#filter", Input).value = ""

    def action_cancel(self) -> None:
        answer = self.query_one("#answer", Input)
        if not answer.has_focus:
            self.dismiss(None)
            return
        self._typing(False)
        self.say_error("")
        self.query_one("#filter", Input).focus()
