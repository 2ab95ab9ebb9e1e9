"""The Docker path on Docker's own engine: GPUs refused, given by the hook; sent, walked, repaired, ended."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.requirements import require
from tests.real.walks import down
from tests.real_docker import dockerd
from tests.real_docker.dockerd import Dockerd
from tests.real_docker.podman import IMAGE, Podman
from tests.real_docker.walking import TO_RAY, walk

pytestmark = [pytest.mark.real_hosts, pytest.mark.long, pytest.mark.timeout(1200)]

WORKER = "milepost-real-hosts-node-b"


async def test_gpus_are_refused_and_the_gate_says_what_check_says(podman: Podman, tmp_path: Path) -> None:
    require(dockerd.obstacle())
    file = podman.cluster_file(tmp_path / "milepost.toml", command=dockerd.COMMAND)
    with Dockerd(podman) as engine:
        for name in podman.bed.names:
            engine.load(name)
        refused = await walk(file, tmp_path / "refused", ("preflight", "docker_ready"))
    told = refused.told("docker_ready")
    assert refused.failing("docker_ready") == {"container@node-a", "container@node-b"}, told
    newer = "failed to discover GPU vendor from CDI" in told  # Docker 29.3
    assert newer or "could not select device driver" in told, told
    assert "names no NVIDIA runtime, hook or CDI device: install nvidia-container-toolkit" in told
    assert "names no NVIDIA runtime, hook or CDI device" in refused.told("preflight")


async def test_with_the_runtime_it_walks_to_ray_and_back(podman: Podman, tmp_path: Path) -> None:
    require(dockerd.obstacle())
    flags = ["--runtime", "nvidia", "--gpus", "all"]
    file = podman.cluster_file(
        tmp_path / "milepost.toml", command=dockerd.COMMAND, send_image=True, gpu_flags=flags
    )
    with Dockerd(podman, hook=True) as engine:
        engine.load("a")
        engine.docker("b", f"rmi -f {IMAGE}", check=False)
        try:
            first = await walk(file, tmp_path / "first", ("preflight", *TO_RAY))
            assert first.verdicts["ray_status"].passed, first.told(next(reversed(first.verdicts)))
            assert {(node, key) for _, node, key in first.ran if key in ("pull", "send", "receive")} == {
                ("node-a", "send"),
                ("node-b", "receive"),
            }
            assert (
                engine.docker("b", f"inspect -f '{{{{.HostConfig.Runtime}}}}' {WORKER}").strip() == "nvidia"
            )
            assert "the NVIDIA runtime" not in first.told("preflight"), "nothing to say where it works"
            engine.docker("b", f"kill -s KILL {WORKER}")
            second = await walk(file, tmp_path / "second", TO_RAY)
            assert second.verdicts["ray_status"].passed, second.told(next(reversed(second.verdicts)))
            assert "exit code 137" in second.told("workers")
        finally:
            done = down(file, podman.bed.home)
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stdout.count("removed 1 container(s)") == 2
        assert [engine.docker(name, "ps -aq") for name in podman.bed.names] == ["", ""]
        assert IMAGE in engine.docker("b", "image ls --format '{{.Repository}}:{{.Tag}}'")


async def test_gpus_by_cdi(podman: Podman, tmp_path: Path) -> None:
    """``--gpus all`` from Docker 29.2 on; 25 and newer take the device's name. Nothing else brings nvidia-smi."""
    require(dockerd.obstacle())
    file = podman.cluster_file(tmp_path / "milepost.toml", command=dockerd.COMMAND)
    mount = f'"-v", "{dockerd.SMI}:{dockerd.SMI}:ro"'
    assert mount in file.read_text()
    file.write_text(file.read_text().replace(f"{mount}, ", "").replace(f", {mount}", ""))
    with Dockerd(podman, cdi=True) as engine:
        for name in podman.bed.names:
            engine.load(name)
        by_all, by_name = engine.release >= (29, 2), engine.release >= (25, 0)
        walked = await walk(file, tmp_path / "all", ("preflight", "docker_ready"))
        assert walked.verdicts["docker_ready"].passed is by_all, walked.told("docker_ready")
        if not by_all:
            hint = "nvidia.com/gpu=all" if by_name else "install nvidia-container-toolkit"
            assert hint in walked.told("docker_ready")
            assert hint in walked.told("preflight")
        text = file.read_text().replace(
            "[docker]\n", '[docker]\ngpu_flags = ["--device", "nvidia.com/gpu=all"]\n'
        )
        file.write_text(text)
        named = await walk(file, tmp_path / "name", ("preflight", "docker_ready"))
    assert named.verdicts["docker_ready"].passed is by_name, named.told("docker_ready")
    if not by_name:
        assert "takes no CDI devices" in named.told("docker_ready") + named.told("preflight")
