"""Real vLLM (CPU) inside the containers of two hosts: over Ray, and with vLLM's own launcher without Ray."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.real.walks import down
from tests.real_docker.podman import IMAGE, WITHOUT_RAY, Podman
from tests.real_docker.walking import Walked, walk
from wizard_steps.recording import events as ev

pytestmark = [pytest.mark.real_vllm, pytest.mark.timeout(1500)]

STEPS = ("ip", "docker_ready", "head", "workers", "ray_status", "serve", "curl")
HEAD = "milepost-real-hosts-node-a"
#: A made-up token that looks like a real one: it must be in vLLM's environment, and nowhere else.
TOKEN = "hf_" + "milepostmilepostmilepostmilepost01"


async def test_with_ray_one_model_then_another_server_and_a_lost_container(
    podman: Podman, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Containers and vLLM are started once; everything after is asked of what runs."""
    file = _file(podman, tmp_path / "512.toml", "ray", 512)
    try:
        walked = await _one_model(podman, tmp_path, monkeypatch, file)
        assert {node for step, node, key in walked.ran if (step, key) == ("serve", "launch")} == {"node-a"}
        await _another_server_is_asked_about_and_a_killed_container_is_named(podman, tmp_path)
    finally:
        down(file, podman.bed.home)


@pytest.mark.long
async def test_without_ray_one_model_and_its_log_outlives_the_container(
    podman: Podman, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = _file(podman, tmp_path / "milepost.toml", "mp", 512)
    try:
        walked = await _one_model(podman, tmp_path, monkeypatch, file)
        nodes = {node for step, node, key in walked.ran if (step, key) == ("serve", "launch")}
        assert nodes == {"node-a", "node-b"}
    finally:
        done = down(file, podman.bed.home)
    assert done.returncode == 0, done.stdout + done.stderr
    kept = podman.bed.run("a", "cat /root/.milepost/real-hosts/node-a/container/serve.log").stdout
    assert "Application startup complete." in kept
    assert [podman.docker(name, "ps -aq") for name in ("a", "b")] == ["", ""]


def _file(podman: Podman, path: Path, way: str, length: int) -> Path:
    flags = ["--enforce-eager", "--kv-cache-memory-bytes=67108864", f"--max-model-len={length}"]
    serve: dict[str, object] = {
        "pipeline_parallel": 2,
        "ready_timeout": 400,
        "executor": way,
        "extra_flags": flags,
    }
    return podman.cluster_file(path, IMAGE if way == "ray" else WITHOUT_RAY, serve=serve, gpus=1)


async def _one_model(podman: Podman, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: Path) -> Walked:
    """Served over both hosts, and found again by a second walk that starts nothing."""
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    walked = await walk(file, tmp_path / "walk", STEPS)
    last = next(reversed(walked.verdicts))
    assert (last, walked.verdicts[last].passed) == ("curl", True), walked.told(last)
    for node in ("node-a", "node-b"):
        assert f"ranks [{node}] True: runs 1 of 2 ranks" in walked.told("serve"), walked.told("serve")
    _logs_are_where_one_looks(podman, "a")
    _hub_token_is_in_the_process_alone(podman)
    assert TOKEN.encode() not in walked.recorded()
    again = await walk(file, tmp_path / "again", STEPS)
    assert again.verdicts["curl"].passed, again.told("serve")
    assert [what for what in again.ran if what[2] in ("launch", "clear", "stop")] == []
    return walked


def _logs_are_where_one_looks(podman: Podman, name: str) -> None:
    """What vLLM says is in `docker logs`, and on the node's own disk, where its caches are, too."""
    for _ in range(50):
        if "Application startup complete." in (told := podman.docker(name, f"logs {HEAD} 2>&1")):
            break
        time.sleep(0.2)
    assert "Application startup complete." in told
    own = "cat /root/.milepost/real-hosts/node-a/container/serve.log; ls /root/.cache/milepost/vllm"
    assert "Application startup complete." in podman.bed.run(name, own).stdout


def _hub_token_is_in_the_process_alone(podman: Podman) -> None:
    name = HEAD
    has = f"grep -lszF {TOKEN} /proc/[0-9]*/environ | wc -l"
    assert int(podman.docker("a", f"exec {name} sh -c '{has}'")) > 0
    assert TOKEN not in podman.docker("a", f"container inspect {name}")
    for host in ("a", "b"):
        lines = podman.bed.run(host, "cat /proc/[0-9]*/cmdline | tr '\\0' ' '").stdout
        assert TOKEN not in lines


async def _another_server_is_asked_about_and_a_killed_container_is_named(
    podman: Podman, tmp_path: Path
) -> None:
    file = _file(podman, tmp_path / "256.toml", "ray", 256)
    refused = await walk(file, tmp_path / "refused", STEPS)
    assert refused.failing("serve") == {"vLLM@node-a"}
    assert "--max-model-len: 512 -> 256" in refused.told("serve")
    assert [key for step, _, key in refused.ran if step == "serve" and key in ("clear", "launch")] == []

    seen: list[str] = []

    def kill(event: ev.AnyEvent) -> None:
        if isinstance(event, ev.CommandStarted) and (event.step, event.key) == ("serve", "log"):
            seen.append(podman.docker("a", f"kill -s KILL {HEAD}"))

    killed = await walk(file, tmp_path / "killed", STEPS, {"differs": "restart"}, kill)
    assert seen
    assert "container@node-a" in killed.failing("serve")
    assert "has ended with exit code 137" in killed.told("serve")
