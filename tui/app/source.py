"""What the app needs of a walk. LiveWalk has it; so can a playback of a recording, or a test."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from wizard_steps.cluster.file import Cluster
from wizard_steps.engine.decide import Decider
from wizard_steps.engine.engine import Engine, OnEvent
from wizard_steps.recording.journal import Journal
from wizard_steps.recording.redact import Redactor

if TYPE_CHECKING:
    from wizard_steps.transport.ssh_ask import Asker


class NowClock(Protocol):
    def now(self) -> float: ...


class WalkSource(Protocol):
    """Makes the engine the app shows, and owns what the engine writes to.

    A source may also have ``clock`` (the times on the screen), ``evidence(event, state)`` (keeps the text
    of a passed gate; the app adds the picture) and ``settle(ask)`` (what is asked before the walk begins).
    """

    @property
    def cluster(self) -> Cluster: ...

    @property
    def folder(self) -> Path: ...

    @property
    def journal(self) -> Journal: ...

    @property
    def redactor(self) -> Redactor: ...

    @property
    def clock(self) -> NowClock: ...

    def engine(self, decider: Decider, asker: Asker, on_event: OnEvent) -> Engine: ...

    async def close(self) -> None: ...
