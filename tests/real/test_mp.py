"""Real vLLM without Ray: `serve.executor = "mp"` on two hosts, on CPU: a rank of `vllm serve --nnodes 2` on each,
or a replica of `--data-parallel-size 2` on each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.real.hosts import Hosts
from tests.real.test_vllm import servers, vllm_processes
from tests.real.walks import HeadlessWalk, down, told
from tests.real.wizard_side import SERVE

pytestmark = [pytest.mark.real_vllm, pytest.mark.timeout(900)]

SPLIT = {"tensor_parallel": 1, "pipeline_parallel": 2, "executor": "mp"}


@pytest.fixture(scope="module")
def pair(possible: None) -> Iterator[Hosts]:
    with Hosts(names=("a", "b")) as hosts:
        yield hosts


def walked(pair: Hosts, file: Path, folder: Path, limit: float = 500) -> tuple[list[dict], int, str]:
    with HeadlessWalk(file, folder, pair.home) as walk:
        code = walk.wait(limit)
        return [e for e in walk.events() if e["event"] == "judged"], code, walk.output


def test_the_walk_without_ray_to_the_probe_twice_and_down(pair: Hosts, tmp_path: Path) -> None:
    file = pair.cluster_file(serve=SPLIT)
    verdicts, code, output = walked(pair, file, tmp_path / "first")
    for verdict in verdicts:
        print(f"{verdict['t']:6.1f} s  {verdict['step']}: {told(verdict)}")
    assert code == 0, output[-6000:]
    steps = [verdict["step"] for verdict in verdicts]
    assert not {"head", "workers", "ray_status"} & set(steps)
    assert steps[-3:] == ["serve", "curl", "probe"]
    assert len(servers(pair)) == 2
    before = vllm_processes(pair)
    again, code, output = walked(pair, file, tmp_path / "again")
    assert code == 0, output[-6000:]
    assert [v["step"] for v in again][-1] == "probe"
    assert vllm_processes(pair) == before, "nothing may be started twice"
    down(file, pair.home)
    assert vllm_processes(pair) == []


@pytest.mark.long
def test_two_replicas_behind_one_api_each_on_its_own_host(pair: Hosts, tmp_path: Path) -> None:
    replicas = {"data_parallel": 2, "tensor_parallel": 1, "pipeline_parallel": 1, "executor": "mp"}
    # One process for the API instead of one for each replica: two cores serve all of this.
    file = pair.cluster_file(
        serve={**replicas, "extra_flags": [*SERVE["extra_flags"], "--api-server-count=1"]}
    )
    verdicts, code, output = walked(pair, file, tmp_path / "replicas", limit=800)
    for verdict in verdicts:
        print(f"{verdict['t']:6.1f} s  {verdict['step']}: {told(verdict)}")
    assert code == 0, output[-6000:]
    engines = next(c for c in verdicts[-1]["verdict"]["checks"] if c["name"] == "engines")
    assert engines["ok"]
    assert "engine 0: " in engines["found"]
    assert "engine 1: " in engines["found"]
    assert len(servers(pair)) == 2
    down(file, pair.home)
    assert vllm_processes(pair) == []


@pytest.mark.long
def test_a_rehearsal_with_dummy_weights_measures_and_ends_before_the_real_start(
    pair: Hosts, tmp_path: Path
) -> None:
    file = pair.cluster_file(serve={**SPLIT, "rehearse": "yes"})
    verdicts, code, output = walked(pair, file, tmp_path / "rehearsed", limit=800)
    for verdict in verdicts:
        print(f"{verdict['t']:6.1f} s  {verdict['step']}: {told(verdict)}")
        if verdict["step"] == "rehearse":
            print(verdict["verdict"]["facts"], verdict["verdict"]["checks"])
    assert code == 0, output[-6000:]
    steps = [verdict["step"] for verdict in verdicts]
    assert steps.index("rehearse") == steps.index("serve") - 1
    told_by_vllm = verdicts[steps.index("rehearse")]["verdict"]["facts"]["rehearsed"]
    assert told_by_vllm["tokens"] > 0
    assert len(servers(pair)) == 2, "the real one runs, and the rehearsal does not"
    down(file, pair.home)
    assert vllm_processes(pair) == []
