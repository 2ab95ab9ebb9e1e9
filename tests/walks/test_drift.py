"""What of a recording may differ from today's steps: helpers and new steps are noted, what a person sees and
what a gate compares is drift."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as Xml

import msgspec
import pytest
from msgspec.structs import replace

from tests.helpers.walk_maker import make, settled_plan, steps
from tui.cli.main import main
from tui.cli.replays import Options, run_replays
from wizard_steps.engine import expected
from wizard_steps.engine.step import Known, Step
from wizard_steps.errors import DriftError
from wizard_steps.milestones.head import Head
from wizard_steps.milestones.smi import SMI, Smi
from wizard_steps.model import Cmd, Results, Round, Verdict
from wizard_steps.plan import PATHS
from wizard_steps.recording import events as ev
from wizard_steps.recording.journal import Walk, load
from wizard_steps.walks.drift import clipped
from wizard_steps.walks.replay import Replayed, replay

__all__ = ["settled_plan"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("walks") / "good"
    make(made)
    return made


@pytest.fixture
def walk(folder: Path) -> Walk:
    return load(folder)


def changed(
    monkeypatch: pytest.MonkeyPatch, step: type[Step], key: str, change: Callable[[Cmd], Any]
) -> None:
    """Today's step with another command: ``change`` gives it, or None where it is not run any more."""
    real = step.rounds

    def rounds(self: Step, known: Known, done: Results) -> Round | None:
        wanted = real(self, known, done)
        if wanted is None:
            return None
        work = [(node, change(cmd) if cmd.key == key else cmd) for node, cmd in wanted.work]
        return replace(wanted, work=tuple((node, cmd) for node, cmd in work if cmd is not None))

    monkeypatch.setattr(step, "rounds", rounds)


def kinds(result: Replayed) -> list[tuple[str, str]]:
    return [(remark.kind, remark.step) for remark in result.remarks]


class Gpus(Smi):
    """nvidia-smi under another id and key."""

    id = "gpus"
    keys = ("gpus",)
    formerly = (("smi", {"smi": "gpus"}),)

    def rounds(self, known: Known, done: Results) -> Round | None:
        work = tuple((node, Cmd("gpus", SMI.text, show="nvidia-smi")) for node in known.nodes)
        return None if done.has("gpus") else Round(work=work)

    def judge(self, known: Known, done: Results) -> Verdict:
        return Smi.judge(self, known, Results([replace(result, key="smi") for result in done.items]))


async def test_another_helper_text_is_a_note_and_drift_only_when_asked_for(
    walk: Walk, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed(monkeypatch, Head, "look", lambda cmd: replace(cmd, text=f"{cmd.text}\n# one more line"))
    result = await replay(walk)
    assert (result.outcome, result.drifts, kinds(result)) == ("passed", (), [("helper", "head")])
    assert "head: look on a: the helper script" in result.notes[0]
    strict = result.strict()
    assert (strict.code, strict.remarks) == (3, ())
    assert [(d.kind, d.step, d.attempt) for d in strict.drifts] == [("command", "head", 1)]


async def test_another_visible_command_is_drift_and_the_rest_is_replayed(
    walk: Walk, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed(monkeypatch, Head, "start", lambda cmd: replace(cmd, show="less of the log"))
    changed(monkeypatch, Smi, "smi", lambda cmd: replace(cmd, show="nvidia-smi -q"))
    result = await replay(walk)
    assert result.code == 3
    assert [(d.kind, d.step) for d in result.drifts] == [("command", "smi"), ("command", "head")]
    assert "smi on a, b: a command has changed since: `nvidia-smi` was recorded" in result.drift
    assert len(result.judged) == len(steps())


async def test_another_description_in_brackets_is_drift_too(
    walk: Walk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A person sees it in place of the command."""
    changed(monkeypatch, Head, "look", lambda cmd: replace(cmd, show="(what is there, in other words)"))
    result = await replay(walk)
    assert result.code == 3
    assert [(d.kind, d.step) for d in result.drifts] == [("command", "head")]


async def test_a_command_without_a_recording_is_left_to_the_judge(
    walk: Walk, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Head.rounds

    def one_more(self: Step, known: Known, done: Results) -> Round | None:
        more = ((known.head, Cmd("uptime", "uptime")),)
        return real(self, known, done) or (None if done.has("uptime") else Round(work=more))

    monkeypatch.setattr(Head, "rounds", one_more)
    result = await replay(walk)
    assert (result.outcome, result.drifts, kinds(result)) == ("passed", (), [("unrecorded", "head")])
    assert "`uptime`" in result.notes[0]
    assert result.strict().code == 3
    # smi rests on its output: without one the verdict is another.
    monkeypatch.setattr(Head, "rounds", real)
    monkeypatch.setattr(Smi, "rounds", Gpus.rounds)
    result = await replay(walk)
    assert [d.kind for d in result.drifts] == ["verdict"]
    assert set(kinds(result)) == {("unrecorded", "smi"), ("unused", "smi")}


async def test_a_poll_that_asks_for_more_uses_than_recorded_ends(
    walk: Walk, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed(monkeypatch, Smi, "smi", lambda cmd: replace(cmd, until=lambda result: False, timeout=3600))
    result = await replay(walk)
    assert [d.kind for d in result.drifts] == ["verdict"]
    assert ("unrecorded", "smi") in kinds(result)


class New(Step):
    id = "new"
    title = "Something new"

    def rounds(self, known: Known, done: Results) -> Round | None:
        return Round(work=((known.head, Cmd("new", "new")),)) if not done.has("new") else None

    def judge(self, known: Known, done: Results) -> Verdict:
        return Verdict(False, "never reached in an old recording")


async def test_a_new_step_is_a_note(walk: Walk, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = PATHS["bare-metal"]
    monkeypatch.setitem(PATHS, "bare-metal", (*plan[:2], New, *plan[2:]))
    result = await replay(walk)
    assert (result.outcome, result.drifts, kinds(result)) == ("passed", (), [("step", "new")])
    assert "Something new" in result.notes[0]
    assert result.strict().code == 0


async def test_a_step_that_is_gone_is_drift_where_it_was_judged(
    walk: Walk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PATHS, "bare-metal", tuple(s for s in PATHS["bare-metal"] if s.id != "probe"))
    result = await replay(walk)
    assert [(d.kind, d.step) for d in result.drifts] == [("verdict", "probe")]
    cut = tuple(e for e in walk.events if getattr(e, "step", "") != "probe")
    result = await replay(replace(walk, events=cut))
    assert (result.outcome, result.drifts, kinds(result)) == ("passed", (), [("step", "probe")])


async def test_a_comparison_that_is_gone_is_drift(walk: Walk, monkeypatch: pytest.MonkeyPatch) -> None:
    load_ = expected.load
    none = msgspec.structs.replace(load_("smi"), blocks=())
    monkeypatch.setattr(expected, "load", lambda step: none if step == "smi" else load_(step))
    result = await replay(walk)
    assert [(d.kind, d.step, d.attempt) for d in result.drifts] == [("expectation", "smi", 1)]
    assert "smi on a, smi on b" in result.drift
    assert len(result.judged) == len(steps())


async def test_ids_and_keys_of_old_recordings_are_mapped(walk: Walk, monkeypatch: pytest.MonkeyPatch) -> None:
    load_ = expected.load
    blocks = tuple(replace(block, key="gpus") for block in load_("smi").blocks)
    document = replace(load_("smi"), blocks=blocks)
    monkeypatch.setattr(expected, "load", lambda step: document if step == "gpus" else load_(step))
    plan = tuple(Gpus if step is Smi else step for step in PATHS["bare-metal"])
    monkeypatch.setitem(PATHS, "bare-metal", plan)
    result = await replay(walk)
    assert (result.outcome, result.drifts, result.remarks) == ("passed", (), ())
    assert "gpus" in [event.step for event in result.judged]


async def test_a_recording_with_ids_that_nobody_knows_raises_nothing(walk: Walk) -> None:
    first = walk.events[0]
    assert isinstance(first, ev.WalkStarted)
    strange: tuple[ev.AnyEvent, ...] = (
        replace(first, steps=(("?", "?"), *first.steps, ("smi", "again"))),
        ev.StepStarted(0.0, "nobody", 7),
        ev.Output(0.0, 991, "a", 0, 5),
        ev.CommandEnded(0.0, 992, "a", 0, "exit", 0.0, 0.0),
        ev.CommandStarted(0.0, 993, "nobody", "z", "k", "t", 0, "a.smi.smi.log"),
        ev.Judged(0.0, "nobody", 7, Verdict(True, "")),
        ev.Listed(0.0, "nobody"),
        ev.Waiting(0.0, "nobody", "z", "k", "w", 1.0),
        ev.Answered(0.0, "nobody", "q", "v"),
    )
    result = await replay(replace(walk, events=(*strange, *walk.events[1:])))
    assert (result.outcome, result.drifts, kinds(result)) == ("passed", (), [("step", "?")])
    result = await replay(replace(walk, events=(replace(first, steps=(("?", "?"),)), *walk.events[1:])))
    assert result.drifts == ()


@pytest.mark.parametrize("command", ["docker 'x", "", " "])
async def test_a_cluster_that_no_step_can_work_with_is_drift(walk: Walk, command: str) -> None:
    first = walk.events[0]
    assert isinstance(first, ev.WalkStarted)
    plain = msgspec.to_builtins(first.cluster)
    for change in ({"path": "docker", "docker": {"image": "x", "command": command}}, {"nodes": []}):
        events = (replace(first, cluster={**plain, **change}), *walk.events[1:])
        with pytest.raises(DriftError, match="does not fit today's cluster file"):
            await replay(replace(walk, events=events))


def told(folder: Path, capsys: pytest.CaptureFixture[str], **options: bool) -> tuple[int, dict[str, Any]]:
    code = run_replays([folder], Options(json=True, **options))
    return code, json.loads(capsys.readouterr().out)["walks"][0]


def test_notes_are_told_everywhere(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PATHS, "bare-metal", (*PATHS["bare-metal"], New))
    changed(monkeypatch, Head, "look", lambda cmd: replace(cmd, text=f"{cmd.text}\n# more"))
    code, said = told(folder, capsys)
    assert (code, said["status"], said["drifts"], len(said["notes"])) == (0, "passed", [], 2)
    (head,) = [m for m in said["milestones"] if m["step"] == "head"]
    assert "helper" in head["notes"][0]
    file = tmp_path / "x.xml"
    assert main(["--replay", str(folder), "--quiet", "--junit", str(file), "--annotations"]) == 0
    out, err = capsys.readouterr()
    assert err.count(": note: ") == 2
    assert "all as recorded" in out
    assert [line.split(" ")[0] for line in out.splitlines() if line.startswith("::n")] == ["::notice"] * 2
    suite = Xml.parse(file).getroot()[0]
    assert "Something new" in (suite.findtext("system-out") or "")
    assert "helper" in (suite.findtext("testcase[@name='head']/system-out") or "")
    assert [suite.get(name) for name in ("failures", "errors")] == ["0", "0"]


def test_strict_is_told_everywhere(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    changed(monkeypatch, Head, "look", lambda cmd: replace(cmd, text=f"{cmd.text}\n# more"))
    code, said = told(folder, capsys, strict=True)
    assert (code, said["status"], said["kind"], said["notes"]) == (3, "drift", "command", [])
    assert [(d["step"], d["attempt"]) for d in said["drifts"]] == [("head", 1)]
    file = tmp_path / "x.xml"
    assert main(["--replay", str(folder), "--quiet", "--strict", "--junit", str(file)]) == 3
    assert "drift (command): head: look on a" in capsys.readouterr().err
    assert Xml.parse(file).getroot()[0].find("testcase[@name='head']/error") is not None
    assert main(["--headless", "--strict"]) == 2
    assert "go with --replay" in capsys.readouterr().err


def test_of_a_long_command_the_part_that_differs_is_shown() -> None:
    then, now = clipped("x" * 300 + " --old", "x" * 300 + " --new flag")
    assert then.endswith("--old")
    assert now.endswith("--new flag")
    assert max(len(then), len(now)) < 120
    assert clipped("short", "other") == ("short", "other")
