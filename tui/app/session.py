"""One walk as the screen sees it: the state so far, its logs, who answers, the file that answers go to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from tui.app import present
from tui.app.debug import debugging, explained, toggling
from tui.app.desk import Desk, Front
from tui.app.evidence import EvidenceFiles
from tui.app.fixes import FixOffer, offers, remedy_offers
from tui.app.log import LogStore
from tui.app.pauses import Pauses
from tui.app.phase import PhaseWatch
from tui.app.source import WalkSource
from wizard_steps.cluster.edit import with_value
from wizard_steps.diagnose.model import Diagnosis
from wizard_steps.engine.engine import Engine
from wizard_steps.engine.step import Known, Step
from wizard_steps.errors import MilepostError
from wizard_steps.model import Question
from wizard_steps.persist import Persist
from wizard_steps.planning import plan
from wizard_steps.recording import events as ev
from wizard_steps.recording.journal import WalkFolder
from wizard_steps.recording.state import State
from wizard_steps.walks.handover import Handover, handover
from wizard_steps.walks.typical import Usual, usual

#: Looks at the failed step and says what the cause may be.
DiagnoseHook = Callable[[State, "WalkSession"], Sequence[Diagnosis]]


class WalkSession:
    """Fed by the engine with events; read by the screen's timer."""

    def __init__(
        self,
        source: WalkSource,
        front: Front,
        file: Path | None = None,
        diagnose: DiagnoseHook | None = None,
        pauses: Pauses | None = None,
    ) -> None:
        self.source = source
        self._path = file
        self.state = State()
        self.dirty = True
        self.spool = source.journal.spool
        self.logs = LogStore(self.spool)
        self.phases = PhaseWatch(self.spool)
        self.evidence = EvidenceFiles()
        self.desk = Desk(front, source.redactor)
        self.findings: dict[str, Sequence[Diagnosis]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        #: How long milestones took in earlier recordings of this cluster, by id.
        self.usual: Mapping[str, Usual] = {}
        self.notices: list[ev.AnyEvent] = []
        self.warnings: list[str] = []
        self._offers: tuple[object, list[FixOffer]] | None = None
        #: A gate failed or took its time, or the walk is over: what to tell who looks elsewhere.
        self.rings = ""
        keeps = file is not None and file.exists() and not source.cluster.simulated
        self._persist = Persist(file) if file is not None and keeps else None
        self._diagnose = diagnose
        self.engine: Engine = source.engine(self.desk, self.desk, self.on_event)
        self.pauses = pauses or Pauses()
        self.engine.pause = self._pausing

    @cached_property
    def changing(self) -> frozenset[str]:
        """Ids of milestones that may change something on a machine."""
        return frozenset(one.id for one in plan(self.source.cluster).milestones if one.changes)

    async def _pausing(self, step: Step) -> None:
        self.dirty = True
        await self.pauses.wait(step)
        self.dirty = True

    def on_event(self, event: ev.AnyEvent, state: State) -> None:
        """Cheap for output; the few events that change what is in front are kept for the timer."""
        self.state = state
        self.dirty = True
        self.logs.feed(event, state.runs)
        if isinstance(event, ev.Judged | ev.StepStarted):
            self.notices.append(event)
        if isinstance(event, ev.WalkStarted) and isinstance(self.source.journal, WalkFolder):
            self._beside(self._earlier(state))
        if isinstance(event, ev.StepStarted):
            self.findings.pop(event.step, None)
        self._file(event, state)
        self.rings = present.rings(event, state) or self.rings
        if isinstance(event, ev.Judged):
            self._judged(event, state)
        elif isinstance(event, ev.WalkEnded) and (keep := getattr(self.source, "evidence", None)) is not None:
            keep(event, state)

    def _judged(self, event: ev.Judged, state: State) -> None:
        if self.evidence.note(event, state):
            keep = getattr(self.source, "evidence", None)
            if keep is not None:
                keep(event, state)
        elif self._diagnose is not None:
            self._beside(self._explain(self._diagnose, event, state))

    def _beside(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _earlier(self, state: State) -> None:
        """In a thread: several recordings are read."""
        name = str(state.cluster.get("name", ""))
        self.usual = await asyncio.to_thread(usual, self.source.folder, name, state.simulated)
        self.dirty = True

    async def close(self) -> None:
        """End the diagnoses that still go on: nobody will read them."""
        for task in (tasks := list(self._tasks)):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _explain(self, diagnose: DiagnoseHook, event: ev.Judged, state: State) -> None:
        """In a thread: megabytes of log may have to be read. A diagnosis that fails is no finding."""
        try:
            found = await asyncio.to_thread(diagnose, state, self)
        except Exception as error:
            self.warnings.append(f"the diagnosis failed: {type(error).__name__}: {error}")
            return
        if self.state.step(event.step).attempt == event.attempt:
            self.findings[event.step] = found
            self.dirty = True

    def handover(self) -> Handover | None:
        """What a person needs after the last gate; None while the walk has not passed."""
        file = str(self._path or "milepost.toml")
        return handover(self.state, self.spool.read, str(self.source.folder), file)

    def now(self) -> float:
        """Seconds since the walk began, on the walk's own clock; it stands still when the walk is over."""
        return self.state.t if self.state.outcome is not None else max(self.source.clock.now(), self.state.t)

    @property
    def gate_open(self) -> bool:
        return self.desk.gate_open

    @property
    def busy(self) -> bool:
        """Whether something goes on that time passes for."""
        waits = self.state.question is not None or self.pauses.next is not None
        return self.state.outcome is None and not waits

    def badges(self) -> list[str]:
        """What must not be overlooked."""
        found = ["SIMULATED"] if self.state.simulated or self.source.cluster.simulated else []
        if label := str(getattr(self.source, "label", "")):
            found.append(label)
        if getattr(self.source, "dry", False):
            found.append("DRY RUN")
        return [*found, "NCCL_DEBUG"] if debugging(self.engine.cluster) else found

    def check_answer(self, question: Question, value: str) -> None:
        """Raises MilepostError when the value does not fit its field of the cluster file."""
        if question.field:
            with_value(self.engine.cluster, question.field, value)

    def _file(self, event: ev.AnyEvent, state: State) -> None:
        """Keep answers in the cluster file. That it cannot be written does not end the walk."""
        if self._persist is None:
            return
        try:
            self._persist(event, state)
        except MilepostError as error:
            self.warnings.append(str(error))

    def offers(self) -> list[FixOffer]:
        """Fixes for the gate that is open now."""
        verdict = self.state.step(self.state.current).verdict if self.gate_open else None
        if verdict is None:
            return []
        found = self.findings.get(self.state.current, ())
        key = (self.state.current, self.state.step(self.state.current).attempt, len(found))
        if self._offers is None or self._offers[0] != key:
            commands = offers(Known(self.engine.cluster, self.state.facts), found)
            self._offers = (key, [*remedy_offers(self.engine, self.state, verdict, self._path), *commands])
        return self._offers[1]

    def toggle_debugging(self) -> str:
        """Turn the debugging switches over; what is set from the next start on."""
        if self.state.outcome is not None or not self.state.steps:
            return "Nothing will be started any more in this walk."
        for where, value in toggling(self.engine.cluster).items():
            self.engine.edit((where, value))
        return explained(self.engine.cluster, self.state.facts)
