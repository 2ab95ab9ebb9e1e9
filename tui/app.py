"""milepost's Textual app: event -> widget, key -> answer. The engine runs beside the screen and decides."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, ClassVar

from textual import events
from textual.app import App, SystemCommand
from textual.binding import Binding, BindingType
from textual.screen import Screen

from tui import tui_present as present
from tui.screens.edit import EditScreen
from tui.screens.help import HelpScreen
from tui.screens.leave import ErrorScreen, QuitScreen, TooSmallScreen, leave_text
from tui.screens.setup import SetupScreen
from tui.screens.walk import WalkScreen
from tui.tui_commands import walk_commands
from tui.tui_session import DiagnoseHook, WalkSession
from tui.tui_source import WalkSource
from tui.tui_themes import DARK, LIGHT
from wizard_steps import events as ev
from wizard_steps.cluster import Cluster
from wizard_steps.decide import Answer
from wizard_steps.errors import MilepostError
from wizard_steps.model import Question
from wizard_steps.session import State

CODES: dict[ev.Outcome, int] = {"passed": 0, "listed": 0, "failed": 1, "stopped": 1, "interrupted": 130}
#: Makes the walk of a cluster; the folder is where to record, None for a new one.
EngineFactory = Callable[[Cluster, Path | None], WalkSource]
#: The screen is drawn at most this often (seconds), however much comes in.
FRAME = 0.05


def live_walk(cluster: Cluster, folder: Path | None) -> WalkSource:
    """A real walk over SSH."""
    from tui.live import LiveWalk

    return LiveWalk(cluster, folder)


class MilepostApp(App[int]):
    """``run`` (or ``start``) returns the exit status: 0 passed, 1 a gate failed, 2 usage, 130 interrupted."""

    CSS_PATH = "wizard.tcss"
    TITLE = "milepost"
    ENABLE_COMMAND_PALETTE = True
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f1,question_mark", "help", "Help", key_display="F1"),
        Binding("q", "ask_quit", "Quit"),
        Binding("ctrl+c,ctrl+q", "ask_quit", "Quit", show=False, priority=True),
    ]

    def __init__(
        self,
        walk: WalkSource | None,
        cluster_path: Path | None,
        *,
        lab: bool = False,
        folder: Path | None = None,
        engine_factory: EngineFactory = live_walk,
        diagnose: DiagnoseHook | None = None,
        linger: float = 0.8,
    ) -> None:
        super().__init__()
        self.session: WalkSession | None = None
        self.opening = "starting the embedded lab: SSH servers and Ray" if lab else "starting"
        self.closing = ""
        self._given = walk
        self._path = cluster_path
        self._lab = lab
        self._folder = folder
        self._factory = engine_factory
        self._diagnose = diagnose
        self._linger = linger
        self._walk_screen = WalkScreen()
        self._engine_task: asyncio.Task[ev.Outcome] | None = None
        self._leave = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._code = 130
        self._drawn = 0.0
        self._held_since: tuple[str, float, int] = ("", 0.0, 0)

    def run(self, **options: Any) -> int:
        """Run until the person leaves; the exit status."""
        code = super().run(**options)
        return code if code is not None else (self.return_code or 1)

    def start(self) -> int:
        return self.run()

    def on_mount(self) -> None:
        self.register_theme(DARK)
        self.register_theme(LIGHT)
        self.theme = DARK.name
        with contextlib.suppress(NotImplementedError, ValueError, RuntimeError):
            for sign in (signal.SIGTERM, signal.SIGHUP):
                asyncio.get_running_loop().add_signal_handler(sign, self.leave)
        self.set_interval(FRAME, self._frame)
        if self._given is not None or self._lab:
            self._begin(None)
        else:
            self.push_screen(SetupScreen(self._path or Path("milepost.toml")), self._begin_or_leave)

    def _begin_or_leave(self, cluster: Cluster | None) -> None:
        if cluster is None:
            self.exit(130, return_code=130)
        else:
            self._path = self._path or Path("milepost.toml")
            self._begin(cluster)

    def _begin(self, cluster: Cluster | None) -> None:
        self.push_screen(self._walk_screen)
        self.run_worker(self._life(cluster), name="walk", exit_on_error=False)

    # The walk's life: open, walk, look around, close

    async def _life(self, cluster: Cluster | None) -> None:
        try:
            async with contextlib.AsyncExitStack() as stack:
                await self._walk(stack, cluster)
                await self._leave.wait()
                self.closing = "closing"
        except MilepostError as error:
            self._code = error.code
        except Exception as error:
            self.log.error(traceback.format_exc())
            self._code = 1
            await self._tell("milepost could not close cleanly", f"{type(error).__name__}: {error}")
        finally:
            self.exit(self._code, return_code=self._code, message=self._last_words())

    async def _walk(self, stack: contextlib.AsyncExitStack, cluster: Cluster | None) -> None:
        try:
            source = await self._open(stack, cluster)
            self.session = session = WalkSession(source, self, self._path, self._diagnose)
            self._engine_task = asyncio.create_task(session.engine.walk())
            self._code = CODES.get(await self._engine_task, 1)
        except asyncio.CancelledError:
            if not self._leave.is_set():
                raise
            self._code = 130
        except MilepostError as error:
            self._code = error.code
            await self._tell("The walk cannot go on", str(error))
        except Exception as error:
            self._code = 1
            await self._tell("Something went wrong in milepost itself", self._crashed(error))

    async def _open(self, stack: contextlib.AsyncExitStack, cluster: Cluster | None) -> WalkSource:
        source = self._given
        if source is None and self._lab:
            from wizard_steps.lab import Lab

            lab = await stack.enter_async_context(Lab.start())
            cluster = lab.cluster
        if source is None:
            assert cluster is not None
            source = self._factory(cluster, self._folder)
        stack.push_async_callback(source.close)
        return source

    def _crashed(self, error: Exception) -> str:
        """Keeps the traceback in the recording; what to tell the person."""
        trace = traceback.format_exc()
        self.log.error(trace)
        message = f"{type(error).__name__}: {error}"
        if self.session is not None:
            source = self.session.source
            with contextlib.suppress(MilepostError, OSError):
                source.journal.evidence("crash.txt", source.redactor.text(trace))
            message = source.redactor.text(message)
            message += "\n\nThe details are in evidence/crash.txt of the recording."
        return message

    async def _tell(self, title: str, message: str) -> None:
        """Show an error and wait until it was read; then the app closes."""
        folder = str(self.session.source.folder) if self.session is not None else ""
        read = asyncio.Event()
        self.push_screen(ErrorScreen(title, message, folder), lambda _: read.set())
        leave = asyncio.create_task(self._leave.wait())
        seen = asyncio.create_task(read.wait())
        await asyncio.wait([leave, seen], return_when=asyncio.FIRST_COMPLETED)
        leave.cancel()
        seen.cancel()
        self._leave.set()

    def leave(self) -> None:
        """End what runs, close, exit."""
        self._leave.set()
        self.closing = "ending what runs now"
        if self._engine_task is None:
            self.workers.cancel_all()
            self.exit(130, return_code=130)
        elif not self._engine_task.done():
            self._engine_task.cancel()

    def _last_words(self) -> str:
        session = self.session
        if session is None:
            return ""
        running = present.left_running(session.state)
        words = leave_text(False, running, str(session.source.folder), self._lab).plain
        return f"{present.outcome_line(session.state)}\n{words}" if session.state.steps else words

    # Drawing

    def _frame(self) -> None:
        session = self.session
        if session is None:
            self._walk_screen.tick_opening(self.opening)
            return
        now = time.monotonic()
        self._too_small()
        while session.warnings:
            self.notify(session.warnings.pop(0), severity="error", markup=False, timeout=10)
        if session.dirty or now - self._drawn >= 2 * FRAME:
            session.dirty = False
            self._drawn = now
            self._walk_screen.tick(session)
        self._take_picture(session, now)

    def _take_picture(self, session: WalkSession, now: float) -> None:
        """A passed step stays on show for two frames and the time to see it; then its picture is taken."""
        held = session.evidence.held
        if not held or self.screen is not self._walk_screen:
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
        if small and not isinstance(self.screen, TooSmallScreen):
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
        session = self.session
        if session is None or not session.gate_open:
            return
        if value != "edit":
            session.desk.answer_gate(Answer(value))
            return
        step = next(s for s in session.engine.plan if s.id == session.state.current)
        self.push_screen(EditScreen(session.engine.cluster, step.owns), self._edited)

    def _edited(self, edit: tuple[str, str] | None) -> None:
        if edit is not None and self.session is not None:
            self.session.desk.answer_gate(Answer("edit", where=edit[0], text=edit[1]))

    def action_ask_quit(self) -> None:
        if isinstance(self.screen, QuitScreen):
            if self.screen.query("#choices"):
                self.screen.action_sure()
            return
        session = self.session
        busy = session is None or session.state.outcome is None
        state = session.state if session is not None else State()
        command = any(run.running for run in state.runs.values())
        running = present.left_running(state)
        folder = str(session.source.folder) if session is not None else ""
        self.push_screen(QuitScreen(busy, command, running, folder, self._lab), self._quit)

    def _quit(self, sure: bool | None) -> None:
        if not sure:
            return
        if self.session is not None and self.session.gate_open:
            self._leave.set()
            self.session.desk.answer_gate(Answer("stop"))
        else:
            self.leave()

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

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        if screen is self._walk_screen:
            yield from walk_commands(self, self._walk_screen)
        keep = ("Theme", "Screenshot")
        yield from (c for c in super().get_system_commands(screen) if c.title in keep)
