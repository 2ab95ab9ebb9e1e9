"""The model onto three hosts: one download, copies over the fabric, real huggingface_hub of the vLLM environment.
The hub is SIMULATED and reached over the management network."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

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
