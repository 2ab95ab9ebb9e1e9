"""A line that is lost without a word: only unanswered keepalives tell."""

from __future__ import annotations

import time
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


def the_next_walk_finds_all(pair: Hosts, file: Path, folder: Path) -> None:
    second = to_ray_status(pair, file, folder)
    assert ("head", "node-a") not in launched(second)
    raylets = [line for line in pair.processes("b").values() if "raylet/raylet" in line.split(" ")[0]]
    assert len(raylets) == 1
    assert down(file, pair.home).returncode == 0


@pytest.mark.long  # in short: tests/ssh/test_connection.py, a host that falls silent
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
    the_next_walk_finds_all(pair, file, tmp_path / "second")


@pytest.mark.long
def test_minutes_without_a_packet_and_the_usual_keepalive(pair: Hosts, tmp_path: Path) -> None:
    """A firewall drops all that comes for the node's SSH, for more than two minutes: the link itself is up."""
    file = pair.cluster_file(path=tmp_path / "milepost.toml", settle=2)
    with HeadlessWalk(file, tmp_path / "first", pair.home) as walk:
        walk.until_started("workers", 240)
        began = time.monotonic()
        pair.network.drop("b", "iifname eth0")
        shut = walk.until_shut("workers", 400)
        walk.wait(60)
    assert "node-b" in told(shut)
    time.sleep(max(0.0, 150 - (time.monotonic() - began)))
    pair.network.heal("b")
    the_next_walk_finds_all(pair, file, tmp_path / "second")
    assert not any("raylet" in line for line in pair.processes("b").values())
