"""A recording in place of the hosts. A command is found by what it is, not by its text: (node, step, attempt,
command key, n-th use). So a helper may change and its recording still answers; the differences are kept."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict, deque
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from typing import Literal

from msgspec import Struct

from wizard_steps.engine.clock import ZeroClock
from wizard_steps.engine.decide import Answer
from wizard_steps.errors import DriftError
from wizard_steps.model import Chunk, Cmd, Exit, Node, Question
from wizard_steps.recording import events as ev
from wizard_steps.recording.redact import Redactor

ReadSpool = Callable[[str, int, int], bytes]
#: node, step, attempt at the step, command key.
Key = tuple[str, str, int, str]
#: Outcomes after which a recording may lack what would have come next.
CUT_OFF = (None, "interrupted", "error")

#: visible: what a person sees of the command; helper: only the text behind it; unrecorded: the recording has
#: no such use of it; unused: recorded, and not run today.
Level = Literal["visible", "helper", "unrecorded", "unused"]


class EndOfRecording(Exception):
    """The recorded walk was interrupted here: nothing more is known."""


class ReplayDifference(Struct, frozen=True):
    """How a command of today differs from the recorded one. ``then`` and ``now`` are what a person sees."""

    level: Level
    step: str
    attempt: int
    node: str
    key: str
    then: str = ""
    now: str = ""


class Use:
    """One recorded use of a command."""

    def __init__(self, started: ev.CommandStarted) -> None:
        self.started = started
        self.output: list[ev.Output] = []
        self.ended: ev.CommandEnded | None = None

    @property
    def seen(self) -> str:
        """What a person saw of it."""
        return (self.started.show or self.started.text).strip()


def uses(events: Iterable[ev.AnyEvent]) -> dict[Key, list[Use]]:
    """All uses of all commands of a recording. Events of a run that never started are passed over."""
    by_run: dict[int, Use] = {}
    attempts: dict[str, int] = {}
    found: dict[Key, list[Use]] = defaultdict(list)
    for event in events:
        match event:
            case ev.StepStarted():
                attempts[event.step] = event.attempt
            case ev.CommandStarted():
                use = by_run[event.run] = Use(event)
                found[event.node, event.step, attempts.get(event.step, 1), event.key].append(use)
            case ev.Output() if event.run in by_run:
                by_run[event.run].output.append(event)
            case ev.CommandEnded() if event.run in by_run:
                by_run[event.run].ended = event
    return dict(found)


class Replay:
    """Plays recorded output back. ``clock`` is moved to the recorded times; nothing is waited for.

    ``at`` must be called before the commands of an attempt at a step. ``differences`` grows as it goes.
    """

    def __init__(self, events: Sequence[ev.AnyEvent], read: ReadSpool, clock: ZeroClock) -> None:
        self._uses = uses(events)
        self._read = read
        self._clock = clock
        self._next: Counter[Key] = Counter()
        self._at = ("", 0)
        self._cut = _cut(events)
        self._redactor = Redactor()
        self.differences: list[ReplayDifference] = []

    def at(self, step: str, attempt: int) -> None:
        """The commands that follow belong to this attempt at this step."""
        self._at = (step, attempt)

    async def run(self, node: Node, cmd: Cmd) -> AsyncGenerator[Chunk | Exit]:
        """Raises EndOfRecording where an interrupted recording ends.

        A command without a recorded use ends with reason "unrecorded" and exit code -1.
        """
        use = self._take(node, cmd)
        if use is None:
            yield Exit(-1, "unrecorded", "the recording does not have this command")
            return
        self._clock.reach(use.started.t)
        for output in use.output:
            await asyncio.sleep(0)
            self._clock.reach(output.t)
            yield Chunk(self._read(use.started.spool, output.start, output.end))
        end = use.ended
        if end is None:
            raise EndOfRecording
        await asyncio.sleep(0)
        self._clock.reach(end.ended)
        yield Exit(end.code, end.reason, end.detail, started=end.started, ended=end.ended)

    def _take(self, node: Node, cmd: Cmd) -> Use | None:
        step, attempt = self._at
        key = (node.name, step, attempt, cmd.key)
        known = self._uses.get(key, [])
        number = self._next[key]
        self._next[key] += 1
        show, text = self._redactor.text(cmd.show), self._redactor.text(cmd.text)
        seen = (show or text).strip()
        if number >= len(known):
            if self._at == self._cut:
                raise EndOfRecording
            self.differences.append(
                ReplayDifference("unrecorded", step, attempt, node.name, cmd.key, now=seen)
            )
            return None
        use = known[number]
        same = use.seen == seen or use.seen in map(self._redactor.text, cmd.formerly)
        if not same or use.started.text != text:
            level: Level = "helper" if same else "visible"
            self.differences.append(
                ReplayDifference(level, step, attempt, node.name, cmd.key, use.seen, seen)
            )
        return use

    def unused(self, judged: Iterable[tuple[str, int]]) -> Iterable[ReplayDifference]:
        """Recorded commands of these (step, attempt) that were not run once."""
        wanted = set(judged)
        for key, known in self._uses.items():
            node, step, attempt, name = key
            if (step, attempt) in wanted and key not in self._next:
                yield ReplayDifference("unused", step, attempt, node, name, known[0].seen)

    async def close(self) -> None:
        pass


def _cut(events: Sequence[ev.AnyEvent]) -> tuple[str, int] | None:
    """The attempt at a step that a recording ends in the middle of: one that has its verdict is complete."""
    if next((e.outcome for e in reversed(events) if isinstance(e, ev.WalkEnded)), None) not in CUT_OFF:
        return None
    last = next((e for e in reversed(events) if isinstance(e, (ev.StepStarted, ev.Judged))), None)
    return (last.step, last.attempt) if isinstance(last, ev.StepStarted) else None


class RecordedDecider:
    """Gives the answers that were given when the walk was recorded."""

    def __init__(self, events: Iterable[ev.AnyEvent]) -> None:
        self._answers: dict[tuple[str, str], deque[Answer]] = defaultdict(deque)
        for event in events:
            if isinstance(event, ev.Answered):
                answer = Answer(event.value, event.where, event.text, event.edits)
                self._answers[event.step, event.question].append(answer)

    async def ask(self, step: str, question: Question) -> Answer:
        answers = self._answers[step, question.id]
        if answers:
            return answers.popleft()
        if question.kind == "gate":
            return Answer("stop")
        raise DriftError(f"{step}: today's steps ask {question.text!r}; the recording has no answer to it")
