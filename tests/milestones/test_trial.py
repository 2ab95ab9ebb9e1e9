"""What a new milestone costs: one Python file, one expected text, two cases and one line of the plan.

A trial milestone is added to a copy of the project. Its own tests pass there, and every shipped recording
still replays.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TRIAL = Path(__file__).parent / "trial"
#: Where the files of a milestone go.
PLACES = {
    "jumbo.py": "wizard_steps/milestones/jumbo.py",
    "jumbo.md": "snapshots/expected/jumbo.md",
    "passes.toml": "tests/cases/jumbo/passes.toml",
    "too-long.toml": "tests/cases/jumbo/too-long.toml",
}
BEFORE = '    ("fabric",),\n'
LINE = '    ("jumbo",),\n'


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    to = tmp_path_factory.mktemp("copy")
    left = shutil.ignore_patterns("__pycache__", "*.svg", "evidence")
    for name in ("wizard_steps", "tui", "snapshots"):
        shutil.copytree(ROOT / name, to / name, ignore=left)
    for name in ("helpers", "milestones", "cases"):
        shutil.copytree(ROOT / "tests" / name, to / "tests" / name, ignore=left)
    for name in ("pyproject.toml", "tests/__init__.py", "tests/conftest.py"):
        shutil.copy(ROOT / name, to / name)
    for name, place in PLACES.items():
        (to / place).parent.mkdir(exist_ok=True)
        shutil.copy(TRIAL / name, to / place)
    plan = to / "wizard_steps" / "plan.py"
    text = plan.read_text()
    assert text.count(BEFORE) == 1
    plan.write_text(text.replace(BEFORE, LINE + BEFORE))
    return to


def python(copy: Path, *words: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": str(copy)}
    env.pop("GITHUB_ACTIONS", None)
    return subprocess.run([sys.executable, *words], cwd=copy, env=env, capture_output=True, text=True)


def test_these_files_are_all_it_costs() -> None:
    assert sorted(PLACES) == sorted(path.name for path in TRIAL.iterdir() if path.is_file())


def test_its_own_tests_pass_in_the_copy(copy: Path) -> None:
    words = ("-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", "tests/milestones/test_cases.py")
    done = python(copy, *words, "-k", "jumbo")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    assert "5 passed" in done.stdout


def test_every_shipped_recording_still_replays_there(copy: Path) -> None:
    done = python(copy, "-m", "tui.cli.main", "--replay", "snapshots/walks", "--json", "--as-recorded")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    walks = json.loads(done.stdout)["walks"]
    assert len(walks) == sum(1 for path in (ROOT / "snapshots" / "walks").iterdir() if path.is_dir())
    for walk in walks:
        assert walk["drifts"] == []
        if any(one["step"] == "fabric" for one in walk["milestones"]):  # not in `milepost load`
            assert [note for note in walk["notes"] if note.startswith("jumbo: new since")], walk["notes"]
