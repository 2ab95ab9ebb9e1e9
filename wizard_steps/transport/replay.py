"""A recording in place of the hosts. Found by (node, command, n-th use); anything else is drift, loudly."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict, deque
from collections.abc import AsyncIterator, Callable, Iterable

from wizard_steps.engine.clock import ZeroClock
from wizard_steps.engine.decide import Answer
from wizard_steps.errors import DriftError
from wizard_steps.model import Chunk, Cmd, Exit, Node, Question
from wizard_steps.recording import events as ev

ReadSpool = Callable[[str, int, int], bytes]


class EndOfRecording(Exception):
    """The recorded walk was interrupted here: nothing more is known."""


class _Use:
    def __init__(self, started: ev.CommandStarted) -> None:
        self.started = started
        self.output: list[ev.Output] = []
        self.ended: ev.CommandEnded | None = None


def uses(events: Iterable[ev.AnyEvent]) -> dict[tuple[str, str], list[_Use]]:
    """All uses of all commands of a recording, by (node, command)."""
    by_run: dict[int, _Use] = {}
    found: dict[tuple[str, str], list[_Use]] = defaultdict(list)
    for event in events:
        match event:
            case ev.CommandStarted():
                use = by_run[event.run] = _Use(event)
                found[event.node, event.text].append(use)
            case ev.Output():
                by_run[event.run].output.append(event)
            case ev.CommandEnded():
                by_run[event.run].ended = event
    return dict(found)


class Replay:
    """Plays recorded output back. ``clock`` is moved to the recorded times; nothing is waited for
    unless ``pace`` (seconds to wait for a recorded pause) is given."""

    def __init__(
        self,
        events: Iterable[ev.AnyEvent],
        read: ReadSpool,
        clock: ZeroClock,
        pace: Callable[[float], float] | None = None,
    ) -> None:
        self._uses = uses(events)
        self._read = read
        self._clock = clock
        self._pace = pace
        self._next: Counter[tuple[str, str]] = Counter()

    async def run(self, node: Node, cmd: Cmd) -> AsyncIterator[Chunk | Exit]:
        use = self._take(node, cmd)
        last = use.started.t
        self._clock.reach(last)
        for output in use.output:
            await self._wait(output.t - last)
            last = output.t
            self._clock.reach(output.t)
            yield Chunk(self._read(use.started.spool, output.start, output.end))
        end = use.ended
        if end is None:
            raise EndOfRecording
        await self._wait(end.ended - last)
        self._clock.reach(end.ended)
        yield Exit(end.code, end.reason, end.detail, started=end.started, ended=end.ended)

    def _take(self, node: Node, cmd: Cmd) -> _Use:
        known = self._uses.get((node.name, cmd.text), [])
        number = self._next[node.name, cmd.text]
        self._next[node.name, cmd.text] += 1
        if number < len(known):
            return known[number]
        what = cmd.show or cmd.text.strip()
        if known:
            raise DriftError(
                f"{node.name}: the recording has {len(known)} use(s) of `{what}`, today's steps want one more"
            )
        raise DriftError(
            f"{node.name}: today's steps run `{what}` ({cmd.key}), which the recording does not have: "
            "a command has changed since. Record the walk again"
        )

    async def _wait(self, pause: float) -> None:
        await asyncio.sleep(self._pace(pause) if self._pace and pause > 0 else 0)

    async def close(self) -> None:
        pass


class RecordedDecider:
    """Gives the answers that were given when the walk was recorded."""

    def __init__(self, events: Iterable[ev.AnyEvent]) -> None:
        self._answers: dict[tuple[str, str], deque[Answer]] = defaultdict(deque)
        for event in events:
            if isinstance(event, ev.Answered):
                answer = Answer(event.value, event.where, event.text)
                self._answers[event.step, event.question].append(answer)

    async def ask(self, step: str, question: Question) -> Answer:
        answers = self._answers[step, question.id]
        if answers:
            return answers.popleft()
        if question.kind == "gate":
            return Answer("stop")
        raise DriftError(f"{step}: today's steps ask {question.text!r}; the recording has no answer to it")
