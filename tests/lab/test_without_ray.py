"""The lab without Ray: ranks that meet over sockets, replicas that are counted, a rehearsal that is ended."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.lab, pytest.mark.timeout(400)]


def walked(folder: Path, *words: str) -> list[dict[str, Any]]:
    """The verdicts of a walk over the lab that passes."""
    pytest.importorskip("ray", reason="the embedded lab needs Ray")
    done = subprocess.run(
        [sys.executable, "-m", "tui.cli.main", "--lab", "--headless", "--quiet", *words, "--walk", "w"],
        cwd=folder,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=380,
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "PYTHONPATH": str(Path(__file__).parents[2]),
        },
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    lines = (folder / "w" / "events.jsonl").read_text().splitlines()
    return [event for line in lines if (event := json.loads(line))["event"] == "judged"]


def checks(verdicts: list[dict[str, Any]], step: str, name: str) -> list[dict[str, Any]]:
    found = next(v["verdict"]["checks"] for v in verdicts if v["step"] == step)
    return [check for check in found if check["name"] == name]


@pytest.mark.long
def test_two_replicas_are_both_proved(tmp_path: Path) -> None:
    verdicts = walked(tmp_path, "--executor", "mp", "--replicas", "2")
    assert not {"head", "workers", "ray_status"} & {v["step"] for v in verdicts}
    (engines,) = checks(verdicts, "probe", "engines")
    assert "engine 0: " in engines["found"]
    assert "engine 1: " in engines["found"]
    assert [check["node"] for check in checks(verdicts, "serve", "rank")] == ["lab-head", "lab-worker"]


def test_a_rehearsal_is_measured_and_ended_before_the_real_start(tmp_path: Path) -> None:
    verdicts = walked(tmp_path, "--executor", "mp", "--rehearse")
    told = next(v["verdict"] for v in verdicts if v["step"] == "rehearse")
    assert told["facts"]["rehearsed"]["tokens"] == 1_000_000
    assert told["facts"]["rehearsed"]["workers"] == 16
    assert [check["found"] for check in checks(verdicts, "serve", "vLLM")] == ["started"]


@pytest.mark.long
def test_services_are_made_and_each_is_restarted(tmp_path: Path) -> None:
    verdicts = walked(tmp_path, "--executor", "mp", "--services")
    told = next(v["verdict"] for v in verdicts if v["step"] == "units")
    assert told["summary"].startswith("SIMULATED: 2 services on 2 nodes")
    assert [check["name"] for check in told["checks"]][:4] == ["units", "units", "start", "server"]
