"""Walks the plan: runs a step on its nodes, judges, gates, and tells about it in events."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence

import msgspec

from wizard_steps.cluster.edit import with_values
from wizard_steps.cluster.file import Cluster
from wizard_steps.engine import expected
from wizard_steps.engine.clock import Clock
from wizard_steps.engine.decide import GATE_OPTIONS, Answer, Decider
from wizard_steps.engine.expect import without_between
from wizard_steps.engine.expected import Expected
from wizard_steps.engine.runner import Runner
from wizard_steps.engine.step import Known, Step
from wizard_steps.engine.together import GroupEnd
from wizard_steps.engine.transport import Transport
from wizard_steps.errors import MilepostError
from wizard_steps.model import (
    WIZARD,
    Check,
    Cmd,
    Comparison,
    Question,
    Result,
    Results,
    Round,
    Together,
    Verdict,
    Work,
)
from wizard_steps.recording import events as ev
from wizard_steps.recording.journal import Journal
from wizard_steps.recording.redact import Redactor
from wizard_steps.recording.state import State, apply

OnEvent = Callable[[ev.AnyEvent, State], None]
#: A step that still asks for more after this many rounds is wrong.
MAX_ROUNDS = 20
#: Seconds a fix may take: installing a package is the longest of them.
FIX_LIMIT = 1800.0


class _Edited(Exception):
    """An answer has changed the cluster file: its step begins anew. The argument: fields and values."""


class Engine:
    """One walk. ``on_event`` is called after an event was journalled, with the state it led to. ``texts``
    gives the expected file of a step id, where it is not the one in ``snapshots/expected``."""

    def __init__(
        self,
        plan: Sequence[Step],
        cluster: Cluster,
        transport: Transport,
        decider: Decider,
        clock: Clock,
        journal: Journal,
        on_event: OnEvent = lambda event, state: None,
        redactor: Redactor | None = None,
        texts: Callable[[str], Expected] | None = None,
    ) -> None:
        self.plan = tuple(plan)
        self._cluster = cluster
        self.state = State()
        self._decider = decider
        self._clock = clock
        self._journal = journal
        self._on_event = on_event
        self._texts = texts or (lambda step_id: expected.load(step_id))
        self._redactor = redactor or Redactor()
        self._runner = Runner(transport, clock, journal.spool, self.emit, self._redactor)
        self._limit = asyncio.Semaphore(cluster.ssh.limit)
        self._answers: dict[str, dict[str, str]] = {}
        self._dry = False
        #: Awaited before the walk goes on from a passed step, with the next one: a person may want to look.
        self.pause: Callable[[Step], Awaitable[None]] | None = None

    @property
    def cluster(self) -> Cluster:
        """As it is now: what a person edits changes it."""
        return self._cluster

    def emit(self, event: ev.AnyEvent) -> None:
        self._journal.append(event)
        self.state = apply(self.state, event)
        self._on_event(event, self.state)

    async def walk(self, gated: bool = True) -> ev.Outcome:
        """Walk to the end or to a gate that stays shut. ``gated=False`` (a dry run) goes on after a failed
        gate, but not after a node that does not answer: of it nothing could be seen."""
        steps = tuple((step.id, step.title) for step in self.plan)
        plain = self._redactor.tree(msgspec.to_builtins(self.cluster))
        self.emit(ev.WalkStarted(self._now(), self.cluster.path, steps, plain, self.cluster.simulated))
        outcome: ev.Outcome = "error"
        detail = ""
        try:
            self._check_texts()
            outcome = await self._steps(gated)
        except asyncio.CancelledError:
            outcome = "interrupted"
            raise
        except MilepostError as error:
            detail = str(error)
            raise
        finally:
            self.emit(ev.WalkEnded(self._now(), outcome, self._redactor.text(detail)))
        return outcome

    def _check_texts(self) -> None:
        """Raises ExpectedTextError where an expected file does not fit its step: before anything is run."""
        known = Known(self.cluster)
        for step in self.plan:
            expected.check(self._texts(step.id), step.keys, step.variables(known, known.head))

    async def _steps(self, gated: bool) -> ev.Outcome:
        at = 0
        while at < len(self.plan):
            step = self.plan[at]
            try:
                verdict, unseen = await self._attempt(step, gated)
            except _Edited as edited:
                self._answers.pop(step.id, None)
                at = self._first_owner(at, edited.args[0])
                self._answers.pop(self.plan[at].id, None)
                continue
            if unseen and not gated:
                return "failed"
            if verdict is None or verdict.passed or not gated:
                at += 1
                if self.pause is not None and at < len(self.plan):
                    await self.pause(self.plan[at])
                continue
            answer = await self._gate(step, verdict)
            if answer.value == "stop":
                return "failed"
            if answer.value == "back":
                at = max(0, at - 1)
            if answer.value == "fix":
                await self._fix(step, answer)
            if answer.value == "edit":
                self.edit(*answer.changes)
                at = self._first_owner(at, answer.changes)
            if answer.value == "restart":
                at = await self._restart(at, answer.where.split())
            self._answers.pop(self.plan[at].id, None)
        return "passed" if gated else "listed"

    async def _gate(self, step: Step, verdict: Verdict) -> Answer:
        question = Question(id="gate", text=verdict.summary, kind="gate", options=GATE_OPTIONS)
        while True:
            answer = await self._ask(step, question)
            if answer.value in ("retry", "edit", "fix", "restart", "back", "stop"):
                return answer

    async def _fix(self, step: Step, answer: Answer) -> None:
        """Run what a finding proposed and a person confirmed, on the node it names; then the step again."""
        cmd = Cmd(key="fix", text=answer.text, mutates=True, timeout=FIX_LIMIT)
        nodes = [n for n in (*self.cluster.node_list, WIZARD) if n.name in answer.where.split()]
        await self._work(step, [(node, cmd) for node in nodes])

    async def _restart(self, at: int, names: Sequence[str]) -> int:
        """End what the steps before ``at`` started on these nodes; the place of the first of them."""
        found = self.started(self.plan[at].id, names)
        for step, work in found:
            await self._work(step, work)
        return min((self.plan.index(step) for step, _ in found), default=at)

    def started(self, before: str, names: Sequence[str]) -> list[tuple[Step, list[Work]]]:
        """The steps before one that leave something running on these nodes, and what ends it; last first."""
        known = Known(self.cluster, self.state.facts)
        earlier = [step for step in self.plan[: self._place(before)] if self.state.step(step.id).attempt]
        found = [(step, [w for w in step.undo(known) if w[0].name in names]) for step in reversed(earlier)]
        return [(step, work) for step, work in found if work]

    def _place(self, step_id: str) -> int:
        return next((n for n, step in enumerate(self.plan) if step.id == step_id), 0)

    def edit(self, *edits: tuple[str, str]) -> None:
        """Set fields of the cluster file, at a gate or at any time: the next step goes by them.

        Raises UsageError when they do not fit.
        """
        self._cluster = with_values(self._cluster, edits)
        plain = self._redactor.tree(msgspec.to_builtins(self._cluster))
        for where, text in edits:
            self.emit(ev.ClusterEdited(self._now(), where, self._redactor.text(text), plain))

    def _first_owner(self, at: int, edits: Sequence[tuple[str, str]]) -> int:
        """The place of the first step, at the latest ``at``, that settles one of these fields."""
        owned = [any(re.fullmatch(own, e[0]) for own in s.owns for e in edits) for s in self.plan[:at]]
        return owned.index(True) if True in owned else at

    async def _attempt(self, step: Step, gated: bool) -> tuple[Verdict | None, bool]:
        """One attempt's verdict, None where a dry run has left nothing to judge; whether a node was lost."""
        attempt = self.state.step(step.id).attempt + 1
        self.emit(ev.StepStarted(self._now(), step.id, attempt))
        known = Known(self.cluster, self.state.facts)
        done = await self._rounds(step, known)
        self._dry = self._dry or any(result.reason == "dry" for result in done.items)
        lost = any(result.reason == "lost" for result in done.items)
        verdict = None if self._dry and not gated else self._judge(step, known, done)
        if verdict is None or (lost and verdict.passed and not gated):
            self.emit(ev.Listed(self._now(), step.id))
            return None, lost
        self.emit(ev.Judged(self._now(), step.id, attempt, verdict))
        return verdict, lost

    async def _rounds(self, step: Step, known: Known) -> Results:
        done = Results(answers=self._answers.get(step.id, {}))
        for _ in range(MAX_ROUNDS):
            wanted = step.rounds(known, done)
            if wanted is None:
                return done
            answers = await self._questions(step, wanted)
            done = done.plus(await self._work(step, wanted.work, wanted.together), answers)
        raise MilepostError(f"{step.id}: asked for more than {MAX_ROUNDS} rounds; this is a bug in milepost")

    async def _questions(self, step: Step, wanted: Round) -> dict[str, str]:
        answers = {}
        for question in wanted.questions:
            answers[question.id] = value = (await self._ask(step, question)).value
            if not question.field and (edits := question.edits(value)):
                self.edit(*edits)
                raise _Edited(edits)
        self._answers.setdefault(step.id, {}).update(answers)
        return answers

    async def _ask(self, step: Step, question: Question) -> Answer:
        self.emit(ev.Asked(self._now(), step.id, question))
        answer = await self._decider.ask(step.id, question)
        clean = self._redactor.text
        self.emit(
            ev.Answered(
                self._now(),
                step.id,
                question.id,
                clean(answer.value),
                answer.where,
                clean(answer.text),
                tuple((where, clean(text)) for where, text in answer.edits),
            )
        )
        return answer

    async def _work(self, step: Step, work: Sequence[Work], together: Together | None = None) -> list[Result]:
        """All of it at the same time; a slow or failing node never stops its siblings, but ``together``."""
        group_end = GroupEnd(together, self._clock)

        async def one(item: Work) -> Result:
            async with self._limit:
                result = await self._runner.run(step.id, *item, halt=group_end.event)
            group_end.seen(result)
            return result

        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(one(item)) for item in work]
        except BaseExceptionGroup as errors:
            raise _first(errors) from None
        finally:
            group_end.close()
        return [task.result() for task in tasks]

    def _judge(self, step: Step, known: Known, done: Results) -> Verdict:
        verdict = step.judge(known, done)
        learnt = Known(known.cluster, {**known.facts, **verdict.facts})
        comparisons = self.compare(step, learnt, done)
        # Where a fact is wrong already, it explains the missing lines; the comparison shows them anyway.
        missing = self._missing(step, learnt, done, comparisons) if verdict.passed else []
        passed = verdict.passed and not missing
        summary = verdict.summary
        if missing:
            lines = "expected line is" if len(missing) == 1 else "expected lines are"
            summary = f"the facts are right, but {len(missing)} {lines} missing"
        return Verdict(
            passed=passed,
            summary=summary,
            checks=(*verdict.checks, *missing),
            facts=verdict.facts if passed else {},
            comparisons=tuple(map(without_between, comparisons)),
        )

    def compare(self, step: Step, known: Known, done: Results) -> list[Comparison]:
        """The expected blocks of a step against the latest result of each command."""
        document = self._texts(step.id).on(step.ways(known))
        latest: Mapping[tuple[str, str], Result] = {(r.key, r.node.name): r for r in done.items}
        found = (document.compare(r, step.variables(known, r.node)) for r in latest.values())
        return [comparison for comparison in found if comparison is not None]

    def _missing(
        self, step: Step, known: Known, done: Results, comparisons: Sequence[Comparison]
    ) -> list[Check]:
        """The expected lines that are not in the output, and the blocks that there is no output for."""
        lines = [
            Check("expected line", False, "not in the output", row.expected, comparison.node)
            for comparison in comparisons
            for row in comparison.missing
        ]
        document = self._texts(step.id).on(step.ways(known))
        return lines + [
            Check("expected output", False, f"no result of {block.key}", f"{document.name}:{block.line}")
            for block in document.without_result(done.items, known.nodes)
        ]

    def _now(self) -> float:
        return self._clock.now()


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
