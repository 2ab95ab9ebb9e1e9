"""The model onto three hosts: one download, copies over the fabric, real huggingface_hub of the vLLM environment.
The hub is SIMULATED and reached over the management network."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from tests.helpers.requirements import require
from tests.helpers.weights_walk import WeightsWalk
from tests.real.hosts import Hosts
from wizard_steps.cluster.file import Cluster, load
from wizard_steps.lab import tiny
from wizard_steps.lab.hub import Hub, Trouble

pytestmark = [pytest.mark.real_hosts, pytest.mark.timeout(300)]
REPO = "org/tiny"


@pytest.fixture(scope="module")
def trio(possible: None) -> Iterator[Hosts]:
    with Hosts() as hosts:
        yield hosts


@pytest.fixture
def hub(trio: Hosts, tmp_path: Path) -> Iterator[Hub]:
    tiny.write(tmp_path / "model")
    made = Hub(tmp_path / "model", REPO, host=trio.network.wizard_ip, trouble=Trouble(rate=3_000_000))
    yield made
    made.close()
    for name in trio.names:
        trio.run(name, "umount -l /root/.cache 2>/dev/null; rm -rf /root/.cache")
        trio.clear(name)


def cluster(trio: Hosts, hub: Hub) -> Cluster:
    serve = {"model": REPO, "served_model_name": ""}
    return load(trio.cluster_file(serve=serve, env={"HF_ENDPOINT": hub.url}))


def size(hub: Hub) -> int:
    return sum(path.stat().st_size for path in hub.files().values())


async def test_one_download_for_three_hosts(trio: Hosts, hub: Hub, tmp_path: Path) -> None:
    walk = WeightsWalk(cluster(trio, hub), tmp_path / "walk")
    verdict = await walk.run()
    assert verdict is not None
    assert verdict.passed, verdict
    assert "on all 3 nodes, verified" in verdict.summary
    assert hub.sent == size(hub)
    sums = {
        trio.run(n, "cd /root/.cache/huggingface/hub/models--org--tiny/blobs; sha256sum * | sort").stdout
        for n in trio.names
    }
    assert len(sums) == 1
    for name in trio.names:
        left = [line for line in trio.processes(name).values() if "python" in line]
        assert left == [], "nothing is left running"


@pytest.mark.long
async def test_a_host_that_vanishes_in_mid_copy_is_named_and_the_one_behind_it_goes_on(
    trio: Hosts, hub: Hub, tmp_path: Path
) -> None:
    with Hosts() as own:
        made = Hub(hub.folder, REPO, host=own.network.wizard_ip, trouble=Trouble(rate=1_500_000))
        try:
            walk = WeightsWalk(cluster(own, made), tmp_path / "walk", at="copy", then=lambda: own.vanish("b"))
            verdict = await walk.run()
        finally:
            made.close()
        assert verdict is not None
        assert not verdict.passed
        assert {check.node for check in verdict.failures} == {"node-b"}, verdict
        assert "weights: complete" in own.run("c", "cat /root/.milepost/real-hosts/node-c/share.log").stdout


async def copied(trio: Hosts, hub: Hub, tmp_path: Path, copy: str) -> WeightsWalk:
    """A walk with ``weights.copy``, and that it led to the same files on all hosts."""
    one = cluster(trio, hub)
    walk = WeightsWalk(replace(one, weights=replace(one.weights, copy=copy)), tmp_path / "walk")  # type: ignore[arg-type]
    verdict = await walk.run()
    assert verdict is not None
    assert verdict.passed, verdict
    assert "on all 3 nodes, verified" in verdict.summary
    assert hub.sent == size(hub)
    return walk


@pytest.mark.long
async def test_rsync_between_hosts_that_may_log_in_to_each_other(
    trio: Hosts, hub: Hub, tmp_path: Path
) -> None:
    if trio.run("a", "command -v rsync", check=False).returncode:
        require("rsync is not installed")
    one = cluster(trio, hub)
    refused = WeightsWalk(replace(one, weights=replace(one.weights, copy="rsync")), tmp_path / "refused")
    verdict = await refused.run()
    assert verdict is not None
    assert {(check.name, check.node) for check in verdict.failures} == {
        ("rsync", "node-b"),
        ("rsync", "node-c"),
    }
    key = shlex.quote((trio.folder / "id_between_hosts").read_text())
    for name in ("b", "c"):
        known = shlex.quote((trio.home / "known_hosts").read_text())
        where = "umask 077; cd /root/.ssh"
        trio.run(name, f"{where}; printf %s {key} > id_ed25519; printf %s {known} > known_hosts")
    walk = await copied(trio, hub, tmp_path, "rsync")
    assert [what for what in walk.changed if what.endswith("share")] == ["node-b share", "node-c share"]


@pytest.mark.long
async def test_through_the_wizard_where_the_gpu_network_lets_nothing_through(
    trio: Hosts, hub: Hub, tmp_path: Path
) -> None:
    with Hosts() as own:
        made = Hub(hub.folder, REPO, host=own.network.wizard_ip)
        try:
            # The chain's port is closed on the one that has the model, as a firewall would: c reaches nobody.
            own.network.drop("a", "tcp dport 29540 iifname eth1")
            own.network.drop("b", "tcp dport 29540 iifname eth1")
            walk = await copied(own, made, tmp_path, "auto")
        finally:
            made.close()
    again = [what for what in walk.changed if what.endswith("share-2")]
    assert again == ["node-a share-2", "node-b share-2", "node-c share-2"]


@pytest.mark.long
async def test_through_the_wizard_from_the_beginning(trio: Hosts, hub: Hub, tmp_path: Path) -> None:
    await copied(trio, hub, tmp_path, "wizard")


@pytest.mark.long
async def test_no_room_on_one_host(trio: Hosts, hub: Hub, tmp_path: Path) -> None:
    trio.run("b", "mkdir -p /root/.cache && mount -t tmpfs -o size=4m tmpfs /root/.cache")
    walk = WeightsWalk(cluster(trio, hub), tmp_path / "walk")
    verdict = await walk.run()
    assert verdict is not None
    assert not verdict.passed
    assert [(c.name, c.node) for c in verdict.failures] == [("disk", "node-b")]
    assert "in /root/.cache" in verdict.failures[0].found
    assert walk.changed == [], "nothing was fetched"


@pytest.mark.long
async def test_room_that_ends_in_mid_copy(trio: Hosts, hub: Hub, tmp_path: Path) -> None:
    trio.run("b", "mkdir -p /root/.cache && mount -t tmpfs -o size=16m tmpfs /root/.cache")
    filled = lambda: trio.run("b", "head -c 8000000 /dev/zero > /root/.cache/filler")  # noqa: E731
    walk = WeightsWalk(cluster(trio, hub), tmp_path / "walk", at="fetch", then=lambda: filled() and None)
    verdict = await walk.run()
    assert verdict is not None
    assert not verdict.passed
    assert [(c.name, c.node) for c in verdict.failures] == [("space", "node-b")], verdict
    assert "/root/.cache" in verdict.failures[0].found
