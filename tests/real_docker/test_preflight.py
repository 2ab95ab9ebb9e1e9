"""Preflight on the Docker path: with nothing there yet, and over our own containers."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.real.walks import down
from tests.real_docker.podman import Podman
from tests.real_docker.walking import walk

pytestmark = [pytest.mark.real_hosts, pytest.mark.timeout(600)]

STEPS = ("ip", "smi", "docker_ready", "head", "workers")


async def test_before_anything_runs_and_while_our_own_containers_do(podman: Podman, tmp_path: Path) -> None:
    file = podman.cluster_file(tmp_path / "milepost.toml")
    try:
        before = await walk(file, tmp_path / "before", ("preflight",))
        assert before.verdicts["preflight"].passed, before.told("preflight")
        started = await walk(file, tmp_path / "started", STEPS)
        assert started.verdicts["workers"].passed, started.told("workers")
        again = await walk(file, tmp_path / "again", ("preflight",))
        assert again.verdicts["preflight"].passed, again.told("preflight")
        assert "running, started by milepost on every node" in again.told("preflight")
    finally:
        down(file, podman.bed.home)
    print(before.told("preflight"))
