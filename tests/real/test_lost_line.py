"""A line that is lost without a word: only unanswered keepalives tell."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.real.hosts import Hosts
from tests.real.walks import HeadlessWalk, down, launched, to_ray_status, told

pytestmark = [pytest.mark.real_hosts, pytest.mark.timeout(600)]


@pytest.fixture
def pair(possible: None) -> Iterator[Hosts]:
    """Hosts of its own: they are switched off."""
    with Hosts(names=("a", "b")) as made:
        yield made


def cluster_file(bed: Hosts, folder: Path) -> Path:
    file = bed.cluster_file(path=folder / "milepost.toml", settle=2)
    file.write_text(file.read_text().replace("[ssh]\n", "[ssh]\nkeepalive = 1\n"))
    return file


def test_a_pulled_cable_is_told_by_the_keepalive_and_the_next_walk_finds_all(
    pair: Hosts, tmp_path: Path
) -> None:
    """No packet says that the line is dead: only unanswered keepalives do."""
    file = cluster_file(pair, tmp_path)
    with HeadlessWalk(file, tmp_path / "first", pair.home) as walk:
        walk.until_started("workers", 240)
        pair.network.link("b", "eth0", "down")
        shut = walk.until_shut("workers", 240)
        walk.wait(60)
    assert "node-b" in told(shut)
    pair.network.heal("b")
    second = to_ray_status(pair, file, tmp_path / "second")
    assert ("head", "node-a") not in launched(second)
    raylets = [line for line in pair.processes("b").values() if "raylet/raylet" in line.split(" ")[0]]
    assert len(raylets) == 1
    assert down(file, pair.home).returncode == 0
