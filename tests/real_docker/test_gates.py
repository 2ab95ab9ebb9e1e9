"""The gate before any container starts, against real engines: podman, and a docker client without one."""

from __future__ import annotations

import resource
import subprocess
from pathlib import Path

import pytest

from tests.real_docker.podman import CLIENT, ENGINELESS, IMAGE, WITHOUT_RAY, Podman
from tests.real_docker.walking import Walked, walk

pytestmark = [pytest.mark.real_hosts, pytest.mark.timeout(180)]


async def ready(
    podman: Podman, tmp_path: Path, answers: dict[str, str] | None = None, **docker: object
) -> Walked:
    image = str(docker.pop("image", IMAGE))
    serve: dict[str, object] = {"pipeline_parallel": 2}
    file = podman.cluster_file(tmp_path / "milepost.toml", image, serve, **docker)
    return await walk(file, tmp_path / "walk", ("docker_ready",), answers)


def docker_client() -> str:
    """Docker's own client, which has no engine in the hosts of the bed."""
    done = (
        subprocess.run([CLIENT, "--version"], capture_output=True, text=True)
        if Path(CLIENT).exists()
        else None
    )
    if done is None or not done.stdout.startswith("Docker version"):
        pytest.skip("no docker client of docker's own on this machine")
    return ENGINELESS


async def test_one_image_on_both_hosts_with_its_limits_seen_inside(podman: Podman, tmp_path: Path) -> None:
    walked = await ready(podman, tmp_path)
    told = walked.told("docker_ready")
    assert walked.verdicts["docker_ready"].passed, told
    facts = walked.verdicts["docker_ready"].facts
    assert (facts["image"], facts["executor"]) == (IMAGE, "ray")
    assert set(facts["image_ids"]) == {"node-a", "node-b"}
    assert "0.2 GiB in the container" in told
    assert "2 in the container" in told
    assert [podman.docker(name, "ps -aq") for name in ("a", "b")] == ["", ""]


async def test_no_docker(podman: Podman, tmp_path: Path) -> None:
    walked = await ready(podman, tmp_path, command="/opt/none/docker")
    assert walked.failing("docker_ready") == {"docker@node-a", "docker@node-b"}
    assert "install docker on that node" in walked.told("docker_ready")


async def test_a_client_without_an_engine(podman: Podman, tmp_path: Path) -> None:
    walked = await ready(podman, tmp_path, command=docker_client())
    assert walked.failing("docker_ready") == {"docker@node-a", "docker@node-b"}
    assert "Cannot connect to the Docker daemon" in walked.told("docker_ready")
    assert "systemctl start docker" in walked.told("docker_ready")


async def test_no_permission_on_the_socket(podman: Podman, tmp_path: Path) -> None:
    """A socket that only root may open, and a user who is not root: the client's own words."""
    client = docker_client()
    listener = (
        "import socket,os,time\ns=socket.socket(socket.AF_UNIX)\ns.bind('/run/engine.sock')\n"
        "os.chmod('/run/engine.sock', 0o600)\ns.listen()\ntime.sleep(120)\n"
    )
    for name in ("a", "b"):
        podman.bed.run(name, f'setsid python3 -c "{listener}" >/dev/null 2>&1 &')
        podman.bed.run(name, "while [ ! -e /run/engine.sock ]; do sleep 0.05; done")
    try:
        user = "setpriv --reuid 65534 --regid 65534 --clear-groups"
        walked = await ready(
            podman, tmp_path, command=f"{user} env HOME=/tmp DOCKER_HOST=unix:///run/engine.sock {client}"
        )
    finally:
        for name in ("a", "b"):
            podman.bed.kill(name, "engine.sock")
    assert walked.failing("docker_ready") == {"docker@node-a", "docker@node-b"}
    assert "permission denied" in walked.told("docker_ready")
    assert "usermod -aG docker" in walked.told("docker_ready")


async def test_podman_that_gave_no_gpu_and_too_little_shared_memory(podman: Podman, tmp_path: Path) -> None:
    """Podman takes --gpus all and does nothing; without the bed's nvidia-smi that is what is seen. A flag of
    one's own takes the shared memory."""
    file = podman.cluster_file(tmp_path / "milepost.toml", shm_size="256m")
    text = file.read_text().replace('"-v", "/usr/local/bin/nvidia-smi:/usr/local/bin/nvidia-smi:ro", ', "")
    file.write_text(text.replace('extra_flags = ["-v"', 'extra_flags = ["--shm-size", "64m", "-v"'))
    walked = await walk(file, tmp_path / "walk", ("docker_ready",))
    names = {f"{name}@node-{node}" for name in ("GPUs", "/dev/shm") for node in ("a", "b")}
    assert walked.failing("docker_ready") == names
    assert "nvidia.com/gpu=all" in walked.told("docker_ready")
    assert "0.1 GiB in the container" in walked.told("docker_ready")


async def test_a_container_user_that_may_not_write_the_folders_of_the_node(
    podman: Podman, tmp_path: Path
) -> None:
    """As root of a container may not on NFS with root_squash: nobody in place of root."""
    file = podman.cluster_file(tmp_path / "milepost.toml")
    file.write_text(file.read_text().replace('extra_flags = ["-v"', 'extra_flags = ["--user", "65534", "-v"'))
    walked = await walk(file, tmp_path / "walk", ("docker_ready",))
    names = {f"{name}@node-{node}" for name in ("logs", "compiled") for node in ("a", "b")}
    assert walked.failing("docker_ready") == names, walked.told("docker_ready")
    assert "read-only for" in walked.told("docker_ready")


async def test_a_limit_the_engine_may_not_raise(podman: Podman, tmp_path: Path) -> None:
    if resource.getrlimit(resource.RLIMIT_MEMLOCK)[1] == resource.RLIM_INFINITY:
        pytest.skip("this machine may lock all memory: nothing is refused")
    walked = await ready(podman, tmp_path, ulimits=["memlock=-1"])
    if walked.verdicts["docker_ready"].passed:
        pytest.skip("this machine may raise its own limits")
    assert walked.failing("docker_ready") == {"container@node-a", "container@node-b"}
    assert "docker.ulimits" in walked.told("docker_ready")


async def test_unlike_digests_of_one_name(podman: Podman, tmp_path: Path) -> None:
    podman.reimport("b", IMAGE)
    try:
        walked = await ready(podman, tmp_path)
    finally:
        podman.reload("b")
    assert walked.failing("docker_ready") == {"image@node-b"}
    assert "IMAGE@sha256:" in walked.told("docker_ready")


async def test_an_image_that_can_be_had_nowhere(podman: Podman, tmp_path: Path) -> None:
    walked = await ready(podman, tmp_path, image="localhost:9/nobody/has-this:1")
    assert walked.failing("docker_ready") == {"pull@node-a", "pull@node-b"}
    assert "does not reach the registry" in walked.told("docker_ready")


async def test_without_ray_there_are_three_ways(podman: Podman, tmp_path: Path) -> None:
    """Another image; Ray added to this one by a real `docker build` (its pip is SIMULATED); no Ray at all."""
    for way in ("image", "build", "none"):
        folder = tmp_path / way
        folder.mkdir()
        answers = {"without-ray": way, "image": IMAGE}
        walked = await ready(podman, folder, answers, image=WITHOUT_RAY)
        told = walked.told("docker_ready")
        assert walked.verdicts["docker_ready"].passed, told
        assert walked.asked == (["without-ray", "image"] if way == "image" else ["without-ray"])
        facts = walked.verdicts["docker_ready"].facts
        assert facts["executor"] == ("mp" if way == "none" else "ray")
        if way == "build":
            built = facts["image"]
            assert built.startswith("localhost/milepost/vllm-ray:")
            assert {node for _, node, key in walked.ran if key == "build-2"} == {"node-a", "node-b"}
            assert "built from localhost/milepost-test:no-ray@" in told
