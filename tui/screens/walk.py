"""The walk's screen and its keys: look, search, copy, note, answer a gate that stays shut."""

from __future__ import annotations

from typing import ClassVar

from textual.binding import ActiveBinding, Binding, BindingType
from textual.notifications import SeverityLevel
from textual.widgets import Input, Static

from tui.app import present
from tui.app.compare import command_line
from tui.app.context import Context, shown
from tui.app.fixes import FIRST_KEY, KEYS
from tui.app.jump import LogPlace
from tui.app.note import earlier, keep, recorder
from tui.app.session import WalkSession
from tui.app.text import described
from tui.screens.nodes import NodesScreen
from tui.screens.note import NoteScreen
from tui.screens.walk_view import WalkView
from tui.widgets.find_bar import FindBar
from tui.widgets.line_view import LineView
from tui.widgets.log_view import LogView
from tui.widgets.panes import InfoPanel
from tui.widgets.step_list import StepList
from wizard_steps.errors import MilepostError
from wizard_steps.walks.handover import TUNNEL_PORT

#: In a shown command: the port of a tunnel that is another one every time.
_TUNNEL = "<tunnel>"


class WalkScreen(WalkView):
    """What a key does. Everything else is drawn from the state."""

    #: Said where no note can be written.
    NO_NOTE = "There is no recording yet."

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("r", "gate('retry')", "Retry", show=False),
        Binding("e", "gate('edit')", "Edit", show=False),
        Binding("a", "gate('fix')", "Run a fix", show=False),
        Binding("b", "gate('back')", "Back", show=False),
        *(Binding(str(n), f"gate('{n}')", "Fix", show=False) for n in range(FIRST_KEY, FIRST_KEY + KEYS)),
        Binding("1", "view('compare')", "Compare", show=False),
        Binding("2,l", "view('log')", "Log", show=False),
        Binding("3", "view('checks')", "Checks", show=False),
        Binding("i", "info", "Why"),
        Binding("left_square_bracket", "node(-1)", "Node before", show=False),
        Binding("right_square_bracket", "node(1)", "Next node", show=False),
        Binding("f", "nodes", "Nodes"),
        Binding("slash", "find", "Search"),
        Binding("n", "find_next(1)", "Next hit", show=False),
        Binding("N", "find_next(-1)", "Hit before", show=False),
        Binding("g", "find_line", "Line", show=False),
        Binding("c", "copy", "Copy"),
        Binding("y", "copy_pane", "Copy pane", show=False),
        Binding("x", "fold", "Fold", show=False),
        Binding("z", "zoom", "Zoom"),
        Binding("m", "note", "Note"),
        Binding("enter", "go_on", "To the log", show=False, key_display="Enter"),
        Binding("s", "steps", "Steps", show=False),
        Binding("w", "wrap", "Wrap", show=False),
        Binding("d", "app.debugging", "Debug"),
        Binding("h", "app.handover", "Hand-over", show=False),
        Binding("escape", "present", "Present", show=False, key_display="Esc"),
        Binding("ctrl+c", "app.ask_quit", "Quit", show=False, priority=True),
    ]

    @property
    def context(self) -> Context:
        """What a person can do here and now."""
        session, state = self.app.session, self.state
        if session is None:
            return Context(self._view, over=True)
        place = self._view == "checks" and self.place(session) is not None
        return Context(
            self._view,
            gate=session.gate_open and self.shown == state.current,
            paused=session.pauses.next is not None,
            over=state.outcome is not None,
            passed=state.outcome == "passed",
            many=len(present.node_names(state, self.shown)) > 1,
            place=place,
            steps=bool(self.pinned) and self.shown != state.current,
            records=recorder(session) is not None,
            finding=self.drawable and self.query_one(FindBar).is_open,
        )

    @property
    def active_bindings(self) -> dict[str, ActiveBinding]:
        """For the footer; what a key does is not decided by it."""
        return shown(super().active_bindings, self.context)

    def action_view(self, name: str) -> None:
        self.show_view(name)

    def action_info(self) -> None:
        info = self.query_one(InfoPanel)
        info.display = not info.display
        self.set_class(info.display, "-info")
        if not info.display and info.has_focus:
            self.query_one(f"#{self._pane}").focus()
        self.redraw()

    def action_zoom(self) -> None:
        self.toggle_class("-zoom")

    def action_fold(self) -> None:
        self._folded = not self._folded
        self.redraw()

    def action_present(self) -> None:
        """One thing at a time: the line to search in, Why, the way back to the present step."""
        info, find = self.query_one(InfoPanel), self.query_one(FindBar)
        if find.is_open:
            find.close()
        elif info.display and not self.pinned and not self.has_class("-roomy"):
            self.action_info()
        else:
            self.pinned = ""
            self.redraw()

    def on_step_list_chosen(self, message: StepList.Chosen) -> None:
        self.pinned = "" if message.step == self.state.current else message.step
        self.redraw()

    def action_node(self, by: int) -> None:
        names = present.node_names(self.state, self.shown)
        if names:
            at = names.index(self.node) if self.node in names else 0
            self.node = names[(at + by) % len(names)]
            self.redraw()

    def action_node_number(self, number: int) -> None:
        names = present.node_names(self.state, self.shown)
        if 0 <= number < len(names):
            self.node = names[number]
            self.redraw()

    def action_nodes(self) -> None:
        if self.state.steps:
            self.app.push_screen(NodesScreen(lambda: self.state), self._node_chosen)

    def _node_chosen(self, name: str | None) -> None:
        if name:
            self.node = name
            self.redraw()

    def action_go_on(self) -> None:
        """With the milestone that waits for it; at a failed gate, to the line of the log it rests on."""
        session = self.app.session
        if session is not None and session.pauses.next is not None:
            session.pauses.go()
        elif session is not None and (place := self.place(session)) is not None:
            self._jump(session, place)

    def _jump(self, session: WalkSession, place: LogPlace) -> None:
        """To the line of the log that a failed gate rests on."""
        self.node = place.run.node
        self.show_view("log")
        view = self.query_one("#log-view", LogView)
        view.following = False

        def there() -> None:
            doc = session.logs.doc(self.shown, place.run.node)
            while doc.catch_up():
                pass
            line = doc.line_of(place.run.number, place.line, place.text)
            # Once it shows this log and has its size: a log that is new there begins at its end.
            view.show_doc(doc)
            if line is not None:
                view.call_after_refresh(view.go_to, line)

        self.call_after_refresh(there)

    def action_steps(self) -> None:
        """Pause before every milestone from now on, or no longer."""
        session = self.app.session
        if session is not None and session.state.outcome is None:
            on = session.pauses.toggle()
            words = "The walk pauses before each milestone." if on else "The walk continues without pauses."
            self.app.notify(words, title="Step by step", markup=False, timeout=4)
            self.redraw()

    def action_gate(self, value: str) -> None:
        if value == "log":
            self.show_view("log")
        elif value == "stop":
            self.app.action_ask_quit()
        elif self.app.gate_open:
            self.app.gate_key(value)

    # Notes

    def action_note(self) -> None:
        """Beside the attempt on show; when it is written the walk may be further."""
        folder = recorder(self.app.session)
        if not self.state.steps or folder is None:
            self._tell(self.NO_NOTE)
            return
        step = self.state.step(self.shown)

        def written(text: str | None) -> None:
            session = self.app.session
            if text and session is not None:
                try:
                    self._tell(keep(session, folder, step.id, step.attempt, text))
                except MilepostError as error:
                    self._tell(str(error), "error")

        try:
            before = earlier(folder, step.id, step.attempt)
        except MilepostError as error:
            self._tell(str(error), "error")
            return
        self.app.push_screen(NoteScreen(step.title, before), written)

    def _tell(self, words: str, severity: SeverityLevel = "information") -> None:
        self.app.notify(words, title="Note", severity=severity, markup=False, timeout=5)

    # The log

    def action_wrap(self) -> None:
        """In the log: long lines on several rows, or each on one. Elsewhere: to the log."""
        if self._view == "log":
            view = self.query_one("#log-view", LogView)
            view.wrap = not view.wrap
        else:
            self.show_view("log")

    def action_find(self) -> None:
        self.show_view("log")
        self.query_one(FindBar).open_search()

    def action_find_line(self) -> None:
        self.show_view("log")
        self.query_one(FindBar).open_line()

    def action_find_next(self, by: int) -> None:
        if self._view == "log":
            self.query_one(FindBar).again(by)

    def on_log_view_moved(self) -> None:
        self.query_one(FindBar).refresh_place()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()

    # Copy

    def action_copy(self) -> None:
        selected = self.get_selected_text()
        if selected:
            self.app.copy_text(selected, "the selection")
            return
        if not self.state.steps:
            return
        node = present.default_node(self.state, self.shown, self.node)
        runs = self.state.runs_of(self.shown, node)
        plain = [run for run in runs if not run.quiet] or runs
        if plain:
            text, what = (plain[-1].show or plain[-1].text).strip(), command_line(plain[-1])
            if described(text):
                text, what = plain[-1].text.strip(), f"the script behind {what}"
            if _TUNNEL in text:
                # The walk's own tunnel has ended: the hand-over says how to open one on this port.
                text, what = text.replace(_TUNNEL, str(TUNNEL_PORT)), f"{what}; h: its tunnel"
            self.app.copy_text(text, what)

    def action_copy_pane(self) -> None:
        if self._view == "checks":
            text = self.query_one("#checks-text", Static).visual
            self.app.copy_text(str(text), "the checks")
            return
        view = self.query_one(f"#{self._pane}", LineView)
        total = min(view.line_total(), 20_000)
        self.app.copy_text("\n".join(view.plain(view.line_total() - total, total)), f"{total} lines")
