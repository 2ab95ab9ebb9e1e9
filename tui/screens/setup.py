"""Set-up: the cluster file as a form. Written when it is right, comments kept, and read back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.events import DescendantFocus
from textual.screen import Screen
from textual.widgets import Button, Footer, Input, Label, Static

from tui.app.form import (
    FIELDS,
    ONLY,
    Form,
    NodeForm,
    cluster_of,
    empty,
    form_of,
    labelled,
    save,
    spoken,
)
from tui.app.split import advised
from tui.app.text import safe_block
from tui.screens.hosts import HostsScreen
from tui.screens.leave import QuitScreen
from tui.screens.setup_widgets import Choice, NodeRow, SplitLine, field_id, field_widget
from wizard_steps.cluster.file import Cluster, load
from wizard_steps.errors import MilepostError
from wizard_steps.facts.setup import SetUp
from wizard_steps.transport.ssh_names import names

#: Asks the machines of a cluster what they have.
Look = Callable[[Cluster], Awaitable[SetUp]]


class SetupScreen(Screen[Cluster | None]):
    """Answers the cluster that was saved, None when the person leaves."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+s", "save", "Save"),
        Binding("f5", "test", "Test SSH"),
        Binding("f2", "advised", "TP x PP"),
        Binding("f3", "hosts", "SSH hosts"),
        Binding("f4", "app.words", "Words"),
        Binding("ctrl+n", "add", "Add", priority=True),
        # Before any widget has them: what is typed after a Tab must not reach the field before it.
        Binding("tab", "app.focus_next", show=False, priority=True),
        Binding("shift+tab", "app.focus_previous", show=False, priority=True),
        Binding("escape", "leave", "Leave"),
    ]

    def __init__(self, path: Path, look: Look | None = None) -> None:
        """``look`` asks the machines of a cluster; by default over SSH."""
        super().__init__()
        self._look = look or self._over_ssh
        self._path = path
        self._base = empty()
        self._problem = ""
        self._known: list[str] = []
        if path.exists():
            try:
                self._base = load(path)
            except MilepostError as error:
                self._problem = str(error)
        self._known = names(Path(self._base.ssh.config))

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
                    yield NodeRow(node, self._known)
            yield Static(id="host-note", markup=False)
            with Horizontal(id="machine-keys"):
                yield Button("Add a machine", id="add", compact=True)
                yield Button("From ~/.ssh/config", id="hosts", compact=True)
                yield Button("Test SSH", id="test", compact=True)
            yield Static(id="tested", markup=False)
            for where, label, hint in FIELDS:
                with Horizontal(classes="field", id=f"row-{field_id(where)}"):
                    yield Label(label, classes="label")
                    yield field_widget(where, form.values[where])
                yield Label(hint, classes="hint", id=f"hint-{field_id(where)}")
                if where == "serve.pipeline_parallel":
                    yield SplitLine(id="split")
        yield Static(self._problem, id="setup-error", markup=False)
        with Horizontal(id="setup-keys"):
            yield Button("Save, then the plan", id="save", variant="primary", compact=True)
            yield Button("Leave", id="leave", compact=True)
            yield Static(f"writes {self._path}", id="setup-file", markup=False)
        yield Footer(compact=True, show_command_palette=False)

    def on_mount(self) -> None:
        self._say(self._problem)
        self.query(".host").filter("Input").first(Input).focus()
        self._show_split()
        self._show_path()

    @property
    def prose(self) -> str:
        """What the form says of its fields, whose words come first in the list of words."""
        return "\n".join(f"{label}: {hint}" for _, label, hint in FIELDS)

    def form(self) -> Form:
        """What the person has typed."""
        values = {where: self._field(where).value for where, _, _ in FIELDS}
        return Form([row.value for row in self.query(NodeRow)], values)

    def _field(self, where: str) -> Input | Choice:
        found = self.query_one(f"#{field_id(where)}")
        assert isinstance(found, Input | Choice)
        return found

    def on_input_changed(self, event: Input.Changed) -> None:
        self._show_split()
        self._mark("")
        if event.input.has_class("host") and event.input.has_focus:
            self._note(event.input)

    def on_choice_changed(self) -> None:
        self._show_path()

    def _show_path(self) -> None:
        """The fields of the chosen path."""
        path = self._field("path").value
        for where, only in ONLY.items():
            self.query_one(f"#row-{field_id(where)}").display = path == only
            self.query_one(f"#hint-{field_id(where)}").display = path == only

    def _note(self, host: Input) -> None:
        row = host.parent
        at = row.value.base if isinstance(row, NodeRow) else None
        words = spoken(host.value, None if at is None else self._base.nodes[at])
        self.query_one("#host-note", Static).update(safe_block(words))

    def on_descendant_focus(self, event: DescendantFocus) -> None:
        """What is said about TP and PP is in sight while they are typed, in a small terminal too."""
        if event.widget.has_class("host") and isinstance(event.widget, Input):
            self._note(event.widget)
        if event.widget.id in (field_id("serve.tensor_parallel"), field_id("serve.pipeline_parallel")):
            self.query_one(SplitLine).scroll_visible(animate=False)

    def _show_split(self) -> None:
        self.query_one(SplitLine).show(self.form())

    async def on_button_pressed(self, event: Button.Pressed) -> None:
        button = event.button
        row = button.parent
        if isinstance(button, Choice):
            button.next()
            self._show_path()
        elif button.id == "add":
            await self.action_add()
        elif button.id in ("save", "leave", "hosts", "test"):
            getattr(self, f"action_{button.id}")()
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

    async def action_add(self, host: str = "") -> None:
        gpus = self.query(NodeRow).last().value.gpus
        row = NodeRow(NodeForm(host, gpus=gpus), self._known)
        await self.query_one("#node-rows").mount(row)
        self._show_split()
        self.set_focus(row.query_one(".host", Input))

    def action_hosts(self) -> None:
        """Machines from the ssh configuration."""
        if not self._known:
            self._say(f"{self._base.ssh.config} names no host (patterns with * do not count).")
            return
        taken = [row.value.host for row in self.query(NodeRow)]
        self.app.push_screen(HostsScreen(self._known, taken), self._take_hosts)

    async def _take_hosts(self, chosen: list[str] | None) -> None:
        """Those that are new take the place of the form's examples, then come as further rows."""
        rows = list(self.query(NodeRow))
        new = [name for name in chosen or [] if name not in [row.value.host for row in rows]]
        fresh = [
            row for row in rows if row.value.host.strip() in ("", *_EXAMPLES) and not self._path.exists()
        ]
        for row in fresh[: len(new)]:
            row.query_one(".host", Input).value = new.pop(0)
        for name in new:
            await self.action_add(name)
        self._show_split()

    def action_advised(self) -> None:
        """TP and PP that take the most GPUs with each layer inside one machine."""
        pair = advised(self.form())
        if pair is None:
            self._say("No TP and PP can be advised: the number of GPUs of every machine is needed first.")
            return
        for where, number in zip(_SPLIT, pair, strict=True):
            field = self._field(where)
            assert isinstance(field, Input)
            field.value = str(number)

    def action_test(self) -> None:
        """Ask every machine over SSH what it has; nothing is changed there."""
        try:
            cluster = cluster_of(self.form(), self._base, whole=False)
        except MilepostError as error:
            self._wrong(str(error))
            return
        self._tell("Asking the machines over SSH …")
        self.run_worker(self._test(cluster), group="test", exclusive=True, exit_on_error=False)

    async def _test(self, cluster: Cluster) -> None:
        try:
            found = await self._look(cluster)
        except (MilepostError, OSError) as error:
            self._tell(str(error))
            return
        lines = []
        for row, node, one in zip(self.query(NodeRow), cluster.node_list, found.machines, strict=False):
            if not one.problem:
                row.fill(one.gpus, one.fabric_ip)
            lines.append(f"{'✗' if one.problem else '✓'} {node.name}: {one.problem or one.about}")
        path = self._field("path")
        if found.path and isinstance(path, Choice) and path.value != found.path:
            path.set_value(found.path)
            lines.append(f"Path set to {found.path}: the machines are ready for it.")
        self._tell("\n".join(lines))
        self._show_split()

    async def _over_ssh(self, cluster: Cluster) -> SetUp:
        """A person answers for host keys and passwords."""
        from tui.app.testing import look_at

        return await look_at(cluster, self.app)  # type: ignore[arg-type]

    def _tell(self, words: str) -> None:
        if self.is_attached:
            self.query_one("#tested", Static).update(safe_block(words))

    def action_save(self) -> None:
        try:
            cluster = save(cluster_of(self.form(), self._base), self._path)
        except MilepostError as error:
            self._wrong(str(error))
            return
        self.dismiss(cluster)

    def _wrong(self, problem: str) -> None:
        """Below the form and beside the field, by the label it has there."""
        where, words = labelled(problem, [row.value.host for row in self.query(NodeRow)])
        self._say(words)
        self._focus(problem)
        self._mark(where, words)

    def _mark(self, where: str, words: str = "") -> None:
        """The message in place of the field's hint; "" brings all hints back."""
        for name, _, hint in FIELDS:
            label = self.query_one(f"#hint-{field_id(name)}", Label)
            bad = bool(where) and name == where
            if bad or label.has_class("-bad"):
                label.update(words if bad else hint)
                label.set_class(bad, "-bad")

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


#: Hosts of a new form.
_EXAMPLES = tuple(node.host for node in empty().nodes)
_SPLIT = ("serve.tensor_parallel", "serve.pipeline_parallel")
