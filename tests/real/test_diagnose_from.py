"""`milepost diagnose --from` over real sshd: the logs of all nodes, merged by time, and nothing changed there."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.real.hosts import Hosts
from tests.real.walks import environment, milepost

pytestmark = [pytest.mark.real_hosts, pytest.mark.long, pytest.mark.timeout(300)]

SESSION = "/tmp/ray/session_2026-11-26_10-00-00_1_1"
CAUSE = "ERROR 11-26 10:04:00 [worker.py:1] torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB"
EFFECT = "ERROR 11-26 10:05:00 [core.py:1] RuntimeError: NCCL error: remote process exited or there was a network error"


@pytest.fixture
def logs(bed: Hosts) -> Hosts:
    """Sessions of Ray on two hosts: the later error on the head, the earlier one on a worker."""
    for name, text in (("a", EFFECT), ("b", CAUSE)):
        bed.run(name, f"mkdir -p {SESSION}/logs && ln -sfn {SESSION} /tmp/ray/session_latest")
        bed.run(name, f"printf '%s\\n' '{text}' > {SESSION}/logs/worker-1.err")
    return bed


def _diagnosed(bed: Hosts, file: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        milepost("diagnose", "--from", str(file)),
        capture_output=True,
        text=True,
        env=environment(bed.home),
        stdin=subprocess.DEVNULL,
        timeout=120,
    )


def _state(bed: Hosts, name: str) -> str:
    """What a reader could have changed: files of /tmp and the home with their times and sizes."""
    return bed.run(name, "find /tmp /root -type f -printf '%p %s %T@\\n' | sort").stdout


def test_the_first_failure_over_all_nodes_is_named(logs: Hosts, tmp_path: Path) -> None:
    file = logs.cluster_file(path=tmp_path / "milepost.toml")
    before = {name: _state(logs, name) for name in ("a", "b")}
    done = _diagnosed(logs, file)
    assert done.returncode == 1, done.stderr
    assert done.stdout.startswith("1. gpu-memory on node-b (cause"), done.stdout
    assert "worker-1.err:1: " in done.stdout
    assert "2. collective on node-a" in done.stdout
    assert "(node-a:/tmp/ray/session_latest/logs/worker-1.err:1) is usually the effect of one" in done.stdout
    assert {name: _state(logs, name) for name in ("a", "b")} == before


def test_a_node_that_does_not_answer_is_named_and_the_others_are_read(logs: Hosts, tmp_path: Path) -> None:
    file = logs.cluster_file(path=tmp_path / "milepost.toml")
    logs.network.link("a", "eth0", "down")
    try:
        done = _diagnosed(logs, file)
    finally:
        logs.network.heal("a")
    assert done.returncode == 1, done.stderr
    assert "node-a: " in done.stderr
    assert "gpu-memory on node-b" in done.stdout
