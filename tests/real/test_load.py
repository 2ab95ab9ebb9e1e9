"""`milepost load` against real vLLM over two hosts, on CPU: vLLM's own bench, and what /metrics counts.

There are no GPUs here: their part must say "not proved".
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.waiting import wait_for
from tests.real.hosts import Hosts
from tests.real.walks import HeadlessWalk, down, environment, milepost
from wizard_steps.recording.journal import load
from wizard_steps.recording.state import fold

pytestmark = [pytest.mark.real_vllm, pytest.mark.long, pytest.mark.timeout(900)]
FLOWS = re.compile(r"[1-9]\d* requests, 0 errors, .* last token")
SPLIT = {"tensor_parallel": 1, "pipeline_parallel": 2, "executor": "mp"}


class LoadWalk(HeadlessWalk):
    """One ``milepost load CLUSTER --walk FOLDER``."""

    def __init__(self, cluster_file: Path, folder: Path, home: Path) -> None:
        super().__init__(cluster_file, folder, home)
        self._argv = milepost("load", str(cluster_file), "--walk", str(folder))


@pytest.fixture(scope="module")
def served(possible: None) -> Iterator[tuple[Hosts, Path]]:
    """Two hosts that serve a model."""
    with Hosts(names=("a", "b")) as hosts:
        file = hosts.cluster_file(serve=SPLIT)
        with HeadlessWalk(file, hosts.folder / "walk", hosts.home) as walk:
            assert walk.wait(500) == 0, walk.output[-6000:]
        yield hosts, file
        down(file, hosts.home)


def loaded(served: tuple[Hosts, Path], folder: Path, *words: str) -> tuple[int, str]:
    hosts, file = served
    done = subprocess.run(
        milepost("load", str(file), "--walk", str(folder), *words),
        env=environment(hosts.home),
        cwd=hosts.home,
        capture_output=True,
        text=True,
        timeout=500,
    )
    return done.returncode, done.stdout + done.stderr


def test_vllms_own_bench_measures_and_what_has_no_gpu_is_not_proved(
    served: tuple[Hosts, Path], tmp_path: Path
) -> None:
    code, said = loaded(served, tmp_path / "one", "--concurrency", "1,4")
    print(said[-5000:])
    assert code == 0, said[-6000:]
    assert "measured by [node-a]: vllm bench serve" in said
    verdict = fold(load(tmp_path / "one").events).step("load").verdict
    assert verdict is not None
    assert set(verdict.facts["load"]) == {"1", "4"}
    unproved = [check.node for check in verdict.warnings if check.found.startswith("not proved: ")]
    assert unproved == ["node-a", "node-b"]
    engine = next(check for check in verdict.checks if check.name == "engine 0")
    # 2 for the warm-up are before the samples; each run sends one request to try.
    assert int(engine.found.split()[0]) >= (8 + 16) * 128
    replayed = subprocess.run(
        milepost("--replay", str(tmp_path / "one"), "--json"), capture_output=True, text=True, timeout=60
    )
    assert replayed.returncode == 0, replayed.stdout
    assert json.loads(replayed.stdout)["walks"][0]["drifts"] == []
    hosts, _ = served
    for name in hosts.names:
        assert not [line for line in hosts.processes(name).values() if "nvidia-smi" in line]


def test_own_client_soak_and_a_limit_that_is_missed(served: tuple[Hosts, Path], tmp_path: Path) -> None:
    _, file = served
    text = file.read_text()
    file.write_text(text + '\n[load]\ntool = "own"\nconcurrency = [2]\nmin_tokens_per_second = 1e6\n')
    try:
        code, said = loaded(served, tmp_path / "two", "--soak", "12s")
    finally:
        file.write_text(text)
    print(said[-5000:])
    assert code == 1, said[-6000:]
    assert "FAIL tokens per second" in said
    assert "stalls" in said
    assert "ok   soak [node-a]" in said


def test_the_rank_that_stops_in_a_soak_is_named_while_the_others_wait(
    served: tuple[Hosts, Path], tmp_path: Path
) -> None:
    hosts, file = served
    stopped: list[int] = []

    text = file.read_text()
    file.write_text(text + '\n[load]\ntool = "own"\nconcurrency = [2]\nsoak = 600\n')
    try:
        with LoadWalk(file, tmp_path / "three", hosts.home) as walk:
            walk.until_command("load", "soak", 300)
            # The runs before it have told such lines as well.
            wait_for(
                lambda: FLOWS.search(walk.output.rpartition("--seconds 600 ")[2]), "tokens in the soak", 180
            )
            stopped += hosts.kill("b", "VLLM::Worker", signal.SIGSTOP)
            code = walk.wait(500)
    finally:
        file.write_text(text)
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)
    print(walk.output[-5000:])
    assert code == 1
    assert stopped
    assert "gave up: no token for" in walk.output
    assert "BadRequestError" not in walk.output
    assert "time: given up before its end" in walk.output or "times: given up before its end" in walk.output
    (named,) = [line for line in walk.output.splitlines() if "FAIL" in line and "is stopped" in line]
    assert "[node-b]" in named
    assert "the load waits for it" in named
