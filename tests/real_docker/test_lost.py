"""Containers that somebody ended, restarted or built anew between two walks: told, and set right in one walk."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.real.walks import down, environment, milepost
from tests.real_docker.podman import IMAGE, Podman
from tests.real_docker.walking import TO_RAY, walk

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
    first = await walk(file, tmp_path / "first", TO_RAY)
    assert first.verdicts["ray_status"].passed, first.told("ray_status")

    podman.docker("a", f"rm -f {HEAD}")
    second = await walk(file, tmp_path / "second", TO_RAY)
    assert second.verdicts["ray_status"].passed, second.told("workers") + second.told("ray_status")
    cleared = [(step, node) for step, node, key in second.ran if key == "clear"]
    assert cleared == [("workers", "node-b")], "its Ray hung on the head that is gone"

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


async def test_a_tag_that_has_moved_is_seen(podman: Podman, tmp_path: Path, file: Path) -> None:
    steps = ("ip", "docker_ready", "head")
    first = await walk(file, tmp_path / "first", steps)
    assert first.verdicts["head"].passed, first.told("head")
    try:
        podman.docker("a", f"tag {IMAGE} localhost/before:1")
        podman.docker("b", f"tag {IMAGE} localhost/before:1")
        for name in ("a", "b"):
            podman.docker(name, f"run --name changed {IMAGE} true", check=False)
            podman.docker(name, f"commit changed {IMAGE}")
            podman.docker(name, "rm -f changed")
        moved = await walk(file, tmp_path / "moved", steps)
        verdict = moved.verdicts.get("head") or moved.verdicts["docker_ready"]
        assert not verdict.passed
        assert "image" in " ".join(check.found + check.name for check in verdict.failures)
    finally:
        for name in ("a", "b"):
            podman.docker(name, f"tag localhost/before:1 {IMAGE}", check=False)


async def test_another_ray_beside_ours_is_not_ours(podman: Podman, tmp_path: Path, file: Path) -> None:
    first = await walk(file, tmp_path / "first", ("ip", "docker_ready", "head"))
    assert first.verdicts["head"].passed, first.told("head")
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


async def test_diagnose_from_fetches_the_logs_of_the_containers(
    podman: Podman, tmp_path: Path, file: Path
) -> None:
    """Also of one that has ended: its output is kept by the engine."""
    first = await walk(file, tmp_path / "first", ("ip", "docker_ready", "head"))
    assert first.verdicts["head"].passed, first.told("head")
    words = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB"
    podman.docker("a", f"exec {HEAD} sh -c 'echo {words} > /proc/1/fd/1'")
    for state in ("runs", "has ended"):
        done = subprocess.run(  # noqa: ASYNC221  # nothing else runs meanwhile
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
