"""Real `ray start` in containers on two hosts: started, found again, asked, ended; nothing else touched."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.real.walks import down
from tests.real_docker.podman import IMAGE, WITHOUT_RAY, Podman
from tests.real_docker.walking import TO_RAY, walk
from wizard_steps.cluster.file import load
from wizard_steps.node import docker

pytestmark = [pytest.mark.real_hosts, pytest.mark.timeout(600)]

#: Without Ray every node runs as many ranks as the others.
TWO: dict[str, object] = {"pipeline_parallel": 2}


def ended(podman: Podman, file: Path) -> subprocess.CompletedProcess[str]:
    return down(file, podman.bed.home)


async def test_two_hosts_to_ray_status_then_again_and_down(podman: Podman, tmp_path: Path) -> None:
    file = podman.cluster_file(tmp_path / "milepost.toml")
    podman.docker("b", f"run -d --name stranger {IMAGE} sleep 600")
    try:
        first = await walk(file, tmp_path / "first", ("preflight", *TO_RAY))
        assert first.verdicts["preflight"].passed, first.told("preflight")
        told = first.told("ray_status")
        assert first.verdicts["ray_status"].passed, told
        assert "2 nodes, 4 GPUs, stable for 4 s" in told
        own = podman.bed.network.fabric_ip("b")
        script = f'--worker "$HOME"/.cache/huggingface -e VLLM_HOST_IP={own}'
        assert script in first.told("workers")
        # Every SSH connection of that walk is closed: what it started goes on.
        names = [podman.docker(name, "ps --format '{{.Names}}'").split() for name in ("a", "b")]
        assert "milepost-real-hosts-node-a" in names[0]
        assert {"stranger", "milepost-real-hosts-node-b"} <= set(names[1])

        again = await walk(file, tmp_path / "again", ("preflight", *TO_RAY[:-1]))
        assert "running, started by milepost on every node" in again.told("preflight")
        assert again.verdicts["workers"].passed, again.told("workers")
        assert [what for what in again.ran if what[2] == "launch"] == []
        assert "already running, and ours" in again.told("head")

        other = podman.cluster_file(tmp_path / "milepost.toml", image=WITHOUT_RAY, ray="none", serve=TWO)
        changed = await walk(other, tmp_path / "changed", ("head",))
        assert changed.failing("head") == {"container@node-a"}
        assert "milepost down" in changed.told("head")

        done = ended(podman, file)
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stdout.count("removed 1 container(s)") == 2
        assert podman.docker("a", "ps -aq") == ""
        kept = podman.bed.run("a", "cat /root/.milepost/real-hosts/node-a/container.log").stdout
        assert "Ray runtime started." in kept
        assert podman.docker("b", "ps -a --format '{{.Names}}'").split() == ["stranger"]
        assert ended(podman, file).stdout.count("removed") == 0

        # The shown commands are whole: pasted on the host, the same container runs, and `down` finds it.
        podman.bed.run("a", first.shown["head", "node-a", "launch"])
        status = first.shown["ray_status", "node-a", "status"]
        until = (
            f"for i in $(seq 60); do {status} 2>/dev/null | grep -q 'Total Usage' && break; sleep 0.5; done"
        )
        assert "Total Usage" in podman.bed.run("a", f"{until}; {status}", timeout=120).stdout
        assert ended(podman, file).stdout.count("removed 1 container(s)") == 1
    finally:
        ended(podman, file)
        podman.docker("b", "rm -f stranger", check=False)


async def test_a_name_that_is_taken_is_left_alone(podman: Podman, tmp_path: Path) -> None:
    file = podman.cluster_file(tmp_path / "milepost.toml")
    cluster = load(file)
    name = docker.container(cluster, cluster.head)
    podman.docker("a", f"run -d --name {name} {IMAGE} sleep 600")
    try:
        walked = await walk(file, tmp_path / "walk", ("head",))
        assert walked.failing("head") == {"container@node-a"}
        assert "milepost did not start it" in walked.told("head")
        assert ended(podman, file).returncode == 0
        assert podman.docker("a", "ps --format '{{.Names}}'").split() == [name]
    finally:
        podman.docker("a", f"rm -f {name}", check=False)


async def test_an_image_without_ray_in_spite_of_the_gate(podman: Podman, tmp_path: Path) -> None:
    """The container ends at once; its log says why, and the next start removes what is left of it."""
    file = podman.cluster_file(tmp_path / "milepost.toml", image=WITHOUT_RAY)
    try:
        walked = await walk(file, tmp_path / "walk", ("head",))
        assert walked.failing("head") == {"Ray@node-a"}
        assert "ray: command not found" in walked.told("head")
        other = podman.cluster_file(tmp_path / "other.toml", image=WITHOUT_RAY, ray="none", serve=TWO)
        after = await walk(other, tmp_path / "after", ("head",))
        assert after.verdicts["head"].passed, after.told("head")
    finally:
        ended(podman, file)
