"""Drives one milestone with pasted output: the real engine, the real judge, a clock that never waits."""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

from wizard_steps.cluster.file import Cluster, parse
from wizard_steps.diagnose import Diagnosis
from wizard_steps.diagnose.explain import findings_of
from wizard_steps.engine.clock import ZeroClock
from wizard_steps.engine.decide import Answer
from wizard_steps.engine.engine import Engine
from wizard_steps.model import Chunk, Cmd, Exit, Node, Question, Verdict
from wizard_steps.plan import plan_like
from wizard_steps.recording import events as ev
from wizard_steps.recording.journal import MemoryJournal
from wizard_steps.recording.state import fold

CLUSTER = """
[[nodes]]
name = "a"
host = "gpu-a"
role = "head"
gpus = 8
fabric_ip = "10.0.0.1"

[[nodes]]
name = "b"
host = "gpu-b"
gpus = 8
fabric_ip = "10.0.0.2"

[serve]
tensor_parallel = 8
pipeline_parallel = 2
"""


class CaseTransport:
    """Answers (node, key) with the case's results in order; the last one repeats."""

    def __init__(self, results: list[dict[str, Any]], takes: float = 0.0, clock: ZeroClock | None = None):
        self._results = results
        self._uses: Counter[tuple[str, str]] = Counter()
        self._clock = clock
        self._takes = takes
        self.ran: list[tuple[str, str]] = []
        #: Commands that the case has no result for.
        self.missing: list[tuple[str, str]] = []
        #: Keys of the commands a person sees.
        self.seen: set[str] = set()

    async def run(self, node: Node, cmd: Cmd) -> AsyncGenerator[Chunk | Exit]:
        fitting = [r for r in self._results if r["key"] == cmd.key and r["node"] in (node.name, "*")]
        use = self._uses[node.name, cmd.key]
        self._uses[node.name, cmd.key] += 1
        self.ran.append((node.name, cmd.key))
        self.seen |= set() if cmd.quiet else {cmd.key}
        if self._clock is not None:
            await self._clock.sleep(self._takes)
        if not fitting:
            assert cmd.quiet or cmd.mutates, f"the case has no result for {node.name} {cmd.key}"
            # No result is no success: the judge decides, as in a replay.
            self.missing.append((node.name, cmd.key))
            yield Exit(-1, "unrecorded", "the case has no result for it")
            return
        result = fitting[min(use, len(fitting) - 1)]
        yield Chunk(result.get("text", "").encode())
        yield Exit(result.get("code", 0), result.get("reason", "exit"), result.get("detail", ""))

    async def close(self) -> None:
        pass


class CaseDecider:
    def __init__(self, answers: dict[str, str]) -> None:
        self._answers = answers
        self.asked: list[Question] = []

    async def ask(self, step: str, question: Question) -> Answer:
        self.asked.append(question)
        return Answer(
            "stop" if question.kind == "gate" else self._answers.get(question.id) or question.unattended
        )


class Case:
    """One file of ``tests/cases/<milestone>/``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.data = tomllib.loads(path.read_text(encoding="utf-8"))
        self.step = path.parent.name
        #: What the diagnosis says of the output, once the verdict is there.
        self.findings: list[Diagnosis] = []

    @property
    def explained(self) -> str:
        """The diagnosis as text: causes, best first, and what to do."""
        return "\n".join(f"{f.cause} {' '.join(a.text for a in f.try_)}" for f in self.findings)

    @property
    def cluster(self) -> Cluster:
        return parse(self.data.get("cluster", CLUSTER), str(self.path))

    async def verdict(self) -> tuple[Verdict, CaseTransport]:
        clock = ZeroClock()
        transport = CaseTransport(self.data.get("result", []), 1.0, clock)
        cluster = self.cluster
        plan = [step for step in plan_like(cluster, [self.step]) if step.id == self.step]
        journal = MemoryJournal()
        engine = Engine(plan, cluster, transport, CaseDecider(self.data.get("answers", {})), clock, journal)
        await engine.walk()
        judged = [event for event in journal.events if isinstance(event, ev.Judged)]
        self.findings = findings_of(fold(journal.events), self.step, journal.spool)
        return judged[-1].verdict, transport
