"""Faults planted on real hosts: real sshd, real Ray, a firewall that drops, processes killed for good.

Each test says which gate stays shut, how soon, and what a person is told. Times have generous bounds: they
are printed in a table at the end of the session, and they are what the README's table was made from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.real import vllm_env
from tests.real.faults import Together, Told, gate_shut, there_before
from tests.real.hosts import Hosts
from tests.real.walks import HeadlessWalk, down
from tests.real.wizard_side import ENV

pytestmark = [pytest.mark.real_hosts, pytest.mark.timeout(600)]

RAY = f"{vllm_env.MOUNTED_AT}/bin/ray"
LONG = f"RAY_raylet_start_wait_time_s={ENV['RAY_raylet_start_wait_time_s']}"
SMALL = "--num-cpus=1 --object-store-memory=100000000 --disable-usage-stats"


# ---- seen before Ray is started: one bed, a walk each


class Plain:
    """Walks over two hosts of the shared bed."""

    def __init__(self, bed: Hosts, folder: Path) -> None:
        self.bed = bed
        self.folder = folder
        self.file = bed.cluster_file(path=folder / "milepost.toml", nodes=("a", "b"))

    def there(self, fault: str) -> Told:
        """The fault is there before the walk."""
        return there_before(self.bed, self.file, self.folder / "walk", fault, 240)

    def after(self, step: str, fault: str, plant: Callable[[], object]) -> Told:
        """The fault comes when ``step`` has passed: too late for the first look to see it."""
        with HeadlessWalk(self.file, self.folder / "walk", self.bed.home) as walk:
            walk.until_passed(step, 120)
            plant()
            return gate_shut(walk, fault, 240)


@pytest.fixture
def plain(bed: Hosts, tmp_path: Path) -> Iterator[Plain]:
    """Leaves nothing of the walk or the fault behind."""
    walks = Plain(bed, tmp_path)
    yield walks
    for host in bed.names:
        bed.network.heal(host)
    ended = down(walks.file, bed.home)
    left = {host: bed.left(host) for host in bed.names}
    for host in bed.names:
        bed.clear(host)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert not any(left.values()), left


def test_ray_port_dropped_from_worker_to_head(bed: Hosts, plain: Plain) -> None:
    bed.network.drop("a", f"ip saddr {bed.network.fabric_ip('b')} tcp dport 6379")
    outcome = plain.there("firewall drops 6379, worker to head")
    assert (outcome.gate, outcome.code) == ("ip", 1)
    assert f"node-b reaches {bed.network.fabric_ip('a')}:6379" in outcome.words
    assert "dropped by a firewall" in outcome.words
    assert outcome.after < 60


@pytest.mark.long
def test_everything_dropped_from_head_to_worker(bed: Hosts, plain: Plain) -> None:
    bed.network.drop("b", f"ip saddr {bed.network.fabric_ip('a')} tcp flags & (syn | ack) == syn")
    outcome = plain.there("firewall drops head to worker")
    assert (outcome.gate, outcome.code) == ("ip", 1)
    assert f"node-a reaches {bed.network.fabric_ip('b')}" in outcome.words
    assert "dropped by a firewall" in outcome.words
    assert outcome.after < 60


def test_wrong_node_ip(bed: Hosts, tmp_path: Path) -> None:
    wrong = bed.network.fabric_ip("a").rsplit(".", 1)[0] + ".77"
    cluster_file = bed.cluster_file(path=tmp_path / "m.toml", nodes=("a", "b"), fabric={"b": wrong})
    outcome = there_before(bed, cluster_file, tmp_path / "walk", "wrong node IP")
    assert (outcome.gate, outcome.code) == ("preflight", 1)
    assert f"node-b address: {wrong}: no interface has this fabric_ip" in outcome.words
    assert bed.network.fabric_ip("b") in outcome.words
    assert outcome.after < 30


@pytest.mark.long
def test_stale_ray_of_an_earlier_run(bed: Hosts, plain: Plain) -> None:
    ip = bed.network.fabric_ip("a")
    try:
        bed.run(
            "a", f"{LONG} {RAY} start --head --port=6379 --node-ip-address={ip} --num-gpus=0 {SMALL}", 200
        )
        outcome = plain.there("stale Ray on the head")
        still = [line for line in bed.processes("a").values() if "gcs_server" in line]
    finally:
        bed.run("a", f"{RAY} stop --force", 100)
    assert (outcome.gate, outcome.code) == ("preflight", 1)
    assert "gcs_server" in outcome.words
    assert "already running" in outcome.words
    assert "6379 (Ray GCS)" in outcome.words
    assert outcome.after < 30
    assert len(still) == 1, "a Ray that is not milepost's must be left alone"


@pytest.mark.long
def test_other_ray_version_on_one_node(bed: Hosts, plain: Plain) -> None:
    """The node cannot reach a package index, so milepost cannot put the right one there either."""

    def swap() -> None:
        bed.mount_over("b", vllm_env.old_ray_venv(), vllm_env.MOUNTED_AT)

    try:
        outcome = plain.after("preflight", "other Ray version on one node", swap)
    finally:
        bed.unmount("b", vllm_env.MOUNTED_AT)
    assert (outcome.gate, outcome.code) == ("install", 1)
    assert f"node-b: {vllm_env.OLD_RAY} (the others: {vllm_env.RAY})" in outcome.words
    assert outcome.after < 100


@pytest.mark.long  # the lab has this fault, too
def test_disk_full_on_a_worker(bed: Hosts, plain: Plain) -> None:
    try:
        fault = "disk full where Ray keeps its session"
        outcome = plain.after("fabric", fault, lambda: bed.fill_disk("b", "/tmp"))
    finally:
        bed.free_disk("b", "/tmp")
    assert (outcome.gate, outcome.code) == ("workers", 1)
    assert "node-b" in outcome.words
    assert "No space left on device: /tmp has 0 MiB free" in outcome.words
    assert outcome.after < 200


@pytest.mark.long
def test_home_full_on_the_head(bed: Hosts, plain: Plain) -> None:
    try:
        fault = "disk full where milepost keeps its logs"
        outcome = plain.after("fabric", fault, lambda: bed.fill_disk("a", "/root"))
    finally:
        bed.free_disk("a", "/root")
    assert (outcome.gate, outcome.code) == ("head", 1)
    assert "No space left on device" in outcome.words
    assert outcome.after < 60


def test_a_host_that_is_gone_from_the_start(possible: None, tmp_path: Path) -> None:
    with Hosts(names=("a", "b")) as bed:
        cluster_file = bed.cluster_file()
        cluster_file.write_text(cluster_file.read_text().replace("[ssh]", "[ssh]\nconnect_timeout = 5.0"))
        bed.vanish("b")
        outcome = there_before(bed, cluster_file, tmp_path / "walk", "a host is gone at the start")
    assert (outcome.gate, outcome.code) == ("reach", 1)
    assert "1 of 2 nodes answer over SSH; not right: node-b" in outcome.words
    assert outcome.after < 30


# ---- seen only after a while: several beds at the same time


def joins_then_dies(bed: Hosts, folder: Path) -> Told:
    """The way back is closed after the IP gate proved it: the worker joins, and Ray then gives it up."""
    with HeadlessWalk(bed.cluster_file(settle=40), folder / "walk", bed.home) as walk:
        walk.until_passed("fabric", 240)
        bed.network.drop("b", f"ip saddr {bed.network.fabric_ip('a')} tcp flags & (syn | ack) == syn")
        walk.until_passed("workers", 400)
        since = walk.until_started("ray_status", 5)["t"]
        return gate_shut(walk, "joins, then dies (head cannot reach back)", 300, since)


def started_twice(bed: Hosts, folder: Path) -> Told:
    with HeadlessWalk(bed.cluster_file(settle=45), folder / "walk", bed.home) as walk:
        walk.until_passed("workers", 400)
        head = f"{bed.network.fabric_ip('a')}:6379"
        again = f"{RAY} start --address={head} --node-ip-address={bed.network.fabric_ip('b')} --num-gpus=2"
        since = walk.now()
        bed.run("b", f"{LONG} {again} {SMALL}", 300)
        return gate_shut(walk, "worker started twice", 300, since)


def raylet_killed(bed: Hosts, folder: Path) -> Told:
    with HeadlessWalk(bed.cluster_file(settle=45), folder / "walk", bed.home) as walk:
        walk.until_passed("workers", 400)
        walk.until(lambda e: e["event"] == "waiting" and "stable" in e["what"], 200, "settle time")
        since = walk.now()
        assert len(bed.kill("b", "raylet/raylet ")) == 1
        return gate_shut(walk, "raylet killed while settling", 300, since)


def host_vanishes(bed: Hosts, folder: Path) -> Told:
    with HeadlessWalk(bed.cluster_file(settle=45), folder / "walk", bed.home) as walk:
        walk.until_passed("workers", 400)
        walk.until(lambda e: e["event"] == "waiting" and "stable" in e["what"], 200, "settle time")
        since = walk.now()
        bed.vanish("b")
        return gate_shut(walk, "a host vanishes while settling", 300, since)


SLOW = {
    "test_joins_then_dies": joins_then_dies,
    "test_worker_started_twice": started_twice,
    "test_raylet_killed_while_settling": raylet_killed,
    "test_a_host_vanishes_while_settling": host_vanishes,
}


@pytest.fixture(scope="module", autouse=True)
def together(
    possible: None, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Together]:
    """Starts every slow scenario that was asked for at once; each test then waits for its own."""
    group = Together(tmp_path_factory.mktemp("together"))
    for item in request.session.items:
        if item.name in SLOW:
            group.start(item.name, SLOW[item.name])
    yield group
    group.close()


@pytest.mark.long
def test_joins_then_dies(together: Together) -> None:
    outcome = together.result("test_joins_then_dies")
    assert (outcome.gate, outcome.code) == ("ray_status", 1)
    assert "node-b address" in outcome.words
    assert "0x" in outcome.words
    assert outcome.after < 150


@pytest.mark.long
def test_worker_started_twice(together: Together) -> None:
    outcome = together.result("test_worker_started_twice")
    assert (outcome.gate, outcome.code) == ("ray_status", 1)
    assert "node-b address" in outcome.words
    assert "2x" in outcome.words
    assert "started more than once on this machine" in outcome.words
    assert outcome.after < 150


def test_raylet_killed_while_settling(together: Together) -> None:
    outcome = together.result("test_raylet_killed_while_settling")
    assert (outcome.gate, outcome.code) == ("ray_status", 1)
    assert "stable: did not hold" in outcome.words
    assert "node-b address" in outcome.words
    assert outcome.after < 150


def test_a_host_vanishes_while_settling(together: Together) -> None:
    outcome = together.result("test_a_host_vanishes_while_settling")
    assert (outcome.gate, outcome.code) == ("ray_status", 1)
    assert "node-b answers: " in outcome.words
    assert "an answer from the node itself" in outcome.words
    assert outcome.after < 150
