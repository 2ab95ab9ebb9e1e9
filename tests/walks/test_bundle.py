"""The archive for a ticket: complete, readable, without secrets."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from tests.helpers.case_runner import CLUSTER, CaseTransport
from tui.cli.main import main
from wizard_steps.cluster.file import parse
from wizard_steps.engine.clock import ZeroClock
from wizard_steps.engine.decide import FileDecider
from wizard_steps.engine.engine import Engine
from wizard_steps.milestones.serve import ServeStep
from wizard_steps.recording import journal as walks

LATE = "a-secret-nobody-knew-of"
LOG = (
    "(EngineCore pid=57) ERROR 11-24 08:28:00 [core.py:900] ValueError: Free memory on device cuda:0 "
    "(10.0/79.2 GiB) on startup is less than desired GPU memory utilization (0.9, 71.3 GiB).\n"
    + "x" * 5000
    + f"\n{LATE}\n"
)


@pytest.fixture
async def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    journal = walks.WalkFolder(tmp_path / "w", walks.new_meta(title="t"))
    results = [
        {"node": "a", "key": "look", "text": "ours: \nport 8000: free\n"},
        {"node": "a", "key": "launch", "text": ""},
        {"node": "a", "key": "log", "text": LOG},
    ]
    await Engine(
        [ServeStep()], parse(CLUSTER), CaseTransport(results), FileDecider(), ZeroClock(), journal
    ).walk()
    journal.close()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VLLM_API_KEY", LATE)
    return tmp_path / "w"


def contents(path: Path) -> dict[str, str]:
    with tarfile.open(path) as archive:
        return {
            member.name.partition("/")[2]: archive.extractfile(member).read().decode()
            for member in archive.getmembers()
        }


async def test_a_bundle_tells_the_story_and_no_secret(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bundle", str(folder), "-o", "b.tar.gz"]) == 0
    files = contents(Path("b.tar.gz"))
    assert {"README.md", "summary.txt", "diagnosis.txt", "vllm-serve-first.txt", "walk/events.jsonl"} <= set(
        files
    )
    assert "gpu-memory" in files["diagnosis.txt"]
    assert "failed   vllm serve" in files["summary.txt"]
    assert not any(LATE in text for text in files.values())
    assert "1 place redacted" in files["README.md"]
    assert "vllm-serve-first.txt" in capsys.readouterr().out
    assert Path("b.tar.gz").stat().st_mode & 0o077 == 0


async def test_the_walk_in_a_bundle_can_be_read_again(folder: Path, tmp_path: Path) -> None:
    main(["bundle", str(folder), "-o", "b.tar.gz"])
    with tarfile.open("b.tar.gz") as archive:
        archive.extractall(tmp_path / "x", filter="data")
    assert len(walks.load(tmp_path / "x" / "b" / "walk").events) == len(walks.load(folder).events)


async def test_a_file_that_is_there_is_not_written_over(folder: Path) -> None:
    Path("b.tar.gz").write_text("mine")
    assert main(["bundle", str(folder), "-o", "b.tar.gz"]) == 2
    assert Path("b.tar.gz").read_text() == "mine"


def test_no_walk_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["bundle"]) == 2


@pytest.mark.parametrize("name", ["b.tgz", "b.tar.gz", "b.tar", "b"])
def test_it_unpacks_beside_itself(folder: Path, tmp_path: Path, name: str) -> None:
    assert main(["bundle", str(folder), "-o", str(tmp_path / name)]) == 0
    with tarfile.open(tmp_path / name) as archive:
        archive.extractall(tmp_path, filter="data")
    assert [path.name for path in tmp_path.glob("*/README.md")] == ["README.md"]
