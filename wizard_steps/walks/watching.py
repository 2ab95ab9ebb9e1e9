"""Plays a recording where a live walk would be: at a pace, with pauses capped, forwards and backwards.

The recorded events themselves are played, not today's steps against recorded hosts: what a person watches is
what happened then, also when the steps have changed since. (`milepost --replay` tells such drift.)
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from wizard_steps.cluster.file import Cluster
from wizard_steps.engine.clock import ZeroClock
from wizard_steps.engine.decide import Decider
from wizard_steps.engine.engine import Engine, OnEvent
from wizard_steps.recording import events as ev
from wizard_steps.recording.journal import MemoryJournal, Walk
from wizard_steps.recording.notes import of_step
from wizard_steps.recording.redact import Redactor
from wizard_steps.recording.spool import Spool
from wizard_steps.recording.state import State, apply
from wizard_steps.transport.replay import RecordedDecider, Replay
from wizard_steps.walks.player import PlayClock, Player, Timeline
from wizard_steps.walks.renamed import in_todays_names
from wizard_steps.walks.replay import cluster_of, plan_of

if TYPE_CHECKING:
    from wizard_steps.transport.ssh_ask import Asker

#: What is asked before the verdict of a gate that stays shut, when the author asks nothing.
QUESTION = "This gate is about to be judged, and it stays shut. Where would you look? What would you try?"


class _Output:
    """The recorded output, as a spool that nothing is written to."""

    def __init__(self, walk: Walk) -> None:
        self._walk = walk

    def append(self, name: str, data: bytes) -> tuple[int, int]:
        raise RuntimeError("a recording is not written to")

    def read(self, name: str, start: int = 0, end: int | None = None) -> bytes:
        return self._walk.read(name, start, start if end is None else end)

    def close(self) -> None: ...


class _Journal(MemoryJournal):
    def __init__(self, walk: Walk) -> None:
        super().__init__()
        self.spool: Spool = _Output(walk)


def _edited(event: ev.ClusterEdited) -> Cluster | None:
    """The cluster file after a change; None where it would not be one of today's."""
    try:
        return msgspec.convert(event.cluster, Cluster)
    except msgspec.ValidationError:
        return None


class Playback:
    """What the app takes instead of a live walk. ``rewound`` is called before it starts all over."""

    dry = False

    def __init__(self, walk: Walk, player: Player | None = None) -> None:
        self.cluster: Cluster = cluster_of(walk)
        self.walk = walk = in_todays_names(walk, plan_of(walk, self.cluster))
        self.folder: Path = walk.folder
        self.journal = _Journal(walk)
        self.redactor = Redactor()
        self.player = player or Player(Timeline(walk.events))
        self.clock = PlayClock(self.player)
        self.label = "RECORDED"
        self.rewound: Callable[[], None] = lambda: None
        #: Pause after every milestone that has a note; after every one.
        self.pausing = self.stepping = False
        #: How many events were told; the most of it since the start, when a person went back.
        self.told = self.furthest = 0
        #: How many changes of the cluster file in it are not those of today's fields: they are passed over.
        self.unread = sum(_edited(e) is None for e in walk.events if isinstance(e, ev.ClusterEdited))
        self._shut = {
            (e.step, e.attempt) for e in walk.events if isinstance(e, ev.Judged) and not e.verdict.passed
        }
        self.milestones = [n for n, e in enumerate(walk.events) if isinstance(e, ev.StepStarted)]

    def engine(self, decider: Decider, asker: Asker, on_event: OnEvent) -> PlaybackEngine:
        """Nobody is asked anything: the recording has the answers."""
        return PlaybackEngine(self, on_event)

    async def close(self) -> None:
        pass

    def move(self, by: int) -> None:
        """To the start of the next (+1) or the present or previous (-1) milestone."""
        at = self.told if self.player.target is None else self.player.target
        if by > 0:
            later = [n for n in self.milestones if n >= at]
            self.player.seek(later[0] + 1 if later else len(self.walk.events))
            return
        earlier = [n for n in self.milestones if n < at]
        # Shortly after a start, back means the milestone before.
        near = len(earlier) > 1 and self.player.at - self.player.timeline.played[earlier[-1]] < 1.0
        self.player.seek((earlier[-2] if near else earlier[-1]) + 1 if earlier else 0)

    def titles(self) -> list[str]:
        """What each of ``milestones`` is called."""
        first = self.walk.events[0]
        names = dict(first.steps) if isinstance(first, ev.WalkStarted) else {}
        started = [e for e in self.walk.events if isinstance(e, ev.StepStarted)]
        again = [f" (attempt {e.attempt})" if e.attempt > 1 else "" for e in started]
        return [names.get(e.step, e.step) + more for e, more in zip(started, again, strict=True)]

    def tells(self, count: int) -> None:
        """So many events were told by now."""
        self.told, self.furthest = count, max(count, self.furthest)

    @property
    def watched(self) -> bool:
        """Whether the last verdict of the recording was shown."""
        judged = [n for n, e in enumerate(self.walk.events) if isinstance(e, ev.Judged)]
        return self.furthest > (judged[-1] if judged else 0)

    def jump(self, number: int) -> None:
        """To the start of an attempt at a milestone, by its place in ``milestones``."""
        self.player.seek(self.milestones[number] + 1)

    def notes(self, step: str, attempt: int) -> list[str]:
        return [note.text for note in of_step(self.walk.notes, step, attempt)]

    def answers(self, step: str, attempt: int) -> bool:
        """Whether the notes say what is asked before the verdict: they are kept back until then."""
        return (step, attempt) in self._shut

    def pauses(self, event: ev.Judged) -> bool:
        """Whether there is something to read now, in a lesson or step by step."""
        noted = self.pausing and bool(self.notes(event.step, event.attempt))
        return (noted or self.stepping) and not self.player.paused

    def ask(self, event: ev.Judged) -> str:
        asked = of_step(self.walk.notes, event.step, event.attempt, "ask")
        return "\n".join(note.text for note in asked) or QUESTION


class PlaybackEngine(Engine):
    """An engine that runs nothing: it tells the recorded events at the player's pace, until cancelled."""

    def __init__(self, playback: Playback, on_event: OnEvent) -> None:
        walk = playback.walk
        super().__init__(
            plan=plan_of(walk, playback.cluster),
            cluster=playback.cluster,
            transport=Replay((), walk.read, ZeroClock()),
            decider=RecordedDecider(()),
            clock=ZeroClock(),
            journal=playback.journal,
            on_event=on_event,
        )
        self._playback = playback
        self._tell = on_event

    def emit(self, event: ev.AnyEvent) -> None:
        """Nothing is added to a recording."""

    async def walk(self, gated: bool = True) -> ev.Outcome:
        """Never returns by itself: a person may go back after the end."""
        player, events = self._playback.player, self._playback.walk.events
        at = 0
        while True:
            if player.target is not None:
                at = self._sought(at, min(player.target, len(events)))
            elif at >= len(events):
                await player.for_seek()
            elif await player.until(player.timeline.played[at]):
                event = events[at]
                if isinstance(event, ev.Judged) and not event.verdict.passed:
                    player.hold(self._playback.ask(event))
                    await player.while_held()
                    if player.target is not None:
                        continue
                self._play(event)
                at += 1
                self._playback.tells(at)
                if isinstance(event, ev.Judged) and self._playback.pauses(event):
                    player.toggle()

    def _sought(self, at: int, target: int) -> int:
        """Tell all events up to the target at once; backwards means from the beginning."""
        player, events = self._playback.player, self._playback.walk.events
        player.target = None
        if target < at:
            at, self.state = 0, State()
            self._cluster = self._playback.cluster
            self._playback.rewound()
        for event in events[at:target]:
            self._play(event)
        self._playback.tells(target)
        player.arrived(player.timeline.played[target - 1] if target else 0.0)
        return target

    def _play(self, event: ev.AnyEvent) -> None:
        if isinstance(event, ev.ClusterEdited):
            self._cluster = _edited(event) or self._cluster
        self.state = apply(self.state, event)
        self._tell(event, self.state)
