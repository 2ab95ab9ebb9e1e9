"""Containers on hosts with SIMULATED RDMA cards: what they get, what is seen inside, and what a person is shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.real.rdma import card
from tests.real_docker.podman import Podman
from tests.real_docker.walking import Walked, walk

pytestmark = [pytest.mark.real_hosts, pytest.mark.long, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def classes(podman: Podman) -> dict[str, Path]:
    """By host: the folder that is its /sys/class."""
    return {name: card(podman.bed, name) for name in ("a", "b")}


async def ready(podman: Podman, classes: dict[str, Path], folder: Path, rdma: str = "auto") -> Walked:
    file = podman.cluster_file(folder / "milepost.toml", serve={"pipeline_parallel": 2}, rdma=rdma)
    # A container has the real /sys, which has no cards here.
    seen = f'extra_flags = ["-v", "{classes["a"]}:/sys/class:ro", '
    file.write_text(file.read_text().replace("extra_flags = [", seen))
    return await walk(file, folder / "walk", ("docker_ready",))


async def test_containers_get_the_devices_and_gids_and_it_is_shown(
    podman: Podman, classes: dict[str, Path], tmp_path: Path
) -> None:
    walked = await ready(podman, classes, tmp_path)
    told = walked.told("docker_ready")
    print(told)
    assert (
        "RDMA [node-a] True: 2 of 2 RDMA devices can be opened in the container, 5 GIDs can be seen" in told
    )
    # Where memory may not be locked without limit, the gate stays shut: RDMA could pin none.
    assert walked.failing("docker_ready") in (set(), {"memlock@node-a", "memlock@node-b"})
    shown = walked.shown["docker_ready", "node-a", "inside"]
    assert "--device=/dev/infiniband --cap-add=IPC_LOCK" in shown


async def test_that_they_are_switched_off_is_told(
    podman: Podman, classes: dict[str, Path], tmp_path: Path
) -> None:
    walked = await ready(podman, classes, tmp_path, rdma="off")
    told = walked.told("docker_ready")
    print(told)
    assert 'docker.rdma = "off": NCCL will use TCP, though the node has 2 RDMA devices' in told
    assert walked.verdicts["docker_ready"].passed
