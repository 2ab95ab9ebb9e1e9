"""Every walk in snapshots/walks, replayed: it neither drifts nor changes its verdict, and it teaches."""

from __future__ import annotations

from pathlib import Path

import pytest

from wizard_steps.recording.journal import is_walk, load
from wizard_steps.recording.redact import Redactor
from wizard_steps.walks.identify import secrets
from wizard_steps.walks.replay import outcome_of, replay
from wizard_steps.walks.shipped import find
from wizard_steps.walks.texts import draft

ROOT = Path(__file__).parents[2] / "snapshots" / "walks"
WALKS = sorted(path for path in ROOT.iterdir() if is_walk(path)) if ROOT.is_dir() else []
#: A folder larger than this does not belong into a repository (bytes).
LARGEST = 600_000


@pytest.mark.parametrize("folder", WALKS, ids=lambda path: path.name)
async def test_it_replays_as_it_was_recorded(folder: Path) -> None:
    walk = load(folder)
    result = await replay(walk)
    assert result.drift == ""
    assert result.outcome == outcome_of(walk.events)
    # A helper may change and a step may be new; what failed must fail for the recorded reason.
    assert [remark for remark in result.remarks if remark.kind == "reason"] == []


def test_a_shipped_walk_is_found_by_its_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in WALKS:
        assert find(Path(folder.name)) == folder
        (tmp_path / folder.name).mkdir()
        assert find(Path(folder.name)) == Path(folder.name)
    assert find(Path("no-such-walk")) == Path("no-such-walk")


@pytest.mark.parametrize("folder", WALKS, ids=lambda path: path.name)
def test_it_tells_where_it_comes_from_and_what_it_teaches(folder: Path) -> None:
    walk = load(folder)
    meta = walk.meta
    assert meta.recorded
    assert meta.title
    assert meta.note
    assert meta.provenance
    if outcome_of(walk.events) not in ("passed", "interrupted"):
        kinds = {note.kind for note in walk.notes}
        assert kinds == {"note", "ask"}, "a failing walk asks what to try, and says what the lesson is"


@pytest.mark.parametrize("folder", WALKS, ids=lambda path: path.name)
def test_it_is_small_and_has_no_secret_in_it(folder: Path) -> None:
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) < LARGEST
    assert secrets(draft(load(folder)), Redactor.from_environment()) == []
