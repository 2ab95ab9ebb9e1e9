"""A walk of the milestone `weights` alone, over real SSH."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from wizard_steps.cluster.file import Cluster
from wizard_steps.engine.decide import FileDecider
from wizard_steps.milestones.weights import WeightsStep
from wizard_steps.model import Verdict
from wizard_steps.recording import events as ev
from wizard_steps.recording.state import State
from wizard_steps.session import LiveWalk
from wizard_steps.transport.ssh_ask import NoAsker


class WeightsWalk:
    """``cut_at``: a key whose first output ends the wizard, as a closed laptop would. ``then``: called at the
    first output of the key ``at``."""

    def __init__(
        self,
        cluster: Cluster,
        folder: Path,
        cut_at: str = "",
        at: str = "",
        then: Callable[[], None] | None = None,
    ) -> None:
        self.walk, self.cut_at, self.at, self.then = LiveWalk(cluster, folder), cut_at, at, then
        self.events: list[ev.AnyEvent] = []
        self.cut = asyncio.Event()

    def see(self, event: ev.AnyEvent, _: State) -> None:
        self.events.append(event)
        if not isinstance(event, ev.Output):
            return
        keys = {e.run: e.key for e in self.events if isinstance(e, ev.CommandStarted)}
        if keys.get(event.run) == self.cut_at:
            self.cut.set()
        if keys.get(event.run) == self.at and self.then is not None:
            then, self.then = self.then, None
            then()

    async def run(self) -> Verdict | None:
        """The verdict; None where the wizard ended before."""
        engine = self.walk.engine(FileDecider(), NoAsker(), self.see)
        engine.plan = (WeightsStep(),)
        task, cut = asyncio.create_task(engine.walk()), asyncio.create_task(self.cut.wait())
        try:
            await asyncio.wait({task, cut}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            task.cancel()
            cut.cancel()
            await asyncio.gather(task, cut, return_exceptions=True)
            await self.walk.close()
        return next((e.verdict for e in self.events if isinstance(e, ev.Judged)), None)

    @property
    def changed(self) -> list[str]:
        """NODE KEY of every command that changes something."""
        return [f"{e.node} {e.key}" for e in self.events if isinstance(e, ev.CommandStarted) and e.mutates]

    @property
    def questions(self) -> list[str]:
        return [e.question.text for e in self.events if isinstance(e, ev.Asked)]
