"""Real vLLM (CPU) inside the containers of two hosts: over Ray, and with vLLM's own launcher without Ray."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.real.walks import down
from tests.real_docker.podman import IMAGE, WITHOUT_RAY, Podman
from tests.real_docker.walking import walk
from wizard_steps.recording import events as ev

pytestmark = [pytest.mark.real_vllm, pytest.mark.timeout(900)]

STEPS = ("ip", "docker_ready", "head", "workers", "ray_status", "serve", "curl")
HEAD = "milepost-real-hosts-node-a"
#: A made-up token that looks like a real one: it must be in vLLM's environment, and nowhere else.
TOKEN = "hf_" + "milepostmilepostmilepostmilepost01"


@pytest.mark.parametrize("way", ["ray", "mp"])
async def test_two_containers_serve_one_model(
    podman: Podman, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    image = IMAGE if way == "ray" else WITHOUT_RAY
    file = podman.cluster_file(
        tmp_path / "milepost.toml",
        image,
        serve={"pipeline_parallel": 2, "ready_timeout": 400, "executor": way},
        gpus=1,
    )
    try:
        walked = await walk(file, tmp_path / "walk", STEPS)
        assert walked.verdicts["serve"].passed, walked.told("serve")
        assert walked.verdicts["curl"].passed, walked.told("curl")
        for node in ("node-a", "node-b"):
            assert f"ranks [{node}] True: runs 1 of 2 ranks" in walked.told("serve"), walked.told("serve")
        _logs_are_where_one_looks(podman, "a")
        nodes = {node for step, node, key in walked.ran if (step, key) == ("serve", "launch")}
        assert nodes == ({"node-a"} if way == "ray" else {"node-a", "node-b"})
        _token_is_in_the_process_alone(podman)
        assert TOKEN.encode() not in walked.recorded()

        again = await walk(file, tmp_path / "again", STEPS)
        assert again.verdicts["curl"].passed, again.told("serve")
        assert [what for what in again.ran if what[2] in ("launch", "clear", "stop")] == []
    finally:
        done = down(file, podman.bed.home)
    assert done.returncode == 0, done.stdout + done.stderr
    kept = podman.bed.run("a", "cat /root/.milepost/real-hosts/node-a/container/serve.log").stdout
    assert "Application startup complete." in kept
    assert [podman.docker(name, "ps -aq") for name in ("a", "b")] == ["", ""]


def _logs_are_where_one_looks(podman: Podman, name: str) -> None:
    """What vLLM says is in `docker logs`, and on the node's own disk, where its caches are, too."""
    for _ in range(50):
        if "Application startup complete." in (told := podman.docker(name, f"logs {HEAD} 2>&1")):
            break
        time.sleep(0.2)
    assert "Application startup complete." in told
    own = "cat /root/.milepost/real-hosts/node-a/container/serve.log; ls /root/.cache/milepost/vllm"
    assert "Application startup complete." in podman.bed.run(name, own).stdout


def _token_is_in_the_process_alone(podman: Podman) -> None:
    name = HEAD
    has = f"grep -lszF {TOKEN} /proc/[0-9]*/environ | wc -l"
    assert int(podman.docker("a", f"exec {name} sh -c '{has}'")) > 0
    assert TOKEN not in podman.docker("a", f"container inspect {name}")
    for host in ("a", "b"):
        lines = podman.bed.run(host, "cat /proc/[0-9]*/cmdline | tr '\\0' ' '").stdout
        assert TOKEN not in lines


async def test_another_server_is_asked_about_and_a_container_killed_while_it_starts_is_named(
    podman: Podman, tmp_path: Path
) -> None:
    def file(length: int) -> Path:
        flags = ["--enforce-eager", "--kv-cache-memory-bytes=67108864", f"--max-model-len={length}"]
        serve = {"pipeline_parallel": 2, "ready_timeout": 400, "extra_flags": flags}
        return podman.cluster_file(tmp_path / f"{length}.toml", serve=serve, gpus=1)

    first, second = file(512), file(256)
    try:
        walked = await walk(first, tmp_path / "first", STEPS)
        assert walked.verdicts["curl"].passed, walked.told("serve")
        refused = await walk(second, tmp_path / "second", STEPS)
        assert refused.failing("serve") == {"vLLM@node-a"}
        assert "--max-model-len: 512 -> 256" in refused.told("serve")
        assert [key for step, _, key in refused.ran if step == "serve" and key in ("clear", "launch")] == []

        seen: list[str] = []

        def kill(event: ev.AnyEvent) -> None:
            if isinstance(event, ev.CommandStarted) and (event.step, event.key) == ("serve", "log"):
                seen.append(podman.docker("a", "kill -s KILL milepost-real-hosts-node-a"))

        killed = await walk(second, tmp_path / "third", STEPS, {"differs": "restart"}, kill)
        assert seen
        assert "container@node-a" in killed.failing("serve")
        told = killed.told("serve")
        assert "has ended with exit code 137" in told
    finally:
        down(first, podman.bed.home)
