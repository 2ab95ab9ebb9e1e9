"""Set-up: the cluster file as a form. Written when it is right, comments kept, and read back."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.events import DescendantFocus
from textual.screen import Screen
from textual.widgets import Button, Footer, Input, Label, Static

from tui.app.form import CHOICES, FIELDS, Form, NodeForm, asked, cluster_of, empty, form_of, save
from tui.app.text import safe_block
from tui.screens.leave import QuitScreen
from tui.screens.setup_widgets import Choice, NodeRow, SplitLine
from wizard_steps.cluster.file import Cluster, load
from wizard_steps.errors import MilepostError


class SetupScreen(Screen[Cluster | None]):
    """Answers the cluster that was saved, None when the person leaves."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+s", "save", "Save and start"),
        Binding("ctrl+n", "add", "Add a node"),
        Binding("escape", "leave", "Leave"),
    ]

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        self._base = empty()
        self._problem = ""
        if path.exists():
            try:
                self._base = load(path)
            except MilepostError as error:
                self._problem = str(error)

    def compose(self) -> ComposeResult:
        form = form_of(self._base)
        yield Static("milepost   set up a cluster", id="setup-title", markup=False)
        with VerticalScroll(id="setup"):
            intro = (
                "Which machines, and what to serve? Nothing is run before you start. No secrets go in here: "
                "HF_TOKEN and passwords stay in your environment or are asked for."
            )
            yield Static(intro, id="setup-intro", markup=False)
            with Horizontal(classes="node-head"):
                yield Label("Machine (ssh host)", classes="host")
                yield Label("Role", classes="role")
                yield Label("GPUs", classes="gpus")
                yield Label("IP for GPU traffic", classes="ip")
            with Vertical(id="node-rows"):
                for node in form.nodes:
                    yield NodeRow(node)
            yield Button("Add a machine", id="add", compact=True)
            for where, label, hint in FIELDS:
                with Vertical(classes="asked", id=f"asked{_id(where)[1:]}"):
                    with Horizontal(classes="field"):
                        yield Label(label, classes="label")
                        yield _widget(where, form.values[where])
                    yield Label(hint, classes="hint")
                if where == "serve.pipeline_parallel":
                    yield SplitLine(id="split")
        yield Static(self._problem, id="setup-error", markup=False)
        with Horizontal(id="setup-keys"):
            yield Button("Save and start", id="save", variant="primary", compact=True)
            yield Button("Leave", id="leave", compact=True)
            yield Static(f"writes {self._path}", id="setup-file", markup=False)
        yield Footer(compact=True)

    def on_mount(self) -> None:
        self._say(self._problem)
        self.query(".host").filter("Input").first(Input).focus()
        self._show_split()
        self._show_path()

    def form(self) -> Form:
        """What the person has typed."""
        values = {where: self._field(where).value for where, _, _ in FIELDS}
        return Form([row.value for row in self.query(NodeRow)], values)

    def _field(self, where: str) -> Input | Choice:
        found = self.query_one(f"#{_id(where)}")
        assert isinstance(found, Input | Choice)
        return found

    def on_input_changed(self) -> None:
        self._show_split()

    def on_descendant_focus(self, event: DescendantFocus) -> None:
        """What is said about TP and PP is in sight while they are typed, in a small terminal too."""
        if event.widget.id in (_id("serve.tensor_parallel"), _id("serve.pipeline_parallel")):
            self.query_one(SplitLine).scroll_visible(animate=False)

    def _show_path(self) -> None:
        """Only the fields of the path that is chosen."""
        path = self._field("path").value
        for where, _, _ in FIELDS:
            self.query_one(f"#asked{_id(where)[1:]}").display = asked(where, path)

    def _show_split(self) -> None:
        self.query_one(SplitLine).show(self.form())

    async def on_button_pressed(self, event: Button.Pressed) -> None:
        button = event.button
        row = button.parent
        if isinstance(button, Choice):
            button.next()
            self._show_path()
        elif button.id == "save":
            self.action_save()
        elif button.id == "leave":
            self.action_leave()
        elif button.id == "add":
            await self.action_add()
        elif isinstance(row, NodeRow) and button.has_class("remove"):
            await self._remove(row)
        elif isinstance(row, NodeRow):
            for other in self.query(NodeRow):
                other.set_role("head" if other is row else "worker")
            self._show_split()

    async def _remove(self, row: NodeRow) -> None:
        if len(self.query(NodeRow)) > 1:
            was_head = row.value.role == "head"
            await row.remove()
            if was_head:
                self.query(NodeRow).first().set_role("head")
            self._show_split()

    async def action_add(self) -> None:
        gpus = self.query(NodeRow).last().value.gpus
        row = NodeRow(NodeForm(gpus=gpus))
        await self.query_one("#node-rows").mount(row)
        self._show_split()
        row.query_one(".host", Input).focus()

    def action_save(self) -> None:
        try:
            cluster = save(cluster_of(self.form(), self._base), self._path)
        except MilepostError as error:
            self._say(str(error))
            self._focus(str(error))
            return
        self.dismiss(cluster)

    def action_leave(self) -> None:
        self.app.push_screen(QuitScreen.of_form(), self._left)

    def _left(self, sure: bool | None) -> None:
        if sure:
            self.dismiss(None)

    def _say(self, problem: str) -> None:
        line = self.query_one("#setup-error", Static)
        line.update(safe_block(problem))
        line.display = bool(problem)

    def _focus(self, problem: str) -> None:
        """Put the cursor where the problem is."""
        where = problem.partition(":")[0]
        for known, _, _ in FIELDS:
            if where.startswith(known):
                self._field(known).focus()
                return
        number, _, name = where.removeprefix("nodes[").partition("].")
        rows = list(self.query(NodeRow))
        if where.startswith("nodes[") and number.isdigit() and int(number) < len(rows):
            css = {"gpus": ".gpus", "fabric_ip": ".ip"}.get(name, ".host")
            rows[int(number)].query_one(css, Input).focus()


def _widget(where: str, value: str) -> Input | Choice:
    if where in CHOICES:
        return Choice(where, value, id=_id(where))
    return Input(value, id=_id(where), compact=True)


def _id(where: str) -> str:
    return "f-" + where.replace(".", "-").replace("_", "-")
