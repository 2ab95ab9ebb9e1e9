"""Real `ray start` in containers on two hosts: started, found again, asked, ended; nothing else touched."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.real.walks import down
from tests.real_docker.podman import IMAGE, WITHOUT_RAY, Podman
from tests.real_docker.walking import TO_RAY, Walked, walk
from wizard_steps.cluster.file import load
from wizard_steps.node import docker

pytestmark = [pytest.mark.real_hosts, pytest.mark.timeout(1200)]

HEAD, WORKER = "milepost-real-hosts-node-a", "milepost-real-hosts-node-b"
#: Without Ray every node runs as many ranks as the others.
TWO: dict[str, object] = {"pipeline_parallel": 2}


def ended(podman: Podman, file: Path) -> subprocess.CompletedProcess[str]:
    return down(file, podman.bed.home)


async def test_two_hosts_to_ray_status_again_after_losses_and_down(podman: Podman, tmp_path: Path) -> None:
    file = podman.cluster_file(tmp_path / "milepost.toml", ray_table={"auth": "token"})
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
        assert HEAD in names[0]
        assert {"stranger", WORKER} <= set(names[1])

        _only_its_users_can_read_the_token(podman, first)

        again = await walk(file, tmp_path / "again", ("preflight", *TO_RAY[:-1]))
        assert "running, started by milepost on every node" in again.told("preflight")
        assert again.verdicts["workers"].passed, again.told("workers")
        assert [what for what in again.ran if what[2] == "launch"] == []
        assert "already running, and ours" in again.told("head")

        other = podman.cluster_file(tmp_path / "other.toml", image=WITHOUT_RAY, ray="none", serve=TWO)
        changed = await walk(other, tmp_path / "changed", ("head",))
        assert changed.failing("head") == {"container@node-a"}
        assert "milepost down" in changed.told("head")

        await _what_was_lost_is_told_and_comes_back_in_the_same_walk(podman, tmp_path, file)

        # The shown commands are whole: pasted on the host, the same container runs, and `down` finds it.
        podman.docker("a", f"rm -f {HEAD}")
        podman.bed.run("a", first.shown["head", "node-a", "launch"])
        status = first.shown["ray_status", "node-a", "status"]
        until = (
            f"for i in $(seq 60); do {status} 2>/dev/null | grep -q 'Total Usage' && break; sleep 0.5; done"
        )
        assert "Total Usage" in podman.bed.run("a", f"{until}; {status}", timeout=120).stdout

        done = ended(podman, file)
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stdout.count("removed 1 container(s)") == 2
        forgotten = podman.bed.run("a", f"ls {_token_of('a')}", check=False)
        assert forgotten.returncode != 0, "down forgets the token"
        assert podman.docker("a", "ps -aq") == ""
        kept = podman.bed.run("a", "cat /root/.milepost/real-hosts/node-a/container.log").stdout
        assert "Ray runtime started." in kept
        assert podman.docker("b", "ps -a --format '{{.Names}}'").split() == ["stranger"]
        assert ended(podman, file).stdout.count("removed 1 container(s)") == 0
    finally:
        ended(podman, file)
        podman.docker("b", "rm -f stranger", check=False)
        for name in podman.bed.names:
            # What the lives of these containers said would be read as the logs of others.
            podman.bed.run(name, "rm -rf /root/.milepost")


def _token_of(name: str) -> str:
    """Each node keeps its state in a folder of its own: a home may be shared."""
    return f"/root/.milepost/real-hosts/node-{name}/ray_token"


def _only_its_users_can_read_the_token(podman: Podman, walked: Walked) -> None:
    """One secret in every container, and nowhere else."""
    paths = {name: _token_of(name) for name in podman.bed.names}
    tokens = [podman.bed.run(name, f"stat -c %a {path}; cat {path}").stdout for name, path in paths.items()]
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


async def _what_was_lost_is_told_and_comes_back_in_the_same_walk(
    podman: Podman, tmp_path: Path, file: Path
) -> None:
    """Containers that somebody removed, killed or restarted between two walks."""
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
