"""A host that was rebooted between two walks: pids begin anew, and those that milepost noted are others' now."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.real.hosts import Hosts
from tests.real.walks import down, launched, to_ray_status

pytestmark = [pytest.mark.real_hosts, pytest.mark.timeout(600)]


@pytest.fixture
def pair(possible: None) -> Iterator[Hosts]:
    """Hosts of its own: they are switched off."""
    with Hosts(names=("a", "b")) as made:
        yield made


def cluster_file(bed: Hosts, folder: Path) -> Path:
    return bed.cluster_file(path=folder / "milepost.toml", settle=2)


def test_a_rebooted_worker_is_started_again_and_nothing_of_others_is_ended(
    pair: Hosts, tmp_path: Path
) -> None:
    file = cluster_file(pair, tmp_path)
    to_ray_status(pair, file, tmp_path / "first")
    pair.reboot("b")
    # A host of the bed shares this machine's kernel; after a real reboot the kernel says another id.
    pair.run(
        "b",
        "cat /proc/sys/kernel/random/uuid > /tmp/boot && mount --bind /tmp/boot /proc/sys/kernel/random/boot_id",
    )
    # What milepost noted of its processes is still in the home, and such pids may be others' now.
    pair.run("b", "for n in $(seq 40); do setsid sleep 2000 </dev/null >/dev/null 2>&1 & done")
    strangers = [pid for pid, line in pair.processes("b").items() if "2000" in line]
    assert strangers
    second = to_ray_status(pair, file, tmp_path / "second")
    assert [step for step, node in launched(second) if node == "node-b"] == ["workers"]
    assert ("head", "node-a") not in launched(second)
    assert down(file, pair.home).returncode == 0
    assert set(strangers) <= set(pair.processes("b"))
