"""Puts the parts of a live walk together: cluster, transport, journal, redactor, plan. No screen in here."""

from __future__ import annotations

import asyncio
import os
import re
import secrets
from collections import ChainMap
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from wizard_steps.cluster.file import Cluster
from wizard_steps.engine.clock import RealClock
from wizard_steps.engine.decide import Decider
from wizard_steps.engine.engine import Engine, OnEvent
from wizard_steps.engine.step import Step
from wizard_steps.engine.transport import Transport
from wizard_steps.errors import WalkError
from wizard_steps.node import api_key
from wizard_steps.node.lock import LockHeld
from wizard_steps.node.remote import COPY_TOKEN
from wizard_steps.plan import plan_for
from wizard_steps.recording import events as ev
from wizard_steps.recording.journal import MemoryJournal, Meta, WalkFolder, WalkTaken, new_meta
from wizard_steps.recording.redact import Redactor
from wizard_steps.recording.state import State
from wizard_steps.transport.cleaned import Cleaned
from wizard_steps.transport.locked import Locked
from wizard_steps.transport.secrets import WithSecrets
from wizard_steps.transport.token import WithRayToken
from wizard_steps.walks.evidence import gate_text
from wizard_steps.walks.handover import as_text, handover

if TYPE_CHECKING:
    from wizard_steps.transport.ssh_ask import Asker


#: Names that are tried for a new recording; more wizards do not start in one second.
_TRIES = 100


def default_folder(cluster: Cluster) -> Path:
    """Where a walk is recorded: milepost-walks/<cluster>-<local time> below the current folder."""
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    name = re.sub(r"[^A-Za-z0-9_-]", "_", cluster.name)
    return Path("milepost-walks") / f"{name}-{stamp}"


def beside(base: Path) -> Path:
    """``base`` itself while nothing is there, else NAME-2, NAME-3 and so on."""
    folder, n = base, 1
    while folder.exists():
        n += 1
        folder = base.with_name(f"{base.name}-{n}")
    return folder


def _new_folder(base: Path, meta: Meta) -> WalkFolder:
    """A recording in ``base`` or beside it. Wizards that start in the same second get one each."""
    for _ in range(_TRIES):
        try:
            return WalkFolder(beside(base), meta, new=True)
        except WalkTaken:
            continue
    raise WalkError(f"{base}: too many walks start here at once; choose a folder with --walk DIR")


class LiveWalk:
    """A walk over SSH that records itself. ``dry`` lists what would change something and does not run it,
    and is recorded only where ``folder`` is given.

    ``take_over`` takes the cluster's lock from a wizard that holds it. ``new``: record in a new folder beside
    ``folder`` where that is there already. ``steps``: other milestones than the cluster's own plan.
    """

    def __init__(
        self,
        cluster: Cluster,
        folder: Path | None = None,
        dry: bool = False,
        take_over: bool = False,
        new: bool = False,
        file: Path | None = None,
        steps: Sequence[Step] = (),
    ) -> None:
        self.cluster = cluster
        self._steps = tuple(steps)
        #: The cluster file, for commands that a person is told.
        self.file = str(file or "milepost.toml")
        self.dry = dry
        self.take_over = take_over
        self.redactor = Redactor.from_environment()
        self.clock = RealClock()
        meta = new_meta(
            title=cluster.name,
            simulated=cluster.simulated,
            versions={"vllm": cluster.serve.vllm_version, "ray": cluster.ray.version},
        )
        self.journal: WalkFolder | MemoryJournal
        if folder is None and dry:
            self.journal = MemoryJournal()
        elif folder is None or new:
            self.journal = _new_folder(folder or default_folder(cluster), meta)
        else:
            self.journal = WalkFolder(folder, meta)
        #: Where it is recorded; the current folder where it is not.
        self.folder = self.journal.folder if isinstance(self.journal, WalkFolder) else Path()
        self._transport: Transport | None = None
        self._locked: Locked | None = None
        #: Secrets that a person typed or this walk made, by name of the environment variable: in memory only.
        self._typed: dict[str, str] = {COPY_TOKEN: secrets.token_hex(32)}
        self.redactor.add(self._typed[COPY_TOKEN])

    async def settle(self, ask: api_key.Ask) -> None:
        """Before the walk: the API key, asked for where one is wanted and the environment has none.

        Raises UsageError when the person gives none. A dry run starts nothing and asks for nothing.
        """
        if not self.dry and (key := await api_key.settle(self.cluster, os.environ, ask)):
            self.redactor.add(key)
            self._typed[api_key.NAME] = key

    def engine(self, decider: Decider, asker: Asker, on_event: OnEvent) -> Engine:
        """The engine of this walk; ``asker`` answers for host keys and passwords."""
        from wizard_steps.transport.dry import Dry
        from wizard_steps.transport.ssh import SshTransport

        ssh = SshTransport(self.cluster, asker)
        inner = WithRayToken(WithSecrets(ssh, ChainMap(self._typed, os.environ)), self.cluster, self.redactor)
        cleaned = Cleaned(inner, self.redactor)
        self._locked = None if self.dry else Locked(cleaned, self.cluster, self.take_over)
        self._transport = self._locked or cleaned
        return Engine(
            plan=self._steps or plan_for(self.cluster),
            cluster=self.cluster,
            transport=Dry(self._transport) if self.dry else self._transport,
            decider=decider,
            clock=self.clock,
            journal=self.journal,
            on_event=on_event,
            redactor=self.redactor,
        )

    async def taken(self) -> LockHeld:
        """Returns when another wizard has taken the cluster's lock from this walk."""
        if self._locked is None:
            await asyncio.Event().wait()
        assert self._locked is not None
        return await self._locked.taken()

    def again(self, cluster: Cluster, take_over: bool) -> LiveWalk:
        """Another walk of the cluster, recorded beside this one; secrets that were typed stay known."""
        walk = LiveWalk(
            cluster, self.folder, self.dry, take_over, new=True, file=Path(self.file), steps=self._steps
        )
        walk.redactor, walk._typed = self.redactor, self._typed
        return walk

    def evidence(self, event: ev.AnyEvent, state: State) -> None:
        """Keeps the text of a gate that just passed, and the hand-over; the screen adds pictures."""
        if isinstance(event, ev.WalkEnded) and (text := self.handover(state)):
            self.journal.evidence("handover.txt", text)
        if not isinstance(event, ev.Judged) or not event.verdict.passed:
            return
        number = next(n for n, step in enumerate(state.steps, 1) if step.id == event.step)
        self.journal.evidence(f"{number:02d}-{event.step}.txt", gate_text(event, state, self.journal.spool))

    def handover(self, state: State) -> str:
        """What a person needs after the last gate, as text; "" while there is nothing to hand over."""
        made = handover(state, self.journal.spool.read, str(self.folder), self.file)
        return as_text(made) if made else ""

    async def close(self) -> None:
        if self._transport is not None:
            await self._transport.close()
        if self._locked is not None and self._locked.refused:
            self.journal.forget()
        self.journal.close()
