"""The Ray token on the Docker path: one secret in every container, and nowhere else."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.real.walks import down
from tests.real_docker.podman import Podman
from tests.real_docker.walking import TO_RAY, walk
from wizard_steps.cluster.file import load
from wizard_steps.node import docker

pytestmark = [pytest.mark.real_hosts, pytest.mark.timeout(600)]


def token_of(name: str) -> str:
    """Each node keeps its state in a folder of its own: a home may be shared."""
    return f"/root/.milepost/real-hosts/node-{name}/ray_token"


async def test_containers_share_a_token_that_only_their_users_can_read(
    podman: Podman, tmp_path: Path
) -> None:
    file = podman.cluster_file(tmp_path / "milepost.toml", ray_table={"auth": "token"})
    cluster = load(file)
    names = [docker.container(cluster, node) for node in cluster.node_list]
    try:
        walked = await walk(file, tmp_path / "walk", TO_RAY)
        told = walked.told("ray_status")
        assert walked.verdicts["ray_status"].passed, told
        assert "2 nodes, 4 GPUs" in told
        tokens = [
            podman.bed.run(name, f"stat -c %a {token_of(name)}; cat {token_of(name)}").stdout
            for name in podman.bed.names
        ]
        mode, token = tokens[0].split()
        assert tokens[0] == tokens[1]
        assert mode == "600"
        assert len(token) == 64

        assert token.encode() not in walked.recorded()
        for name, container in zip(podman.bed.names, names, strict=True):
            shown = podman.docker(name, f"inspect {container}")
            assert "RAY_AUTH_MODE=token" in shown
            assert token not in shown
            assert token not in "\n".join(podman.bed.processes(name).values())
        stranger = f"exec -e RAY_AUTH_MODE=disabled {names[0]} ray status"
        assert "GPU" not in podman.docker("a", stranger, check=False)
        assert "4.0 GPU" in podman.docker("a", f"exec {names[0]} ray status")
    finally:
        done = down(file, podman.bed.home)
    assert done.returncode == 0
    assert podman.bed.run("a", f"ls {token_of('a')}", check=False).returncode != 0, "down forgets the token"
