"""milepost's Textual app: event -> widget, key -> answer. The engine runs beside the screen and decides."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar

from textual import events
from textual.app import SystemCommand
from textual.binding import Binding, BindingType
from textual.screen import Screen

from tui.app import present
from tui.app.commands import walk_commands
from tui.app.gate import press
from tui.app.life import EngineFactory, LabStart, Life, live_walk
from tui.app.session import DiagnoseHook, WalkSession
from tui.app.source import WalkSource
from tui.app.terminal import TerminalApp
from tui.screens.handover import HandoverScreen
from tui.screens.help import HelpScreen
from tui.screens.leave import QuitScreen, TooSmallScreen
from tui.screens.setup import SetupScreen
from tui.screens.walk import WalkScreen
from wizard_steps.cluster.file import Cluster
from wizard_steps.engine.decide import Answer
from wizard_steps.errors import MilepostError
from wizard_steps.model import Question
from wizard_steps.recording.state import State

#: The screen is drawn at most this often (seconds), however much comes in.
FRAME = 0.05


class MilepostApp(TerminalApp[int]):
    """``run`` (or ``start``) returns the exit status: 0 passed, 1 a gate failed, 2 usage, 130 interrupted."""

    CSS_PATH = "wizard.tcss"
    TITLE = "milepost"
    ENABLE_COMMAND_PALETTE = True
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f1", "help", "Help", key_display="F1"),
        Binding("q", "ask_quit", "Quit"),
        Binding("ctrl+c,ctrl+q", "ask_quit", "Quit", show=False, priority=True),
    ]

    def __init__(
        self,
        walk: WalkSource | None,
        cluster_path: Path | None,
        *,
        lab: bool | LabStart = False,
        folder: Path | None = None,
        engine_factory: EngineFactory = live_walk,
        diagnose: DiagnoseHook | None = None,
        linger: float = 0.8,
        cluster: Cluster | None = None,
        plan: bool = False,
        also: Sequence[str] = (),
    ) -> None:
        """``cluster``: walk it without the set-up form. ``plan``: show it before a walk.
        ``also``: ids of optional milestones, for the plan."""
        super().__init__()
        self.session: WalkSession | None = None
        self.opening = "starting the embedded lab: SSH servers and Ray" if lab else "starting"
        self._path = cluster_path
        self._linger = linger
        self._life = Life(self, walk, lab, folder, engine_factory, diagnose, plan, also)
        self._cluster = cluster
        self._show_setup = walk is None and not lab and cluster is None
        self._walk_screen = WalkScreen()
        self._room = asyncio.Event()
        self._room.set()
        self._drawn = 0.0
        self._held_since: tuple[str, float, int] = ("", 0.0, 0)
        self._handed_over = False

    def run(self, **options: Any) -> int:
        """Run until the person leaves; the exit status."""
        code: int | None = super().run(**options)
        return code if code is not None else (self.return_code or 1)

    def start(self) -> int:
        """The same, with the theme that the person chose last."""
        self.remembers = True
        return self.run()

    def crashed(self, error: Exception) -> str:
        return self._life.crashed(error)

    def on_mount(self) -> None:
        self.choose_theme()
        self.heed_signals()
        self.set_interval(FRAME, self._frame)
        if self._show_setup:
            self.push_screen(SetupScreen(self._path or Path("milepost.toml")), self._begin_or_leave)
        else:
            self._begin(self._cluster)

    def _begin_or_leave(self, cluster: Cluster | None) -> None:
        if cluster is None:
            self.exit(130, return_code=130)
        else:
            self._path = self._path or Path("milepost.toml")
            self._begin(cluster)

    def _begin(self, cluster: Cluster | None) -> None:
        self.push_screen(self._walk_screen)
        self.run_worker(self._life.run(cluster, self._path), name="walk", group="walk", exit_on_error=False)

    def begin(self, session: WalkSession) -> None:
        """Show this walk from now on; of one before it nothing stays on the screen."""
        self.session = session
        self._held_since = ("", 0.0, 0)
        self._handed_over = False
        self._walk_screen.forget()

    def leave(self) -> None:
        """End what runs, close, exit. Before a walk has begun there is nothing to close."""
        if any(worker.group == "walk" and not worker.is_finished for worker in self.workers):
            self._life.leave()
        else:
            self.exit(130, return_code=130)

    @property
    def closing(self) -> str:
        """What is done on the way out, "" before."""
        return self._life.note

    # Drawing

    def _frame(self) -> None:
        if not self.screen_stack:
            return  # On the way out the clock may tick once more.
        session = self.session
        if session is None:
            self._walk_screen.tick_opening(self.opening)
            return
        now = time.monotonic()
        self._too_small()
        if session.rings:
            self.bell()
            self.tell_desktop(session.rings)
            session.rings = ""
        self.title_terminal(present.window_title(session.state))
        while session.warnings:
            self.notify(session.warnings.pop(0), severity="error", markup=False, timeout=10)
        if session.dirty or now - self._drawn >= 2 * FRAME:
            session.dirty = False
            self._drawn = now
            self._walk_screen.tick(session)
        self._take_picture(session, now)
        if session.state.outcome == "passed" and not self._handed_over and not session.evidence.held:
            self._handed_over = True
            self.action_handover()

    def _take_picture(self, session: WalkSession, now: float) -> None:
        """A passed step stays on show for two frames and the time to see it; then its picture is taken."""
        held = session.evidence.held
        if not held or self.screen is not self._walk_screen or not self._walk_screen.drawable:
            return
        name, since, frames = self._held_since
        if name != held:
            self._held_since = (held, now, 0)
            session.dirty = True
            return
        self._held_since = (name, since, frames + 1)
        if frames >= 2 and now - since >= self._linger:
            self._held_since = ("", 0.0, 0)
            session.dirty = True
            try:
                session.evidence.keep(session.source.journal, self.export_screenshot(title="milepost"))
            except MilepostError as error:
                self.notify(str(error), severity="error", markup=False)

    def on_resize(self, event: events.Resize) -> None:
        self._too_small()

    def _too_small(self) -> None:
        small = self.size.width < 80 or self.size.height < 24
        # It may be below the question whether to leave.
        if small and not any(isinstance(screen, TooSmallScreen) for screen in self.screen_stack):
            self._room.clear()
            self.push_screen(TooSmallScreen())
        elif not small and isinstance(self.screen, TooSmallScreen):
            self.pop_screen()
            self._room.set()

    # What the desk needs (tui_desk.Front)

    async def before_dialog(self) -> None:
        if self.session is not None:
            await self.session.evidence.idle(3.0)
        await self._room.wait()

    async def answer_of(self, screen: Screen[Any]) -> Any:
        """What a screen answers that is shown before there is a walk."""
        await self._room.wait()
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.push_screen(screen, lambda value: None if future.done() else future.set_result(value))
        return await future

    def put_dialog(self, screen: Screen[Any], done: Callable[[Any], None]) -> None:
        self.push_screen(screen, done)

    def drop_dialog(self, screen: Screen[Any]) -> None:
        if self.screen is screen:
            self.pop_screen()

    def title_of(self, step: str) -> str:
        return self.session.state.step(step).title if self.session is not None else step

    def check_answer(self, question: Question, value: str) -> None:
        if self.session is not None:
            self.session.check_answer(question, value)

    # Keys

    @property
    def gate_open(self) -> bool:
        return self.session is not None and self.session.gate_open

    def gate_key(self, value: str) -> None:
        """A key at a failed gate."""
        if self.session is not None and self.session.gate_open:
            press(self, self.session, value, lambda: self._walk_screen.show_view("log"))

    def action_ask_quit(self) -> None:
        if isinstance(self.screen, QuitScreen):
            if self.screen.query("#choices"):
                self.screen.action_sure()
            return
        if isinstance(self.screen, SetupScreen):
            self.screen.action_leave()
            return
        session = self.session
        busy = session is None or session.state.outcome is None
        state = session.state if session is not None else State()
        command = any(run.running for run in state.runs.values())
        running = present.left_running(state)
        folder = str(session.source.folder) if session is not None else ""
        self.push_screen(QuitScreen(busy, command, running, folder, self._life.lab), self._quit)

    def _quit(self, sure: bool | None) -> None:
        if not sure:
            self.call_after_refresh(self._too_small)
            return
        if self.session is not None and self.session.gate_open:
            self._life.leaving.set()
            self.session.desk.answer_gate(Answer("stop"))
        else:
            self.leave()

    def action_handover(self) -> None:
        """Where the model answers and how to call it, once the walk has passed."""
        made = self.session.handover() if self.session is not None else None
        if made is not None and self.screen is self._walk_screen:
            self.push_screen(HandoverScreen(made))

    def action_help(self) -> None:
        if not isinstance(self.screen, HelpScreen):
            self.push_screen(HelpScreen())

    def action_debugging(self) -> None:
        if self.session is not None:
            self.notify(self.session.toggle_debugging(), title="Debugging switches", markup=False, timeout=8)

    def copy_text(self, text: str, what: str) -> None:
        """To the clipboard of the person's own terminal (OSC 52)."""
        self.copy_to_clipboard(text)
        self.notify(f"Copied: {what}", markup=False, timeout=3)

    def deliver_screenshot(self, filename: str | None = None, *args: Any, **more: Any) -> str | None:
        """Into the recording, or the current folder before there is one; says where, or why not."""
        folder = self.session.source.folder / "evidence" if self.session is not None else Path()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            saved = self.save_screenshot(filename, path=str(folder))
        except OSError as error:
            self.notify(f"{folder}: {error.strerror or error}", severity="error", markup=False)
            return None
        self.notify(saved, title="Screenshot", markup=False)
        return saved

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        if screen is self._walk_screen:
            yield from walk_commands(self, self._walk_screen)
        keep = ("Theme", "Screenshot")
        yield from (c for c in super().get_system_commands(screen) if c.title in keep)
