"""A file of the current folder, or of a node's home, that is called like a module is not run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from msgspec.structs import replace

from tests.helpers.case_runner import CLUSTER
from wizard_steps.cluster.file import parse
from wizard_steps.engine.step import Known
from wizard_steps.facts import script as facts
from wizard_steps.milestones import probe
from wizard_steps.milestones.install import install_command, versions_command
from wizard_steps.model import Cmd
from wizard_steps.node import mesh, tcp

PLANTED = [
    "openai",
    "socket",
    "json",
    "sys",
    "os",
    "time",
    "importlib",
    "threading",
    "urllib",
    "pip",
    "venv",
    "re",
    "typing",
    "argparse",
    "encodings",
    "site",
    "sitecustomize",
    "usercustomize",
    "collections",
    "subprocess",
    "struct",
    "base64",
    "ssl",
    "http",
    "email",
    "tempfile",
    "ctypes",
    "torch",
    "vllm",
    "ray",
]
ROOT = Path(__file__).parents[2]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A folder in which every import would leave a file."""
    for name in PLANTED:
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'RAN')!r}, 'a').write('{name}\\n')\n")
    return tmp_path


def commands() -> list[Cmd]:
    known = Known(parse(CLUSTER))
    venv = str(Path(sys.executable).parents[1])
    one = "127.0.0.1"
    return [
        probe.probe_command(known),
        versions_command(venv),
        tcp.listen(known, one, 9, 0),
        tcp.connect(known, one, 9, [one], "connect"),
        mesh.command(known.cluster, "k", [(one, 0, 0)], [], "show"),
        facts.facts_command(replace(known.cluster, venv=venv)),
    ]


@pytest.mark.parametrize("number", range(6))
def test_nothing_of_the_folder_runs(home: Path, number: int) -> None:
    cmd = commands()[number]
    env = {**os.environ, "HOME": str(home), "MILEPOST_PYTHON": sys.executable, "MILEPOST_PORT": "9"}
    env["PYTHONPATH"] = str(home)
    done = subprocess.run(
        ["/bin/sh", "-c", cmd.text], cwd=home, env=env, capture_output=True, text=True, timeout=100
    )
    assert not (home / "RAN").exists(), (home / "RAN").read_text()
    assert done.returncode == 0 or done.stdout + done.stderr, "the command ran"


def test_the_planted_modules_would_run(home: Path) -> None:
    """What the tests above rest on."""
    subprocess.run([sys.executable, "-c", "import json, openai"], cwd=home, capture_output=True, check=False)
    assert (home / "RAN").exists()


def test_every_python_that_a_step_starts_is_isolated() -> None:
    """In all sources: no `python -c` or `-m` of ours without -I (or -EP on the wizard's own machine)."""
    loose = []
    for path in sorted((ROOT / "wizard_steps").rglob("*.py")):
        if "lab" in path.parts or "scripts" in path.parts or "diagnose" in path.parts:
            continue
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if (
                re.search(r"(?:python3?\"?|\"\$[pP]\"|PYTHON\"?|python\}) -(?:c|m) ", line)
                and "show" not in line
            ):
                loose.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()}")
    shown = [line for line in loose if "importlib.metadata as m" in line or "RUN python3" in line]
    assert loose == shown
    known = Known(parse(CLUSTER))
    assert "-I -m pip" in install_command(known, known.head).text
