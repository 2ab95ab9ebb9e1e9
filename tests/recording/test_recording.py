"""What the engine records: no secret in it, replayed to the same verdicts, damage told."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.case_runner import CLUSTER, CaseTransport
from tests.helpers.engine_help import Script, Toy, no_texts, recorded
from wizard_steps.cluster.file import parse
from wizard_steps.engine.clock import ZeroClock
from wizard_steps.engine.engine import Engine
from wizard_steps.errors import WalkError
from wizard_steps.recording import events as ev
from wizard_steps.recording import journal as walks
from wizard_steps.recording.redact import Redactor
from wizard_steps.transport.cleaned import Cleaned
from wizard_steps.walks.replay import replay


async def test_a_secret_reaches_neither_events_nor_recording(tmp_path: Path) -> None:
    secret = "correct-horse-battery"
    folder = walks.WalkFolder(tmp_path / "w", walks.new_meta())
    redactor = Redactor([secret])
    transport = Cleaned(CaseTransport([{"node": "*", "key": "toy", "text": f"yes {secret}"}]), redactor)
    made = Engine(
        [Toy()],
        parse(CLUSTER),
        transport,
        Script(),
        ZeroClock(),
        folder,
        redactor=redactor,
        texts=no_texts,
    )
    assert await made.walk() == "passed"
    folder.close()
    files = [path for path in (tmp_path / "w").rglob("*") if path.is_file()]
    assert len(files) >= 3
    for path in files:
        assert secret.encode() not in path.read_bytes()
        assert path.stat().st_mode & 0o077 == 0


@pytest.fixture
def only_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    from wizard_steps.milestones.reach import Reach

    monkeypatch.setattr("wizard_steps.plan.plan_for", lambda cluster: [Reach()])


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
    folder.append(ev.WalkStarted(0.0, "bare-metal", (("reach", "reach"),)))
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
