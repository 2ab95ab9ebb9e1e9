"""Whole recordings out of the case files: real engine, steps and journal; only the hosts are pasted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from tests.helpers.case_runner import CLUSTER, Case, CaseTransport
from wizard_steps.cluster.file import parse
from wizard_steps.engine.clock import ZeroClock
from wizard_steps.engine.decide import Answer
from wizard_steps.engine.engine import Engine
from wizard_steps.model import Chunk, Cmd, Exit, Node, Question
from wizard_steps.plan import PATHS, plan_for
from wizard_steps.recording import events as ev
from wizard_steps.recording import journal as walks
from wizard_steps.recording.journal import MemoryJournal, Walk, WalkFolder

CASES = Path(__file__).parents[1] / "cases"
#: The milestones these tests walk, each with a case that passes; a new milestone costs them nothing.
HEALTHY = {
    "reach": "two-nodes",
    "preflight": "nothing-in-the-way",
    "ip": "both-ways",
    "smi": "eight-and-eight",
    "install": "already-there",
    "head": "starts",
    "workers": "joins",
    "ray_status": "whole",
    "serve": "ready",
    "curl": "answers",
    "probe": "answers",
}


class Hosts:
    """The case files of the steps in turn; ``cases`` names several for a step that is tried again."""

    def __init__(self, cases: Mapping[str, str | tuple[str, ...]], clock: ZeroClock) -> None:
        self._clock = clock
        self._cases = {k: [v] if isinstance(v, str) else list(v) for k, v in cases.items()}
        self._now: Any = None

    def started(self, event: ev.AnyEvent, state: object) -> None:
        if isinstance(event, ev.StepStarted):
            names = self._cases.setdefault(event.step, [_passing(event.step)])
            name = names.pop(0) if len(names) > 1 else names[0]
            case = Case(CASES / event.step / f"{name}.toml")
            self._now = CaseTransport(case.data.get("result", []), 1.0, self._clock)

    async def run(self, node: Node, cmd: Cmd) -> AsyncGenerator[Chunk | Exit]:
        async for item in self._now.run(node, cmd):
            yield item

    async def close(self) -> None: ...


def _passing(step: str) -> str:
    """For a milestone that is new in the plan: its first case that passes."""
    paths = sorted((CASES / step).glob("*.toml"))
    return next(path.stem for path in paths if Case(path).data["passed"])


class Script:
    def __init__(self, *answers: Answer) -> None:
        self._answers = list(answers)

    async def ask(self, step: str, question: Question) -> Answer:
        return self._answers.pop(0) if self._answers else Answer("stop")


async def record(
    folder: Path | None,
    cases: Mapping[str, str | tuple[str, ...]] | None = None,
    answers: tuple[Answer, ...] = (),
    cluster: str = CLUSTER,
    swap: tuple[tuple[str, str], ...] = (),
    names: tuple[str, str] = ("a", "b"),
) -> Walk:
    """A walk through the whole plan. ``swap`` replaces text of the hosts and of the cluster file; ``names``
    are those of the two nodes."""
    clock = ZeroClock()
    hosts = Hosts({**HEALTHY, **(cases or {})}, clock)
    for old, new in swap:
        cluster = cluster.replace(old, new)
    for old, new in zip("ab", names, strict=True):
        cluster = cluster.replace(f'name = "{old}"', f'name = "{new}"')
    made = parse(cluster)
    journal = WalkFolder(folder, walks.new_meta(title="made")) if folder else MemoryJournal()
    transport = Swapped(hosts, swap, dict(zip(names, "ab", strict=True)))
    await Engine(plan_for(made), made, transport, Script(*answers), clock, journal, hosts.started).walk()
    journal.close() if folder else None
    if folder:
        return walks.load(folder)
    assert isinstance(journal, MemoryJournal)
    return Walk(Path("memory"), walks.new_meta(title="made"), tuple(journal.events), journal.spool.read)


class Swapped:
    def __init__(self, inner: Hosts, swap: tuple[tuple[str, str], ...], names: Mapping[str, str]) -> None:
        self._inner, self._swap, self._names = inner, swap, names

    async def run(self, node: Node, cmd: Cmd) -> AsyncGenerator[Chunk | Exit]:
        known = replace(node, name=self._names.get(node.name, node.name))
        async for item in self._inner.run(known, cmd):
            if isinstance(item, Chunk):
                text = item.data.decode()
                for old, new in self._swap:
                    text = text.replace(old, new)
                item = Chunk(text.encode())
            yield item

    async def close(self) -> None: ...


def steps(cluster: str = CLUSTER) -> list[str]:
    """The milestones that are walked here."""
    return [step.id for step in plan_for(parse(cluster)) if step.id in HEALTHY]


@pytest.fixture(scope="module", autouse=True)
def settled_plan() -> Iterator[None]:
    """Autouse where it is imported: recordings and replays have the milestones named above and no others."""
    before = PATHS["bare-metal"]
    PATHS["bare-metal"] = tuple(step for step in before if step.id in HEALTHY)
    yield
    PATHS["bare-metal"] = before


def make(*args: Any, **kwargs: Any) -> Walk:
    """``record`` where no event loop runs yet."""
    return asyncio.run(record(*args, **kwargs))
