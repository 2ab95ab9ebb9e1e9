"""Containers that somebody ended or restarted between two walks, and what others do beside ours."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.real.walks import down, environment, milepost
from tests.real_docker.podman import IMAGE, Podman
from tests.real_docker.walking import TO_RAY, Walked, walk

pytestmark = [pytest.mark.real_hosts, pytest.mark.timeout(900)]

HEAD, WORKER = "milepost-real-hosts-node-a", "milepost-real-hosts-node-b"


@pytest.fixture
def file(podman: Podman, tmp_path: Path) -> Iterator[Path]:
    made = podman.cluster_file(tmp_path / "milepost.toml")
    yield made
    down(made, podman.bed.home)


async def test_what_was_lost_is_told_and_comes_back_in_the_same_walk(
    podman: Podman, tmp_path: Path, file: Path
) -> None:
    podman.cluster_file(file, ray_table={"auth": "token"})
    first = await walk(file, tmp_path / "first", TO_RAY)
    assert first.verdicts["ray_status"].passed, first.told("ray_status")
    _only_their_users_can_read_the_token(podman, first)

    podman.docker("a", f"rm -f {HEAD}")
    second = await walk(file, tmp_path / "second", TO_RAY)
    assert second.verdicts["ray_status"].passed, second.told("workers") + second.told("ray_status")
    started = [(step, node) for step, node, key in second.ran if key == "launch"]
    # Its Ray hung on the head that is gone; on a busy machine it may have noticed that by itself, and ended.
    assert started == [("head", "node-a"), ("workers", "node-b")]

    podman.docker("b", f"kill -s KILL {WORKER}")
    third = await walk(file, tmp_path / "third", TO_RAY)
    assert third.verdicts["ray_status"].passed, third.told("ray_status")
    assert "exit code 137" in third.told("workers")
    assert any(check.warning for check in third.verdicts["workers"].checks)
    kept = podman.bed.run("b", "cat /root/.milepost/real-hosts/node-b/container.log").stdout
    assert "Ray runtime started." in kept
    assert b"state before removal: " in third.recorded()

    podman.docker("a", f"restart -t 5 {HEAD}")
    fourth = await walk(file, tmp_path / "fourth", TO_RAY)
    assert fourth.verdicts["ray_status"].passed, fourth.told("workers") + fourth.told("ray_status")
    assert down(file, podman.bed.home).returncode == 0
    assert podman.bed.run("a", f"ls {_token_of('a')}", check=False).returncode != 0, "down forgets the token"


def _token_of(name: str) -> str:
    """Each node keeps its state in a folder of its own: a home may be shared."""
    return f"/root/.milepost/real-hosts/node-{name}/ray_token"


def _only_their_users_can_read_the_token(podman: Podman, walked: Walked) -> None:
    """One secret in every container, and nowhere else."""
    tokens = [
        podman.bed.run(name, f"stat -c %a {_token_of(name)}; cat {_token_of(name)}").stdout
        for name in podman.bed.names
    ]
    mode, token = tokens[0].split()
    assert tokens[0] == tokens[1]
    assert mode == "600"
    assert len(token) == 64
    assert token.encode() not in walked.recorded()
    for name, container in zip(podman.bed.names, (HEAD, WORKER), strict=True):
        shown = podman.docker(name, f"inspect {container}")
        assert "RAY_AUTH_MODE=token" in shown
        assert token not in shown
        assert token not in "\n".join(podman.bed.processes(name).values())
    stranger = f"exec -e RAY_AUTH_MODE=disabled {HEAD} ray status"
    assert "GPU" not in podman.docker("a", stranger, check=False)
    assert "4.0 GPU" in podman.docker("a", f"exec {HEAD} ray status")


async def test_what_others_do_while_our_head_runs(podman: Podman, tmp_path: Path, file: Path) -> None:
    first = await walk(file, tmp_path / "first", ("ip", "docker_ready", "head"))
    assert first.verdicts["head"].passed, first.told("head")
    await _a_tag_that_moves_is_seen(podman, tmp_path, file)
    await _another_ray_is_not_ours(podman, tmp_path, file)
    await _another_cluster_is_named(podman, tmp_path)
    _diagnose_from_fetches_the_logs_of_the_containers(podman, file)


async def _a_tag_that_moves_is_seen(podman: Podman, tmp_path: Path, file: Path) -> None:
    try:
        podman.docker("a", f"tag {IMAGE} localhost/before:1")
        podman.docker("b", f"tag {IMAGE} localhost/before:1")
        for name in ("a", "b"):
            podman.docker(name, f"run --name changed {IMAGE} true", check=False)
            podman.docker(name, f"commit changed {IMAGE}")
            podman.docker(name, "rm -f changed")
        moved = await walk(file, tmp_path / "moved", ("ip", "docker_ready", "head"))
        verdict = moved.verdicts.get("head") or moved.verdicts["docker_ready"]
        assert not verdict.passed
        assert "image" in " ".join(check.found + check.name for check in verdict.failures)
    finally:
        for name in ("a", "b"):
            podman.docker(name, f"tag localhost/before:1 {IMAGE}", check=False)


async def _another_ray_is_not_ours(podman: Podman, tmp_path: Path, file: Path) -> None:
    podman.docker(
        "a", f"run -d --name ray-of-bob --network host {IMAGE} bash -c 'exec -a /x/raylet/raylet sleep 600'"
    )
    try:
        second = await walk(file, tmp_path / "second", ("reach", "preflight"))
        told = second.told("preflight")
        assert "raylet" in told, told
        assert "Ray, vLLM@node-a" in second.failing("preflight"), told
    finally:
        podman.docker("a", "rm -f ray-of-bob", check=False)


async def _another_cluster_is_named(podman: Podman, tmp_path: Path) -> None:
    """Of milepost, on the same hosts and ports, under another name."""
    other = podman.cluster_file(tmp_path / "other.toml")
    other.write_text(other.read_text().replace('name = "real-hosts"', 'name = "other"'))
    refused = await walk(other, tmp_path / "other", ("reach", "preflight"))
    assert "started by milepost for 'real-hosts'" in refused.told("preflight")
    taken = await walk(other, tmp_path / "taken", ("head",))
    assert taken.failing("head") == {"port@node-a"}
    assert "milepost runs the cluster 'real-hosts' here" in taken.told("head")
    assert HEAD in taken.told("head")


def _diagnose_from_fetches_the_logs_of_the_containers(podman: Podman, file: Path) -> None:
    """Also of one that has ended: its output is kept by the engine."""
    words = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB"
    podman.docker("a", f"exec {HEAD} sh -c 'echo {words} > /proc/1/fd/1'")
    for state in ("runs", "has ended"):
        done = subprocess.run(
            milepost("diagnose", "--from", str(file), "--explain"),
            capture_output=True,
            text=True,
            env=environment(podman.bed.home),
            stdin=subprocess.DEVNULL,
            timeout=120,
        )
        assert done.returncode == 1, (state, done.stdout + done.stderr)
        assert "1. gpu-memory on node-a" in done.stdout, state
        assert "node-a:container:" in done.stdout, state
        podman.docker("a", f"kill -s KILL {HEAD}", check=False)
