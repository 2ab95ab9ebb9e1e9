"""The plan before a walk: nothing is changed on any machine until a key here says so."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import Screen
from textual.widgets import Footer, Static

from tui.app.plan_view import plan_text
from tui.app.text import cut, safe
from tui.widgets.panes import Styled
from wizard_steps.cluster.file import Cluster
from wizard_steps.planning import Plan, plan

#: start: walk. step: pause before each milestone. check: pause before the first that changes something.
#: edit: back to the form. save: leave, the file is written. None: leave.
PlanAnswer = Literal["start", "step", "check", "edit", "save"]


class PlanScreen(Screen[PlanAnswer | None]):
    """``file`` is None where there is none to edit or keep (the embedded lab)."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "answer('start')", "Start"),
        Binding("s", "answer('step')", "Step by step"),
        Binding("c", "answer('check')", "Check"),
        Binding("e", "answer('edit')", "Edit"),
        Binding("w", "answer('save')", "Save only"),
        Binding("v", "commands", "Commands"),
        Binding("q,escape", "answer('')", "Leave", key_display="q"),
        Binding("ctrl+c,ctrl+q", "answer('')", "Leave", show=False, priority=True),
    ]
    AUTO_FOCUS = "#plan-scroll"

    def __init__(self, cluster: Cluster, file: Path | None, also: Sequence[str] = ()) -> None:
        super().__init__()
        self._cluster = cluster
        self._file = file
        self._planned: Plan = plan(cluster, also)
        self._commands = False

    def compose(self) -> ComposeResult:
        yield Static(id="plan-title", markup=False)
        with VerticalScroll(id="plan-scroll"):
            yield Styled(id="plan-text", markup=False)
        yield Footer(compact=True, show_command_palette=False)

    def on_mount(self) -> None:
        self._draw()

    def on_resize(self) -> None:
        self._draw()

    def _draw(self) -> None:
        width = self.size.width
        if not width:
            return
        self.query_one("#plan-title", Static).update(self._title(width - 2))
        body = self.query_one(Styled)
        room = self.query_one("#plan-scroll").scrollable_content_region.width or width - 4
        body.update(plan_text(self._planned, self._cluster, body.look, room, self._commands))

    def _title(self, width: int) -> Text:
        planned = self._planned
        right = "SIMULATED  PLAN: nothing runs yet" if planned.simulated else "PLAN: nothing runs yet"
        room = max(8, width - len(right) - 2)
        name, how = safe(planned.name), "over Ray" if planned.executor == "ray" else "without Ray"
        # In little room the executor goes first, then the path, then the end of the name.
        tries = (f"milepost  {name}  {planned.path} · {how}", f"milepost  {name}  {planned.path}")
        left = next((one for one in tries if len(one) <= room), cut(f"milepost  {name}", room))
        return Text(f"{left}{' ' * max(1, width - len(left) - len(right))}{right}", no_wrap=True)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Without a file there is nothing to edit or to save."""
        return not (action == "answer" and parameters in (("edit",), ("save",)) and self._file is None)

    def action_commands(self) -> None:
        self._commands = not self._commands
        self._draw()

    def action_answer(self, value: str) -> None:
        self.dismiss(value or None)  # type: ignore[arg-type]


def first_change(cluster: Cluster) -> str:
    """The id of the first milestone that changes something on a node, "" where none does."""
    return next((one.id for one in plan(cluster).milestones if one.changes), "")
