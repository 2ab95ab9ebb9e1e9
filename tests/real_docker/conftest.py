"""Two hosts with podman, for a whole session. Skipped without root or podman; with MILEPOST_REQUIRE_REAL=1
they fail instead."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.requirements import require
from tests.real.conftest import obstacle
from tests.real.hosts import Hosts
from tests.real_docker.podman import SHIM, Podman


def obstacle_of_podman() -> str:
    path = "/usr/sbin:/usr/bin:/sbin:/bin"
    missing = [tool for tool in ("podman", "runc") if not shutil.which(tool, path=path)]
    if missing or not Path(SHIM).exists():
        return f"missing {', '.join(missing) or SHIM}; run .ci/setup-podman"
    return obstacle()


@pytest.fixture(scope="session")
def podman() -> Iterator[Podman]:
    require(obstacle_of_podman())
    with Hosts(names=("a", "b")) as bed, Podman(bed) as ready:
        yield ready
