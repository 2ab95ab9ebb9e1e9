"""Weights that cannot come onto three hosts: rights, token, revision, a corrupt shard, a shared file system that is
mounted on some only (sshfs). Each is named with node and path. The hub is SIMULATED, huggingface_hub is real."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from tests.helpers.requirements import require
from tests.helpers.weights_walk import WeightsWalk
from tests.real.hosts import Hosts
from tests.real.test_weights import cluster, hub, trio  # noqa: F401  (fixtures)
from wizard_steps.cluster.file import Cluster
from wizard_steps.lab.hub import COMMIT, Hub
from wizard_steps.model import Check, Verdict

pytestmark = [pytest.mark.real_hosts, pytest.mark.long, pytest.mark.timeout(300)]
MODEL = "/root/.cache/huggingface/hub/models--org--tiny"
SHARD = "model-00001-of-00002.safetensors"


async def walked(one: Cluster, folder: Path) -> tuple[Verdict, WeightsWalk]:
    walk = WeightsWalk(one, folder)
    verdict = await walk.run()
    assert verdict is not None
    print(*(f"{c.name} [{c.node}] {c.ok}: {c.found} | {c.hint}" for c in verdict.checks), sep="\n")
    return verdict, walk


async def refused(one: Cluster, folder: Path, name: str, node: str) -> Check:
    """The only failure; nothing was fetched."""
    verdict, walk = await walked(one, folder)
    assert not verdict.passed
    assert [(check.name, check.node) for check in verdict.failures] == [(name, node)]
    assert walk.changed == []
    return verdict.failures[0]


async def test_a_folder_that_may_not_be_written_on_one_host(trio: Hosts, hub: Hub, tmp_path: Path) -> None:  # noqa: F811
    trio.run("b", "mkdir -p /root/.cache && mount -t tmpfs -o ro tmpfs /root/.cache")
    check = await refused(cluster(trio, hub), tmp_path / "walk", "rights", "node-b")
    assert "/root/.cache" in check.found


@pytest.mark.parametrize("token", ["", "hf_of_somebody_without_access"])
async def test_a_gated_model_without_access(
    trio: Hosts,  # noqa: F811
    hub: Hub,  # noqa: F811
    tmp_path: Path,
    token: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hub.trouble.gated = True
    monkeypatch.setenv("HF_TOKEN", token)
    check = await refused(cluster(trio, hub), tmp_path / "walk", "gated" if token else "token", "node-a")
    assert "org/tiny" in check.found
    kept = b"".join(path.read_bytes() for path in (tmp_path / "walk").rglob("*") if path.is_file())
    assert not token or token.encode() not in kept


async def test_a_revision_that_does_not_exist(trio: Hosts, hub: Hub, tmp_path: Path) -> None:  # noqa: F811
    one = cluster(trio, hub)
    one = replace(one, serve=replace(one.serve, extra_flags=(*one.serve.extra_flags, "--revision=v9")))
    check = await refused(one, tmp_path / "walk", "revision", "node-a")
    assert "v9" in check.found


async def test_a_shard_that_is_corrupt_on_one_host_comes_anew(trio: Hosts, hub: Hub, tmp_path: Path) -> None:  # noqa: F811
    assert (await walked(cluster(trio, hub), tmp_path / "first"))[0].passed
    sent, shard = hub.sent, f"{MODEL}/snapshots/{COMMIT}/{SHARD}"
    trio.run("c", f'p=$(readlink -f {shard}); s=$(stat -c %s "$p"); head -c "$s" /dev/zero > "$p"')
    verdict, _ = await walked(cluster(trio, hub), tmp_path / "second")
    assert verdict.passed
    assert hub.sent == sent, "the others have it"
    log = trio.run("c", "cat /root/.milepost/real-hosts/node-c/share.log").stdout
    assert f"removed, the content differs from its hash: {MODEL}/blobs/" in log
    assert len({trio.run(name, f"sha256sum < {shard}").stdout for name in trio.names}) == 1


@pytest.fixture
def shared(trio: Hosts) -> Iterator[str]:  # noqa: F811
    """A folder of host a that b has mounted over the network, and c has not."""
    if trio.run("b", "command -v sshfs && [ -e /dev/fuse ]", check=False).returncode:
        require("sshfs is not installed")
    key = shlex.quote((trio.folder / "id_between_hosts").read_text())
    known = shlex.quote((trio.home / "known_hosts").read_text())
    where = "/root/shared"
    for name in ("a", "b"):
        keys = f"umask 077; cd /root/.ssh; printf %s {key} > id_ed25519; printf %s {known} > known_hosts"
        trio.run(name, keys)
    trio.run("c", f"mkdir -p /root/export {where}")
    # Links are followed on c: not every sftp-server lets them be read.
    address, options = trio.network.management_ip("c"), "StrictHostKeyChecking=no,follow_symlinks"
    for name in ("a", "b"):
        trio.run(name, f"mkdir -p {where} && sshfs -o {options} {address}:/root/export {where}")
    yield where
    for name in ("a", "b"):
        trio.run(name, f"umount -l {where}", check=False)
    trio.run("c", f"rm -rf /root/export {where}")


async def test_a_shared_file_system_that_is_mounted_on_some_only(
    trio: Hosts,  # noqa: F811
    hub: Hub,  # noqa: F811
    tmp_path: Path,
    shared: str,
) -> None:
    one = cluster(trio, hub)
    cached = replace(one, env={**one.env, "HF_HOME": shared})
    verdict, _ = await walked(cached, tmp_path / "cache")
    assert verdict.passed
    told = [check.found for check in verdict.warnings if check.name == "mount"]
    assert told
    assert f"{shared}/hub/models--org--tiny is on this node's own disk" in told[0]
    trio.run("a", f"cp -rL {shared}/hub/models--org--tiny/snapshots/{COMMIT} {shared}/model")
    folder = replace(one, serve=replace(one.serve, model=f"{shared}/model"))
    check = await refused(folder, tmp_path / "folder", "mount", "node-c")
    assert f"{shared}/model is on fuse.sshfs" in check.found
