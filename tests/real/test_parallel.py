"""The other ways to spread a model, with real vLLM on CPU over two hosts: replicas over Ray, and what the CPU
build does not allow: experts on several ranks (its kernel takes every expert for its own) and a KV cache that is
dealt out over the context (its attention has no such result). All GPUs are SIMULATED.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.real import vllm_env
from tests.real.hosts import Hosts
from tests.real.test_mp import walked
from tests.real.test_vllm import servers, vllm_processes
from tests.real.walks import down, told
from tests.real.wizard_side import SERVE

pytestmark = [pytest.mark.real_vllm, pytest.mark.long, pytest.mark.timeout(1500)]
ONE_API = [*SERVE["extra_flags"], "--api-server-count=1"]


@pytest.fixture(scope="module")
def pair(possible: None) -> Iterator[Hosts]:
    """A GPU on each host, so that a replica on each, or a rank on each, is the only way."""
    with Hosts(names=("a", "b"), gpus={"a": 1, "b": 1}) as hosts:
        yield hosts


def variant(pair: Hosts, kind: str) -> str:
    """A tiny model where both hosts see it."""
    folder = pair.folder / f"tiny-{kind}"
    script = Path(vllm_env.__file__).with_name("mkvariants.py")
    python = vllm_env.venv() / "bin/python"
    subprocess.run([str(python), str(script), kind, str(folder)], check=True, timeout=300)
    return str(folder)


def test_two_replicas_over_ray_each_on_its_own_host(pair: Hosts, tmp_path: Path) -> None:
    replicas = {"data_parallel": 2, "tensor_parallel": 1, "pipeline_parallel": 1, "executor": "ray"}
    file = pair.cluster_file(settle=2, serve={**replicas, "extra_flags": ONE_API})
    verdicts, code, output = walked(pair, file, tmp_path / "replicas", limit=1300)
    assert code == 0, output[-6000:]
    engines = next(c for c in verdicts[-1]["verdict"]["checks"] if c["name"] == "engines")
    assert engines["ok"]
    assert "engine 0: " in engines["found"]
    assert "engine 1: " in engines["found"]
    assert len(servers(pair)) == 1, "over Ray there is one vllm serve"
    down(file, pair.home)
    assert vllm_processes(pair) == []


def test_experts_on_two_hosts_start_and_the_first_chat_shows_what_the_cpu_kernel_lacks(
    pair: Hosts, tmp_path: Path
) -> None:
    """vLLM 0.32's CPU experts pass over the map of experts (fused_moe/experts/cpu_moe.py): the start is healthy,
    /health answers, and only the chat shuts the gate."""
    experts = {"tensor_parallel": 2, "pipeline_parallel": 1, "executor": "mp", "expert_parallel": True}
    file = pair.cluster_file(serve={**experts, "model": variant(pair, "moe")})
    verdicts, code, output = walked(pair, file, tmp_path / "experts", limit=1300)
    down(file, pair.home)
    by_step = {verdict["step"]: verdict for verdict in verdicts}
    assert by_step["serve"]["verdict"]["passed"], output[-6000:]
    assert code == 1
    assert "chat: HTTP 500" in told(by_step["curl"])
    assert vllm_processes(pair) == []


def test_a_context_dealt_out_is_refused_by_the_cpu_attention_and_told_with_its_words(
    pair: Hosts, tmp_path: Path
) -> None:
    context = {"tensor_parallel": 2, "pipeline_parallel": 1, "executor": "mp", "decode_context_parallel": 2}
    file = pair.cluster_file(serve={**context, "model": variant(pair, "mqa")})
    verdicts, code, output = walked(pair, file, tmp_path / "context", limit=1300)
    down(file, pair.home)
    assert code == 1, output[-6000:]
    assert verdicts[-1]["step"] == "serve"
    assert "CPUAttentionBackendImpl does not" in told(verdicts[-1])
    assert vllm_processes(pair) == []
