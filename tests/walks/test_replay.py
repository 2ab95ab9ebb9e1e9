"""`milepost --replay`: a verdict a milestone, drift apart from failure, JUnit, JSON, annotations, codes."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from xml.etree import ElementTree as Xml

import msgspec
import pytest

from tests.helpers.walk_maker import make, settled_plan, steps
from tui.cli.main import main
from tui.cli.replays import Options, run_replays
from wizard_steps.engine.decide import Answer
from wizard_steps.recording import events as ev
from wizard_steps.recording import journal as walks

__all__ = ["settled_plan"]

TOTAL = len(steps())
#: The command of the smi step, and another one.
SMI = ('"show":"nvidia-smi"', '"show":"nvidia-smi -L"')


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a healthy walk, one that fails for good, and one that was fixed on the second try."""
    root = tmp_path_factory.mktemp("walks")
    make(root / "good")
    make(root / "bad", {"serve": "port-taken"})
    make(root / "mended", {"smi": ("one-gpu-lost", "eight-and-eight")}, (Answer("retry"),))
    return root


@pytest.fixture
def copies(recorded: Path, tmp_path: Path) -> Path:
    shutil.copytree(recorded, tmp_path / "walks")
    return tmp_path / "walks"


def rewrite(folder: Path, old: str, new: str) -> None:
    path = folder / "events.jsonl"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def report(capsys: pytest.CaptureFixture[str], *folders: Path, code: int, **options: bool) -> list[dict]:
    assert run_replays(folders, Options(json=True, **options)) == code
    said = json.loads(capsys.readouterr().out)
    assert said["exit_status"] == code
    return said["walks"]


def test_verdicts_of_a_folder_of_walks(recorded: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad, good, mended = report(capsys, recorded, code=1)
    assert [w["status"] for w in (bad, good, mended)] == ["failed", "passed", "passed"]
    by_step = {(m["step"], m["attempt"]): m for m in bad["milestones"]}
    assert by_step["serve", 1]["status"] == "failed"
    assert "taken" in by_step["serve", 1]["failures"][0]
    assert by_step["curl", 1]["status"] == "skipped"
    tries = [m["status"] for m in mended["milestones"] if m["step"] == "smi"]
    assert tries == ["failed", "passed"]
    line = by_step["serve", 1]["line"]
    told = (recorded / "bad" / "events.jsonl").read_text().splitlines()[line - 1]
    assert json.loads(told)["event"] == "judged"
    assert by_step["serve", 1]["seconds"] == 1.0


def test_a_recorded_failure_is_right_when_asked_for(recorded: Path) -> None:
    assert run_replays([recorded / "bad"], Options(quiet=True)) == 1
    assert run_replays([recorded / "bad"], Options(quiet=True, as_recorded=True)) == 0


def test_a_changed_command_is_drift(copies: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rewrite(copies / "good", *SMI)
    (walk,) = report(capsys, copies / "good", code=3, as_recorded=True)
    assert (walk["status"], walk["kind"]) == ("drift", "command")
    assert [m["step"] for m in walk["milestones"] if m["status"] == "drift"] == ["smi"]
    assert "`nvidia-smi -L` was recorded, today it is `nvidia-smi`" in walk["detail"]
    assert [m["status"] for m in walk["milestones"]].count("passed") == TOTAL - 1


def test_an_expectation_that_no_longer_matches_is_drift(
    copies: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from wizard_steps.engine import expected

    real = expected.load("ray_status")
    block = expected.parse("```expect status\nEverything is fine\n```\n", "x")
    changed = msgspec.structs.replace(real, blocks=block.blocks)
    load = expected.load
    monkeypatch.setattr(expected, "load", lambda step: changed if step == "ray_status" else load(step))
    (walk,) = report(capsys, copies / "good", code=3)
    assert (walk["status"], walk["kind"]) == ("drift", "expectation")
    assert "Everything is fine" in walk["detail"]


def test_a_changed_verdict_is_drift_and_another_reason_is_a_note(
    copies: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # The recording says that the gate was shut; today's judge opens it.
    events = copies / "good" / "events.jsonl"
    lines = events.read_text().splitlines()
    at = next(n for n, line in enumerate(lines) if '"judged"' in line and '"smi"' in line)
    lines[at] = lines[at].replace('"passed":true', '"passed":false', 1)
    events.write_text("\n".join(lines) + "\n")
    rewrite(copies / "bad", '"name":"port"', '"name":"another"')
    good, bad = report(capsys, copies / "good", copies / "bad", code=3)
    assert (good["status"], good["kind"]) == ("drift", "verdict")
    assert "today's verdict is passed" in good["detail"]
    assert bad["status"] == "failed"
    assert "another reason" in bad["notes"][0]


def test_a_schema_from_the_future_and_another_cluster_file_are_drift(
    copies: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    meta = copies / "good" / "meta.json"
    meta.write_text(meta.read_text().replace('"schema": 1', '"schema": 2'))
    rewrite(copies / "bad", '"venv":', '"venvs":')
    (copies / "mended" / "out" / "a.reach.whoami.log").write_text("x")
    good, bad, mended = report(capsys, copies / "good", copies / "bad", copies / "mended", code=3)
    assert (good["status"], good["kind"]) == ("drift", "schema")
    assert (bad["status"], bad["kind"]) == ("drift", "cluster")
    assert mended["status"] == "unreadable"
    report(capsys, copies / "mended", code=2, as_recorded=True)


def test_an_interrupted_walk_is_told_so_and_is_no_drift(
    copies: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ctrl-C while the head was being started: the journal says cancelled, then interrupted."""
    events = copies / "good" / "events.jsonl"
    walk = walks.load(copies / "good")
    at = next(n for n, e in enumerate(walk.events) if isinstance(e, ev.StepStarted) and e.step == "head")
    started = walk.events[at + 1]
    assert isinstance(started, ev.CommandStarted)
    t = started.t
    kept = [
        *walk.events[: at + 2],
        ev.CommandEnded(t, started.run, started.node, -1, "cancelled", t, t),
        ev.WalkEnded(t, "interrupted"),
    ]
    events.write_bytes(b"".join(msgspec.json.encode(e) + b"\n" for e in kept))
    (told,) = report(capsys, copies / "good", code=130)
    assert told["status"] == "interrupted"
    report(capsys, copies / "good", code=0, as_recorded=True)


def test_junit(copies: Path, tmp_path: Path) -> None:
    rewrite(copies / "mended", *SMI)
    file = tmp_path / "junit.xml"
    assert run_replays([copies], Options(quiet=True, junit=file)) == 3
    suites = {Path(s.get("name", "")).name: s for s in Xml.parse(file).getroot()}
    counts = {n: [s.get(k) for k in ("tests", "failures", "errors", "skipped")] for n, s in suites.items()}
    assert counts["good"] == [str(TOTAL), "0", "0", "0"]
    assert counts["bad"] == [str(TOTAL), "1", "0", "2"]
    # Both attempts at smi ran the changed command.
    assert counts["mended"] == [str(TOTAL + 1), "0", "2", "0"]
    failure = suites["bad"].find("testcase[@name='serve']/failure")
    assert failure is not None
    assert "taken" in (failure.text or "")
    error = suites["mended"].find("testcase[@name='smi']/error")
    assert error is not None
    assert error.get("type") == "command"
    run_replays([copies / "bad"], Options(quiet=True, junit=file, as_recorded=True))
    assert Xml.parse(file).getroot()[0].get("failures") == "0"


def test_junit_is_xml_whatever_a_walk_says(copies: Path, tmp_path: Path) -> None:
    meta = copies / "good" / "meta.json"
    meta.write_text(meta.read_text().replace('"schema": 1', '"schema": 7'))
    odd = copies / "good\x01<&>"
    (copies / "good").rename(odd)
    file = tmp_path / "junit.xml"
    assert run_replays([odd], Options(quiet=True, junit=file)) == 3
    assert Xml.parse(file).getroot()[0].get("errors") == "1"


COMMAND = re.compile(r"::(error|warning) file=([^,:]+),line=(\d+),title=([^,:]+)::(.+)")


def test_annotations(
    copies: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    rewrite(copies / "mended", *SMI)
    run_replays([copies], Options(quiet=True))
    assert "::" not in capsys.readouterr().out
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    run_replays([copies], Options(quiet=True))
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("::")]
    found = [COMMAND.fullmatch(line) for line in lines]
    assert all(found)
    said = {(m[2].split("/")[-2], m[4]) for m in found if m}
    assert said == {("bad", "serve%3A gate failed"), ("mended", "drift%3A command")}
    assert "%0A" in lines[0]


def test_many_walks_are_replayed_by_several_processes_in_their_order(
    recorded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tui.cli.replays._MANY", 3)
    (tmp_path / "none").mkdir()
    folders = [recorded / "good", tmp_path / "none", recorded / "bad", recorded / "mended"] * 3
    walks_ = report(capsys, *folders, code=2)
    assert [Path(w["walk"]) for w in walks_] == folders
    assert [w["status"] for w in walks_] == ["passed", "unreadable", "failed", "passed"] * 3


def test_the_command_line(recorded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--replay", str(recorded / "good"), "--quiet"]) == 0
    assert f"replayed: {TOTAL} of {TOTAL} verdicts passed, all as recorded" in capsys.readouterr().out
    assert main(["--replay", str(recorded), str(recorded / "none"), "--quiet", "--as-recorded"]) == 2
    assert main(["--headless", "--json"]) == 2
    assert "go with --replay" in capsys.readouterr().err
    assert main(["--replay", str(recorded), "--quiet", "--junit", str(tmp_path / "no" / "x.xml")]) == 2
