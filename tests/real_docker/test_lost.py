"""What others do beside our containers: a tag that moves, a Ray, a milepost of another name."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.real.walks import down, environment, milepost
from tests.real_docker.podman import IMAGE, Podman, mounts
from tests.real_docker.walking import walk

pytestmark = [pytest.mark.real_hosts, pytest.mark.timeout(900)]

HEAD = "milepost-real-hosts-node-a"


@pytest.fixture
def file(podman: Podman, tmp_path: Path) -> Iterator[Path]:
    made = podman.cluster_file(tmp_path / "milepost.toml")
    yield made
    down(made, podman.bed.home)


@contextmanager
def _stranger(podman: Podman, name: str, port: int) -> Iterator[None]:
    """Somebody's container on host a that listens on ``port`` of the host."""
    listen = f"import socket, time; s = socket.create_server(('', {port})); time.sleep(600)"
    podman.docker(
        "a", f'run -d --name {name} --network host {" ".join(mounts())} {IMAGE} python3 -c "{listen}"'
    )
    up = f"until grep -q ':{port:04X} 0*:0000 0A ' /proc/net/tcp /proc/net/tcp6; do sleep 0.1; done"
    try:
        podman.bed.run("a", up)
        yield
    finally:
        podman.docker("a", f"rm -f {name}", check=False)


@pytest.mark.long
async def test_what_others_do_while_our_head_runs(podman: Podman, tmp_path: Path, file: Path) -> None:
    with _stranger(podman, "redis-of-bob", 6379):
        taken = await walk(file, tmp_path / "redis", ("head",))
        assert taken.failing("head") == {"port@node-a"}
        assert "port 6379 is taken" in taken.told("head")
        assert "redis-of-bob, which listens on port 6379" in taken.told("head")
        assert "`docker stop redis-of-bob` ends that container" in taken.told("head")
    first = await walk(file, tmp_path / "first", ("ip", "docker_ready", "head"))
    assert first.verdicts["head"].passed, first.told("head")
    with _stranger(podman, "web-of-bob", 8000):
        taken = await walk(file, tmp_path / "web", ("ip", "docker_ready", "head", "serve"))
        assert taken.failing("serve") == {"port@node-a"}, taken.told("serve")
        assert "port 8000 is taken" in taken.told("serve")
        assert "web-of-bob, which listens on port 8000" in taken.told("serve")
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
