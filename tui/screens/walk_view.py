"""The walk drawn: steps on the left, expected beside real in the middle, prose on the right."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.screen import Screen
from textual.widgets import ContentSwitcher, Footer

from tui.app import present
from tui.app.checks import checks_text
from tui.app.compare import compare_lines
from tui.app.jump import LogPlace, place_of
from tui.app.session import WalkSession
from tui.app.text import safe
from tui.widgets.bars import HeaderBar, HeadingBar, NodeBar, ProgressLine, ViewBar, WaitBar
from tui.widgets.compare_view import CompareView
from tui.widgets.find_bar import FindBar
from tui.widgets.log_view import LogView
from tui.widgets.panes import ChecksPane, GateBar, InfoPanel, PauseBar
from tui.widgets.step_list import StepList, step_rows
from wizard_steps.recording import events as ev
from wizard_steps.recording.state import State
from wizard_steps.walks.known import document

if TYPE_CHECKING:
    from tui.app.app import MilepostApp

#: From this width on (columns) the prose of a step is open beside it.
ROOMY = 180
VIEWS = (("compare", "Compare"), ("log", "Log"), ("checks", "Checks"))
#: While a step runs, its output is compared at most this often (seconds).
_LIVE_EVERY = 0.5


class WalkView(Screen[None]):
    """All panes of the walk. ``tick`` is called by the app's timer when something may have changed."""

    app: MilepostApp
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (110, "-wide")]  # noqa: RUF012
    AUTO_FOCUS = "#compare"

    def __init__(self) -> None:
        super().__init__()
        self.pinned = ""
        self.node = ""
        self._view = "compare"
        self._folded = True
        self._whole = False
        self._compared: object = None
        self._compared_at = 0.0
        self._checked: object = None
        self._informed: object = None
        self._suited: object = None
        self._roomy = False
        self._named: object = None
        #: Whether the view is there because the step's own lines say little.
        self._lent = False

    def compose(self) -> ComposeResult:
        yield HeaderBar(id="header")
        with Horizontal(id="body"):
            yield StepList(id="steps")
            with Vertical(id="main"):
                yield HeadingBar(id="heading")
                yield NodeBar(id="nodes")
                yield ViewBar(id="views")
                yield WaitBar(id="waiting")
                with ContentSwitcher(initial="compare", id="switch"):
                    yield CompareView(id="compare")
                    with Vertical(id="log"):
                        yield LogView(id="log-view")
                        yield FindBar(id="find")
                    yield ChecksPane(id="checks")
                yield GateBar(id="gate")
                yield PauseBar(id="pause")
            with Vertical(id="side"):
                yield InfoPanel(id="info")
                yield LogView(id="side-log")
        yield ProgressLine(id="progress")
        yield Footer(compact=True)

    def on_resize(self) -> None:
        """Where there is room, the log is open beside, and the prose until a person says otherwise."""
        roomy = self.size.width >= ROOMY
        if roomy != self._roomy and self.is_mounted and self.query(InfoPanel):
            self._roomy = roomy
            self.query_one(InfoPanel).display = roomy
            self.set_class(roomy, "-info")
            self.set_class(roomy, "-roomy")

    def on_mount(self) -> None:
        self.call_after_refresh(setattr, self, "_whole", True)

    @property
    def drawable(self) -> bool:
        """Whether all widgets are there: not before the first refresh, not when the app is closing."""
        return self._whole and self.is_attached and bool(self.query("#progress"))

    def forget(self) -> None:
        """Another walk begins on this screen."""
        self.pinned = self.node = ""
        self._compared = self._checked = None
        if self.drawable:
            self._switch("compare")

    # What is on show

    @property
    def state(self) -> State:
        session = self.app.session
        return session.state if session is not None else State()

    @property
    def shown(self) -> str:
        """One that has just passed, else the step a person looks at, else the present one. Behind a dialog
        nothing is held: a question is about the present step."""
        session, state = self.app.session, self.state
        held = session.evidence.held if session is not None and self.is_active else ""
        return held or self.pinned or state.current or (state.steps[0].id if state.steps else "")

    def tick_opening(self, words: str) -> None:
        """Before there is a walk: say what is awaited."""
        if self.drawable:
            self.query_one(ProgressLine).show(words, time.monotonic(), busy=True)

    def redraw(self) -> None:
        if self.app.session is not None:
            self.tick(self.app.session)

    def tick(self, session: WalkSession) -> None:
        """Draw what has changed since the last time."""
        state, now = session.state, session.now()
        if not state.steps or not self.drawable:
            return
        for notice in session.notices:
            self._notice(notice)
        session.notices.clear()
        shown = self.shown
        self.node = present.default_node(state, shown, self.node)
        self._suit(session, state, shown)
        self._bars(session, state, now, shown)
        self._gate(session, shown)
        self._pause(session)
        self._panes(session, state, shown)
        if self.context != self._named:
            self._named = self.context
            self.refresh_bindings()

    @property
    def context(self) -> object:
        """What the footer names keys for."""
        raise NotImplementedError

    @property
    def _pane(self) -> str:
        """The id of the widget that shows the view."""
        return "log-view" if self._view == "log" else self._view

    def _suit(self, session: WalkSession, state: State, shown: str) -> None:
        """A judged step whose lines are a protocol between machines opens in its checks, until a person
        chooses another view."""
        step = state.step(shown)
        key = (shown, step.attempt, step.verdict is not None)
        if key == self._suited:
            return
        self._suited = key
        if self._view == "checks" and self._lent:
            self._switch("compare")
        if step.verdict is not None and self._view == "compare":
            found = document(state, shown)
            if found is not None and found.protocol:
                self._switch("checks")
                self._lent = True

    def _notice(self, event: ev.AnyEvent) -> None:
        """A gate that stays shut brings its failed checks to the front; a new attempt takes them away."""
        if isinstance(event, ev.Judged) and not event.verdict.passed:
            nodes = [check.node for check in event.verdict.failures if check.node]
            self.pinned = ""
            self.node = nodes[0] if nodes else self.node
            self._switch("checks" if event.verdict.checks else "compare")
        elif isinstance(event, ev.StepStarted) and self._view == "checks":
            self._switch("compare")

    def _bars(self, session: WalkSession, state: State, now: float, shown: str) -> None:
        step = state.step(shown)
        done = sum(s.passed for s in state.steps)
        name = str(state.cluster.get("name", ""))
        self.query_one(HeaderBar).show(
            name, state.path, done, len(state.steps), state.warnings, session.badges()
        )
        self.query_one(StepList).show_rows(step_rows(state.steps, now), shown)
        pinned = bool(self.pinned) and shown != state.current
        usual = session.usual.get(shown)
        line = present.heading(step, now, usual.words if usual is not None else "")
        self.query_one(HeadingBar).show(step.title, step.status, line, pinned)
        self.query_one(NodeBar).show(present.node_marks(state, shown), self.node)
        self.query_one(ViewBar).show(VIEWS, self._view)
        current = state.step(state.current) if state.current else step
        runs = state.runs_of(current.id)
        phase = session.phases.phase(current.id, current.attempt, runs)
        going = current.status == "running" and shown == current.id
        amount = session.phases.amount(runs) if going else None
        self.query_one(WaitBar).show(current.id, phase if going else "", amount)
        good = "warning" if state.warnings else "good"
        tone = {None: "", "passed": good, "listed": ""}.get(state.outcome, "bad")
        text = self.app.closing or present.progress(state, now, self.has_class("-narrow"))
        self.query_one(ProgressLine).show(text, now, session.busy or bool(self.app.closing), tone)

    def _gate(self, session: WalkSession, shown: str) -> None:
        verdict = session.state.step(shown).verdict
        panel = self.query_one(GateBar)
        panel.display = session.gate_open and shown == session.state.current
        if panel.display and verdict is not None:
            panel.show(len(verdict.failures), len(session.offers()))

    def _pause(self, session: WalkSession) -> None:
        """Between two milestones, when the person wants to look."""
        bar, step = self.query_one(PauseBar), session.pauses.next
        bar.display = step is not None
        if step is not None:
            bar.show(step.title, step.id in session.changing)

    def _panes(self, session: WalkSession, state: State, shown: str) -> None:
        if self._view == "compare":
            self._compare(session, state, shown)
        elif self._view == "log":
            self.query_one("#log-view", LogView).show_doc(session.logs.doc(shown, self.node))
        else:
            self._checks(session, state, shown)
        info = self.query_one(InfoPanel)
        if info.display:
            self._info(info, session, state, shown)
        side = self.query_one("#side-log", LogView)
        side.display = self.has_class("-roomy") and self._view != "log"
        if side.display:
            side.border_title = Content(f"log of {safe(self.node)}")  # a text would be read as markup
            side.show_doc(session.logs.doc(shown, self.node))

    def _info(self, info: InfoPanel, session: WalkSession, state: State, shown: str) -> None:
        """The prose that fits this walk: read again when a gate has taught something new."""
        key = (shown, self.node, state.cluster, state.facts)
        if key != self._informed:
            self._informed = key
            info.want(shown, self._sections(session, state, shown))

    def _sections(self, session: WalkSession, state: State, shown: str) -> Mapping[str, str]:
        step = next((s for s in session.engine.plan if s.id == shown), None)
        found = document(state, shown, step, self.node)
        return found.sections if found is not None else {}

    @property
    def prose(self) -> str:
        """What is said of the step on show, whose words come first in the list of words."""
        session = self.app.session
        if session is None or not session.state.steps:
            return ""
        return "\n".join(self._sections(session, session.state, self.shown).values())

    def _compare(self, session: WalkSession, state: State, shown: str) -> None:
        step, wall = state.step(shown), time.monotonic()
        key = (shown, self.node, step.attempt, step.status, step.verdict is not None, self._folded)
        fresh = step.verdict is not None or wall - self._compared_at < _LIVE_EVERY
        if key == self._compared and fresh:
            return
        self._compared, self._compared_at = key, wall
        lines = compare_lines(session.engine, state, shown, self.node, session.spool, self._folded)
        failed = step.verdict is not None and not step.verdict.passed
        self.query_one(CompareView).show_lines(lines, to_miss=failed)

    def _checks(self, session: WalkSession, state: State, shown: str) -> None:
        step = state.step(shown)
        findings = session.findings.get(shown, ())
        pane = self.query_one(ChecksPane)
        width = pane.scrollable_content_region.width
        offers = session.offers() if shown == state.current else []
        key = (
            shown,
            step.attempt,
            step.verdict is not None,
            len(findings),
            self.app.theme,
            width,
            len(offers),
        )
        if key != self._checked:
            self._checked = key
            place = self.place(session)
            where = f"{place.run.node}: {place.run.key}" if place else ""
            where += f", line {place.line}" if place and place.line else ""
            pane.show_text(checks_text(step.verdict, findings, pane.styled.look, width, offers, where))

    def place(self, session: WalkSession) -> LogPlace | None:
        """Where the log of a failed step on show is to be read."""
        shown = self.shown
        verdict = session.state.step(shown).verdict
        if verdict is None or verdict.passed:
            return None
        return place_of(session.state, shown, verdict, session.findings.get(shown, ()))

    def show_view(self, name: str) -> None:
        self._switch(name)
        self.redraw()

    def _switch(self, name: str) -> None:
        self._lent = False
        self._view = name
        self.query_one(ContentSwitcher).current = name
        self._compared = self._checked = None
        self.query_one(f"#{self._pane}").focus()
