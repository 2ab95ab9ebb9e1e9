"""The seams, checked by import-linter and by looking at what a module loads."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def test_import_contracts_hold() -> None:
    tool = Path(sys.executable).parent / "lint-imports"
    done = subprocess.run([tool], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_asyncssh_stays_behind_the_transport_and_the_lab() -> None:
    users = [
        path.relative_to(ROOT).as_posix()
        for package in ("wizard_steps", "tui")
        for path in (ROOT / package).rglob("*.py")
        if any(
            line.startswith(("import asyncssh", "from asyncssh")) for line in path.read_text().splitlines()
        )
    ]
    outside = [u for u in users if not u.startswith(("wizard_steps/transport/ssh", "wizard_steps/lab/"))]
    assert outside == []


@pytest.mark.parametrize(
    "name", ["wizard_steps.plan", "wizard_steps.walks.replay", "tui.cli.replays", "tui.cli.main"]
)
def test_what_a_replay_needs_loads_no_screen_and_no_ssh(name: str) -> None:
    code = f"import sys, {name}; sys.exit(bool({{'textual', 'asyncssh', 'rich'}} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_no_class_name_means_two_things() -> None:
    """A public name in a traceback or a grep is one class. Programs for the nodes and stand-ins stand alone."""
    names: dict[str, list[str]] = {}
    for path in [*(ROOT / "wizard_steps").rglob("*.py"), *(ROOT / "tui").rglob("*.py")]:
        if not {"scripts", "standins"} & set(path.parts):
            for name in re.findall(r"^class ([A-Z]\w*)", path.read_text(encoding="utf-8"), re.M):
                names.setdefault(name, []).append(str(path))
    assert {name: where for name, where in names.items() if len(where) > 1} == {}


def test_the_top_level_holds_what_it_should_and_nothing_else() -> None:
    """What a trial leaves in the current folder must not be committed."""
    done = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("no git checkout")
    top = {name.partition("/")[0] for name in done.stdout.splitlines()}
    folders = {".ci", "snapshots", "tests", "tui", "wizard_steps"}
    meta = {
        ".gitignore",
        ".pre-commit-config.yaml",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "LICENSE",
        "SECURITY.md",
    }
    files = {"README.md", "milepost.py", "pyproject.toml"} | {
        f"requirements{kind}.lock" for kind in ("", "-dev", "-lab")
    }
    assert top - folders - meta - files == set()
