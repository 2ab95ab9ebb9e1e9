"""The main job: one command walks the embedded lab to a model that answered, and its recording replays."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.lab, pytest.mark.timeout(400)]
pytest.importorskip("ray", reason="the embedded lab needs Ray: pip install 'milepost[lab]'")


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tui.cli.main", *words],
        cwd=folder,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=380,
        env={
            "PATH": "/usr/bin:/bin:/usr/sbin",
            "HOME": str(folder),
            "PYTHONPATH": str(Path(__file__).parents[2]),
        },
    )


def processes_of_labs(lab: str) -> list[str]:
    found = []
    for environ in Path("/proc").glob("[0-9]*/environ"):
        try:
            if lab.encode() in environ.read_bytes():
                found.append(environ.parent.name)
        except OSError:
            continue
    return found


def test_a_lab_walk_passes_replays_and_leaves_nothing(tmp_path: Path) -> None:
    done = run(tmp_path, "--lab", "--headless", "--walk", "w")
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr
    assert "SIMULATED" in done.stdout
    assert "walk passed" in done.stdout
    assert (tmp_path / "probe_vllm_cluster.py").exists()
    evidence = sorted(path.name for path in (tmp_path / "w" / "evidence").glob("*.txt"))
    assert evidence[0] == "01-reach.txt"
    assert any(name.endswith("-probe.txt") for name in evidence)
    lab = json.loads(_events(tmp_path)[0])["cluster"]["name"]
    assert lab.startswith("lab-")
    assert processes_of_labs(lab) == []
    replayed = run(tmp_path, "--replay", "w")
    assert replayed.returncode == 0, replayed.stdout + replayed.stderr
    assert "all as recorded" in replayed.stdout


def _events(folder: Path) -> list[str]:
    return (folder / "w" / "events.jsonl").read_text().splitlines()
