"""The engine with a fake clock: gates, polling, settle, limits, cancel, recording, replay."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from case_runner import CLUSTER, CaseTransport

from wizard_steps import events as ev
from wizard_steps import walk as walks
from wizard_steps.clock import RealClock, ZeroClock
from wizard_steps.cluster import parse
from wizard_steps.decide import Answer
from wizard_steps.engine import Engine
from wizard_steps.errors import UsageError, WalkError
from wizard_steps.model import Check, Chunk, Cmd, Exit, Node, Question, Result, Results, Round, Verdict
from wizard_steps.redact import Redactor
from wizard_steps.replaying import replay
from wizard_steps.runner import Runner
from wizard_steps.session import fold
from wizard_steps.spool import MemorySpool
from wizard_steps.step import Known, Step
from wizard_steps.transport.cleaned import Cleaned
from wizard_steps.transport.dry import Dry

NODE = Node("a", "gpu-a", "head", 8, "10.0.0.1")


class Toy(Step):
    """Passes when node a prints "yes"."""

    id, title = "reach", "a toy"

    def rounds(self, known: Known, done: Results) -> Round | None:
        return None if done.has("toy") else Round(work=((known.head, Cmd("toy", "echo yes")),))

    def judge(self, known: Known, done: Results) -> Verdict:
        result = done.get("toy", known.head)
        ok = result is not None and "yes" in result.text
        return Verdict(ok, "yes" if ok else "no", (Check("toy", ok),), {"said": "yes"})


class Second(Toy):
    id, owns = "smi", (r"serve\..*",)


class Script:
    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)

    async def ask(self, step: str, question: Question) -> Answer:
        return self.answers.pop(0) if self.answers else Answer("stop")


def engine(outputs: list[str], *answers: Answer, plan: list[Step] | None = None) -> tuple[Engine, list]:
    results = [{"node": "*", "key": "toy", "text": text} for text in outputs]
    journal = walks.MemoryJournal()
    steps = plan or [Toy()]
    made = Engine(steps, parse(CLUSTER), CaseTransport(results), Script(*answers), ZeroClock(), journal)
    made.compare = lambda step, known, done: []  # type: ignore[method-assign]
    return made, journal.events


async def test_a_failed_gate_is_never_passed_over() -> None:
    made, events = engine(["no"], plan=[Toy(), Second()])
    assert await made.walk() == "failed"
    assert [e.step for e in events if isinstance(e, ev.StepStarted)] == ["reach"]
    assert made.state.step("smi").status == "pending"


async def test_retry_runs_the_step_again() -> None:
    made, events = engine(["no", "yes"], Answer("retry"))
    assert await made.walk() == "passed"
    assert [e.verdict.passed for e in events if isinstance(e, ev.Judged)] == [False, True]


async def test_back_goes_to_the_step_before() -> None:
    made, events = engine(["yes", "no", "yes", "yes"], Answer("back"), plan=[Toy(), Second()])
    assert await made.walk() == "passed"
    assert [e.step for e in events if isinstance(e, ev.StepStarted)] == ["reach", "smi", "reach", "smi"]


async def test_an_edit_goes_back_to_the_step_that_owns_the_field() -> None:
    plan = [Second(), Toy()]
    made, events = engine(["yes", "no", "yes", "yes"], Answer("edit", "serve.port", "9000"), plan=plan)
    assert await made.walk() == "passed"
    assert made.cluster.serve.port == 9000
    assert [e.step for e in events if isinstance(e, ev.StepStarted)] == ["smi", "reach", "smi", "reach"]


async def test_a_confirmed_fix_runs_on_its_node_and_the_step_again() -> None:
    made, events = engine(["no", "yes"], Answer("fix", "b", "echo mended"))
    assert await made.walk() == "passed"
    fixes = [
        (e.node, e.text, e.mutates) for e in events if isinstance(e, ev.CommandStarted) and e.key == "fix"
    ]
    assert fixes == [("b", "echo mended", True)]


async def test_a_dry_run_judges_what_only_reads_and_lists_the_rest() -> None:
    class Changes(Second):
        def rounds(self, known: Known, done: Results) -> Round | None:
            return None if done.has("toy") else Round(work=((known.head, Cmd("toy", "x", mutates=True)),))

    class After(Toy):
        id = "curl"

    made, events = engine(["yes"], plan=[Toy(), Changes(), After()])
    made._runner._transport = Dry(made._runner._transport)
    assert await made.walk(gated=False) == "listed"
    assert [e.step for e in events if isinstance(e, ev.Judged)] == ["reach"]
    assert [step.status for step in made.state.steps] == ["passed", "listed", "listed"]


async def test_state_is_a_fold_of_the_events() -> None:
    made, events = engine(["no", "yes"], Answer("retry"))
    await made.walk()
    assert fold(events) == made.state
    assert made.state.facts == {"said": "yes"}


async def test_facts_of_a_failed_gate_are_not_learnt() -> None:
    made, _ = engine(["no"])
    await made.walk()
    assert made.state.facts == {}


class Timed:
    """Each use takes a second and prints the next of some words."""

    def __init__(self, clock: ZeroClock, *words: str) -> None:
        self.clock, self.words, self.uses = clock, list(words), 0

    async def run(self, node: Node, cmd: Cmd) -> AsyncIterator[Chunk | Exit]:
        await self.clock.sleep(1)
        word = self.words[min(self.uses, len(self.words) - 1)]
        self.uses += 1
        yield Chunk(word.encode())
        yield Exit(0)

    async def close(self) -> None: ...


def runner(transport, clock) -> tuple[Runner, list]:
    events: list = []
    return Runner(transport, clock, MemorySpool(), events.append, Redactor()), events


def good(result: Result) -> bool:
    return result.text == "good"


async def test_polling_waits_until_it_is_true_and_stays_so() -> None:
    clock = ZeroClock()
    transport = Timed(clock, "bad", "good", "bad", "good")
    made, _ = runner(transport, clock)
    result = await made.run("s", NODE, Cmd("k", "x", until=good, every=4, settle=12, timeout=100))
    assert (result.text, result.reason) == ("good", "exit")
    # bad, good, bad, then good at 16 s and held: 21, 26, 31
    assert transport.uses == 7


async def test_polling_ends_at_its_limit() -> None:
    clock = ZeroClock()
    made, _ = runner(Timed(clock, "bad"), clock)
    result = await made.run("s", NODE, Cmd("k", "x", until=good, every=4, timeout=20))
    assert result.reason == "timeout"
    assert 20 <= clock.now() <= 26


async def test_what_held_and_then_broke_is_not_waited_for_to_the_end() -> None:
    clock = ZeroClock()
    made, _ = runner(Timed(clock, "good", "good", "bad"), clock)
    result = await made.run("s", NODE, Cmd("k", "x", until=good, every=4, settle=30, timeout=500))
    assert (result.text, result.reason) == ("bad", "timeout")
    assert clock.now() < 45


class Hangs(Timed):
    """Its third use says nothing and does not end."""

    async def run(self, node: Node, cmd: Cmd) -> AsyncIterator[Chunk | Exit]:
        if self.uses == 2:
            await asyncio.sleep(60)
        async for item in super().run(node, cmd):
            yield item


async def test_a_poll_that_ends_in_a_hanging_use_keeps_what_the_use_before_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("wizard_steps.runner.LAST_USE", 0.2)
    clock = ZeroClock()
    made, _ = runner(Hangs(clock, "bad"), clock)
    result = await made.run("s", NODE, Cmd("k", "x", until=good, every=4, timeout=6.1))
    assert (result.text, result.reason) == ("bad", "timeout")


class Endless:
    """Prints for ever; knows whether it was closed."""

    def __init__(self) -> None:
        self.closed = False

    async def run(self, node: Node, cmd: Cmd) -> AsyncIterator[Chunk | Exit]:
        n = 0
        try:
            while True:
                n += 1
                yield Chunk(f"line {n}\nli".encode())
                yield Chunk(b"ne\n")
                await asyncio.sleep(0.001)
        finally:
            self.closed = True

    async def close(self) -> None: ...


async def test_following_stops_at_the_line_and_ends_the_command() -> None:
    transport = Endless()
    made, _ = runner(transport, RealClock())
    result = await made.run("s", NODE, Cmd("k", "x", stop=lambda line: line == "line 5", timeout=30))
    assert (result.reason, result.code, transport.closed) == ("stopped", 0, True)


async def test_a_limit_ends_the_command() -> None:
    transport = Endless()
    made, events = runner(transport, RealClock())
    result = await made.run("s", NODE, Cmd("k", "x", timeout=0.2))
    assert (result.reason, transport.closed) == ("timeout", True)
    assert isinstance(events[-1], ev.CommandEnded)


async def test_cancelling_ends_the_command_and_says_so() -> None:
    transport = Endless()
    made, events = runner(transport, RealClock())
    task = asyncio.create_task(made.run("s", NODE, Cmd("k", "x", timeout=60)))
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert transport.closed
    assert events[-1].reason == "cancelled"


async def test_a_secret_reaches_neither_events_nor_recording(tmp_path: Path) -> None:
    secret = "correct-horse-battery"
    folder = walks.WalkFolder(tmp_path / "w", walks.new_meta())
    redactor = Redactor([secret])
    transport = Cleaned(CaseTransport([{"node": "*", "key": "toy", "text": f"yes {secret}"}]), redactor)
    made = Engine([Toy()], parse(CLUSTER), transport, Script(), ZeroClock(), folder, redactor=redactor)
    made.compare = lambda step, known, done: []  # type: ignore[method-assign]
    assert await made.walk() == "passed"
    folder.close()
    files = [path for path in (tmp_path / "w").rglob("*") if path.is_file()]
    assert len(files) >= 3
    for path in files:
        assert secret.encode() not in path.read_bytes()
        assert path.stat().st_mode & 0o077 == 0


async def recorded(tmp_path: Path, *outputs: str, answers: tuple[Answer, ...] = ()) -> Path:
    """A recording of the real reach step."""
    from wizard_steps.milestones.reach import Reach

    who = "user: u\nhost: h\nkernel: Linux 6\nos: O\npython3: {}\n"
    results = [{"node": "*", "key": "whoami", "text": who.format(o)} for o in outputs]
    folder = walks.WalkFolder(tmp_path / "walk", walks.new_meta(title="t"))
    made = Engine([Reach()], parse(CLUSTER), CaseTransport(results), Script(*answers), ZeroClock(), folder)
    await made.walk()
    folder.close()
    return tmp_path / "walk"


@pytest.fixture
def only_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    from wizard_steps.milestones.reach import Reach

    monkeypatch.setattr("wizard_steps.replaying.plan_for", lambda cluster: [Reach()])


@pytest.mark.usefixtures("only_reach")
async def test_a_replay_gives_the_same_verdicts(tmp_path: Path) -> None:
    passed = await replay(walks.load(await recorded(tmp_path / "p", "Python 3.11.7")))
    assert (passed.code, passed.drift) == (0, "")
    failed = await replay(walks.load(await recorded(tmp_path / "f", "missing")))
    assert (failed.code, failed.drift) == (1, "")


@pytest.mark.usefixtures("only_reach")
async def test_a_changed_command_is_drift(tmp_path: Path) -> None:
    folder = await recorded(tmp_path, "Python 3.11.7")
    events = folder / "events.jsonl"
    events.write_text(events.read_text().replace("uname -sr", "uname -a"))
    result = await replay(walks.load(folder))
    assert result.code == 3
    assert "a command has changed" in result.drift


@pytest.mark.usefixtures("only_reach")
async def test_a_verdict_that_changed_is_drift(tmp_path: Path) -> None:
    folder = await recorded(tmp_path, "Python 3.11.7")
    spool = next((folder / "out").iterdir())
    spool.write_bytes(spool.read_bytes().replace(b"Python 3.11.7", b"missing      "))
    result = await replay(walks.load(folder))
    assert result.code == 3
    assert "failed" in result.drift
    assert "recorded" in result.drift


@pytest.mark.usefixtures("only_reach")
async def test_a_walk_cut_off_by_sigkill_replays_to_where_it_got(tmp_path: Path) -> None:
    folder = await recorded(tmp_path, "Python 3.11.7")
    events = folder / "events.jsonl"
    lines = events.read_bytes().splitlines(keepends=True)
    events.write_bytes(b"".join(lines[:3]) + lines[3][:20])
    walk = walks.load(folder)
    assert len(walk.events) == 3
    assert (await replay(walk)).code == 130


async def test_damaged_and_newer_walks_are_refused(tmp_path: Path) -> None:
    folder = await recorded(tmp_path, "Python 3.11.7")
    with pytest.raises(WalkError, match="no such walk folder"):
        walks.load(tmp_path / "none")
    events, meta = folder / "events.jsonl", folder / "meta.json"
    good_events, good_meta = events.read_text(), meta.read_text()
    events.write_text("{}\n" + good_events)
    with pytest.raises(WalkError, match=r"events\.jsonl:1: not an event"):
        walks.load(folder)
    events.write_text(good_events)
    meta.write_text(good_meta.replace('"schema": 1', '"schema": 99'))
    with pytest.raises(WalkError, match="schema 99 is newer"):
        walks.load(folder)
    meta.write_text("nonsense")
    with pytest.raises(WalkError, match=r"meta\.json: not a walk"):
        walks.load(folder)


async def test_no_name_in_a_walk_leaves_its_folder(tmp_path: Path) -> None:
    walk = walks.load(await recorded(tmp_path, "Python 3.11.7"))
    with pytest.raises(WalkError):
        walk.read("../meta.json", 0, 10)


async def test_a_full_disk_is_said_and_what_was_recorded_stays(tmp_path: Path) -> None:
    folder = walks.WalkFolder(tmp_path / "w", walks.new_meta())
    folder.append(ev.StepStarted(0.0, "reach", 1))
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("/dev/full is Linux's")
    import os

    kept, folder._events = folder._events, os.open(full, os.O_WRONLY)
    with pytest.raises(WalkError, match="No space left on device"):
        folder.append(ev.StepStarted(1.0, "reach", 2))
    folder._events = kept
    folder.close()
    assert len(walks.load(tmp_path / "w").events) == 1


async def test_a_missing_answer_names_the_field() -> None:
    from wizard_steps.decide import FileDecider

    question = Question("ip-b", "Which address?", "choice", field="nodes[1].fabric_ip")
    with pytest.raises(UsageError, match=r"nodes\[1\]\.fabric_ip"):
        await FileDecider().ask("ip", question)
    assert (await FileDecider().ask("ip", Question("gate", "", "gate"))).value == "stop"
