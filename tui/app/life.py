"""The life of one walk beside the screen: open, walk, look around, close, say the last words."""

from __future__ import annotations

import asyncio
import contextlib
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tui.app import present
from tui.app.desk import Desk
from tui.app.lock import Lockable, ended, outcome_of
from tui.app.pauses import Pauses
from tui.app.session import DiagnoseHook, WalkSession
from tui.app.source import WalkSource
from tui.screens.leave import ErrorScreen, leave_text
from tui.screens.lock import LockAnswer, LockScreen
from tui.screens.plan import PlanAnswer, PlanScreen, first_change
from tui.screens.setup import SetupScreen
from wizard_steps.cluster.file import Cluster
from wizard_steps.errors import MilepostError
from wizard_steps.node.lock import LockHeld
from wizard_steps.recording import events as ev

if TYPE_CHECKING:
    from tui.app.app import MilepostApp

CODES: dict[ev.Outcome, int] = {"passed": 0, "listed": 0, "failed": 1, "stopped": 1, "interrupted": 130}
#: Makes the walk of a cluster; the folder is where to record, None for a new one.
EngineFactory = Callable[[Cluster, Path | None], WalkSource]

#: Starts the embedded lab, for instance one with a fault.
LabStart = Callable[[], contextlib.AbstractAsyncContextManager[Any]]


def live_walk(
    cluster: Cluster,
    folder: Path | None,
    take_over: bool = False,
    also: Sequence[str] = (),
    file: Path | None = None,
) -> WalkSource:
    """A real walk over SSH; ``also``: optional milestones after the cluster's own."""
    from wizard_steps.plan import optional, plan_for
    from wizard_steps.session import LiveWalk

    steps = [*plan_for(cluster), *optional(*also)] if also else []
    return LiveWalk(cluster, folder, take_over=take_over, file=file, steps=steps)


class Life:
    """``code`` is the exit status so far; ``leaving`` is set when the person wants out."""

    def __init__(
        self,
        app: MilepostApp,
        given: WalkSource | None,
        lab: bool | LabStart,
        folder: Path | None,
        factory: EngineFactory,
        diagnose: DiagnoseHook | None,
        plan: bool = False,
        also: Sequence[str] = (),
    ) -> None:
        """``plan``: show what would be done, and begin when the person says so."""
        self.lab = bool(lab)
        self.pauses = Pauses()
        self._plan = plan
        self._also = tuple(also)
        self._start_lab = lab
        self.code = 130
        self.leaving = asyncio.Event()
        self.note = ""
        self._said = ""
        self._app = app
        self._source = given
        self._folder = folder
        self._factory = factory
        self._diagnose = diagnose
        self._task: asyncio.Task[ev.Outcome] | None = None

    async def run(self, cluster: Cluster | None, file: Path | None) -> None:
        """From opening to the app's exit. Never raises but when it is cancelled; an app that ends of itself
        keeps the answer it has."""
        cut_off = False
        try:
            async with contextlib.AsyncExitStack() as stack:
                await self._walk(stack, cluster, file)
                await self.leaving.wait()
                self.note = "closing"
        except MilepostError as error:
            self.code = error.code
            await self._tell("milepost cannot go on", str(error))
        except Exception as error:
            self.code = 1
            await self._tell("milepost could not close cleanly", f"{type(error).__name__}: {error}")
        except asyncio.CancelledError:
            cut_off = not self.leaving.is_set()
            raise
        finally:
            if not cut_off:
                self._app.exit(self.code, return_code=self.code, message=self._last_words())

    async def _walk(
        self, stack: contextlib.AsyncExitStack, cluster: Cluster | None, file: Path | None
    ) -> None:
        try:
            source = await self._open(stack, cluster, file)
            if source is None:
                self.leave()
                return
            if (settle := getattr(source, "settle", None)) is not None:
                await settle(Desk(self._app, source.redactor).api_key)
            again: WalkSource | None = source
            while again is not None:
                again = await self._once(again, file)
        except asyncio.CancelledError:
            if not self.leaving.is_set():
                raise
            self.code = 130
        except MilepostError as error:
            self.code = error.code
            await self._tell("The walk cannot go on", str(error))
        except Exception as error:
            self.code = 1
            await self._tell("Something went wrong in milepost itself", self.crashed(error))

    async def _once(self, source: WalkSource, file: Path | None) -> WalkSource | None:
        """One walk; the next one, where the person takes the cluster from another wizard or tries again."""
        session = WalkSession(source, self._app, file, self._diagnose, self.pauses)
        self._app.begin(session)
        self._task = asyncio.create_task(session.engine.walk())
        try:
            self.code = CODES.get(await outcome_of(self._task, source), 1)
            return None
        except LockHeld as held:
            self.code = held.code
            answer = await self._ask_lock(held) if isinstance(source, Lockable) else "leave"
            if answer == "leave" or not isinstance(source, Lockable):
                self.leave()
                return None
            await ended(self._task)
            await session.close()
            await source.close()
            self._source = source.again(session.engine.cluster, take_over=answer == "take")
            return self._source
        finally:
            if not self._task.done():
                await ended(self._task)

    async def _ask_lock(self, held: LockHeld) -> LockAnswer:
        answer: asyncio.Future[LockAnswer | None] = asyncio.get_running_loop().create_future()

        def answered(value: LockAnswer | None) -> None:
            if not answer.done():
                answer.set_result(value)

        assert self._source is not None
        self._app.push_screen(LockScreen(self._source.cluster.name, held), answered)
        leaving = asyncio.ensure_future(self.leaving.wait())
        leaving.add_done_callback(lambda _: answered(None))
        try:
            return await answer or "leave"
        finally:
            leaving.cancel()

    async def _open(
        self, stack: contextlib.AsyncExitStack, cluster: Cluster | None, file: Path | None
    ) -> WalkSource | None:
        """None when the person, shown the plan, does not begin."""
        if self._source is None and self.lab:
            from wizard_steps.lab import Lab

            started = self._start_lab if callable(self._start_lab) else Lab.start
            lab = await stack.enter_async_context(started())
            cluster = lab.cluster
        if self._source is None:
            assert cluster is not None
            begun = await self._agreed(cluster, None if self.lab else file) if self._plan else cluster
            if begun is None:
                return None
            cluster = begun
            self._source = self._factory(cluster, self._folder)
        stack.push_async_callback(self._close)
        return self._source

    async def _agreed(self, cluster: Cluster, file: Path | None) -> Cluster | None:
        """The cluster to walk, as it was edited before the person began; None when they leave."""
        while True:
            answer: PlanAnswer | None = await self._app.answer_of(PlanScreen(cluster, file, self._also))
            if answer == "edit" and file is not None:
                cluster = await self._app.answer_of(SetupScreen(file)) or cluster
                continue
            if answer in ("start", "step", "check"):
                checking = answer == "check"
                self.pauses = Pauses(answer == "step", {first_change(cluster)} if checking else ())
                return cluster
            if answer == "save":
                self.code, self._said = 0, f"Saved: {file}. Nothing was run; `milepost {file}` continues."
            return None

    async def _close(self) -> None:
        if self._app.session is not None:
            await self._app.session.close()
        if self._source is not None:
            await self._source.close()

    def crashed(self, error: Exception) -> str:
        """Keeps the traceback in the recording; what to tell the person."""
        trace = "".join(traceback.format_exception(error))
        self._app.log.error(trace)
        message = f"{type(error).__name__}: {error}"
        if self._app.session is None:
            return message
        source = self._app.session.source
        with contextlib.suppress(MilepostError, OSError):
            source.journal.evidence("crash.txt", source.redactor.text(trace))
        return f"{source.redactor.text(message)}\n\nThe details are in evidence/crash.txt of the recording."

    async def _tell(self, title: str, message: str) -> None:
        """Show an error and wait until it was read; then the app closes."""
        if self.leaving.is_set():
            return
        session = self._app.session
        folder = str(session.source.folder) if session is not None else ""
        self._app.push_screen(ErrorScreen(title, message, folder), lambda _: self.leaving.set())
        await self.leaving.wait()

    def leave(self) -> None:
        """End what runs, close, exit."""
        self.leaving.set()
        self.note = "ending what runs now"
        if self._task is not None and not self._task.done():
            self._task.cancel()
        elif self._task is None:
            self._app.workers.cancel_group(self._app, "walk")

    def _last_words(self) -> str:
        session = self._app.session
        if session is None:
            return self._said
        running = present.left_running(session.state)
        words = leave_text(False, running, str(session.source.folder), self.lab).plain
        return f"{present.outcome_line(session.state)}\n{words}" if session.state.steps else words
