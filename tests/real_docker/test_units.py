"""`milepost enable` on the Docker path: units of real systemd that start podman's containers on two hosts, with
real vLLM on CPU in them, over Ray and without. GPUs are SIMULATED."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.requirements import require
from tests.real.hosts import Hosts
from tests.real.walks import environment, milepost
from tests.real_docker.conftest import obstacle_of_podman
from tests.real_docker.podman import IMAGE, WITHOUT_RAY, Podman
from wizard_steps.recording.journal import load
from wizard_steps.recording.state import fold

pytestmark = [pytest.mark.real_vllm, pytest.mark.long, pytest.mark.timeout(3600)]
KEY = "planted-key-of-the-container-units-0123"


@pytest.fixture(scope="module")
def booted() -> Iterator[Podman]:
    require(obstacle_of_podman())
    with Hosts(names=("a", "b"), gpus={"a": 1, "b": 1}, systemd=True) as bed, Podman(bed) as ready:
        yield ready


def said(podman: Podman, *words: str, limit: float = 3000) -> tuple[int, str]:
    done = subprocess.run(
        milepost(*words),
        env=environment(podman.bed.home, {"VLLM_API_KEY": KEY}),
        cwd=podman.bed.home,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=limit,
    )
    print(done.stdout[-9000:])
    return done.returncode, done.stdout


def services(podman: Podman, name: str) -> str:
    """Units and their files; without the name of a removed unit, which systemd may remember for a while."""
    listed = (
        "systemctl list-units --all --plain --no-legend 'milepost-*' | grep -v ' not-found '; "
        "ls /etc/systemd/system | grep milepost"
    )
    return podman.bed.run(name, listed, check=False).stdout


@pytest.mark.parametrize("way", ["mp", "ray"])
def test_services_start_the_containers_and_each_restart_brings_the_server_back(
    booted: Podman, tmp_path: Path, way: str
) -> None:
    image = IMAGE if way == "ray" else WITHOUT_RAY
    serve = {"pipeline_parallel": 2, "ready_timeout": 900, "executor": way, "api_key": True}
    file = booted.cluster_file(tmp_path / "milepost.toml", image, serve=serve, gpus=1)
    try:
        code, text = said(booted, "enable", str(file), "--walk", str(tmp_path / "walk"))
        assert code == 0, text[-9000:]
        verdict = fold(load(tmp_path / "walk").events).step("units").verdict
        assert verdict is not None
        proved = ["start", "server"] if way == "mp" else ["start", "workers", "head", "server"]
        assert [check.name for check in verdict.checks if check.name in proved] == proved
        again = fold(load(tmp_path / "walk-2").events)
        assert again.outcome == "passed"
        assert "milepost disable" in text.rpartition("The gates again")[2]
        for name in booted.bed.names:
            assert "running" in services(booted, name)
            assert f"milepost-real-hosts-node-{name}" in booted.docker(name, "ps --format '{{.Names}}'")
            assert KEY not in booted.bed.run(name, "cat /etc/systemd/system/milepost-*").stdout
            assert not [line for line in booted.bed.processes(name).values() if KEY in line]
        assert KEY not in text
    finally:
        code, text = said(booted, "disable", str(file))
    assert code == 0, text
    for name in booted.bed.names:
        assert services(booted, name) == ""
        assert booted.docker(name, "ps -aq") == ""
