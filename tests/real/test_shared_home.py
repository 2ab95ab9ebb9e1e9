"""All nodes with one home, as on NFS; and a head that is lost: its workers come back in the same walk."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.real.hosts import Hosts
from tests.real.test_walk import ray_processes, to_ray_status
from tests.real.walks import HeadlessWalk, down, told

pytestmark = [pytest.mark.real_hosts, pytest.mark.timeout(600)]


@pytest.fixture
def shared(bed: Hosts) -> Iterator[Path]:
    """One folder as ~/.milepost of every host."""
    folder = bed.folder / "shared-state"
    folder.mkdir()
    for name in bed.names:
        bed.run(name, "mkdir -p /root/.milepost")
        bed.mount_over(name, folder, "/root/.milepost")
    yield folder
    for name in bed.names:
        bed.unmount(name, "/root/.milepost")
        bed.clear(name)


def launched(walk: HeadlessWalk) -> list[tuple[str, str, str]]:
    started = [e for e in walk.events() if e["event"] == "command-started"]
    return [(e["step"], e["node"], e["key"]) for e in started if e["key"] in ("launch", "clear")]


def test_one_home_for_all_nodes_twice_and_down(bed: Hosts, tmp_path: Path, shared: Path) -> None:
    file = bed.cluster_file(path=tmp_path / "milepost.toml", settle=2)
    to_ray_status(bed, file, tmp_path / "first")
    assert [ray_processes(bed, name) for name in bed.names] == [1, 1, 1]
    logs = sorted(path.parent.name for path in shared.glob("*/*/ray.log"))
    assert logs == ["node-a", "node-b", "node-c"]

    again = to_ray_status(bed, file, tmp_path / "again")
    assert [what for what in launched(again) if what[0] in ("head", "workers")] == []

    ended = down(file, bed.home)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    for name in bed.names:
        assert bed.left(name) == {}, f"{name} still runs something"
    assert not list(shared.glob("*/*/*.pid"))


@pytest.mark.long
def test_a_lost_head_brings_its_workers_back_in_the_same_walk(bed: Hosts, tmp_path: Path) -> None:
    file = bed.cluster_file(path=tmp_path / "milepost.toml", settle=2)
    try:
        to_ray_status(bed, file, tmp_path / "first")
        bed.clear("a")
        second = to_ray_status(bed, file, tmp_path / "second")
        # A raylet without its head may have ended by itself meanwhile: then there is nothing to clear.
        assert {("workers", "node-b", "launch"), ("workers", "node-c", "launch")} <= set(launched(second))
        assert "3 nodes, 6 GPUs" in told(second.until_judged("ray_status", 1))
    finally:
        down(file, bed.home)
        for name in bed.names:
            bed.clear(name)
