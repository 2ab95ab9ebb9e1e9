"""A kit onto two hosts that have no way to the internet: packages installed with uv and with pip, the model
placed where vLLM looks. The packages are empty ones; the hub is SIMULATED, and closed before the walk."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from tests.helpers.requirements import require
from tests.milestones.test_install import cluster as with_wheels
from tests.milestones.test_install import wheel
from tests.pack.test_kit import walk
from tests.real import vllm_env
from tests.real.hosts import Hosts
from tests.real.walks import HeadlessWalk, down, pack
from wizard_steps.cluster.file import Cluster, dump, load
from wizard_steps.lab import tiny
from wizard_steps.lab.hub import Hub
from wizard_steps.milestones.install import InstallStep
from wizard_steps.milestones.kit import KitStep
from wizard_steps.milestones.weights import WeightsStep

pytestmark = [pytest.mark.real_hosts, pytest.mark.long, pytest.mark.timeout(300)]
REPO = "org/tiny"


@pytest.fixture(scope="module")
def pair(possible: None) -> Iterator[Hosts]:
    with Hosts(names=("a", "b")) as hosts:
        yield hosts


def cluster(pair: Hosts, tmp_path: Path, tool: str) -> Cluster:
    """The bed's, with wheels in a folder in place of an index, and the model of a hub."""
    wheels = with_wheels(tmp_path, tool)
    file = load(pair.cluster_file(serve={"model": REPO, "served_model_name": ""}))
    serve = replace(file.serve, vllm_version=wheels.serve.vllm_version)
    ray = replace(file.ray, version=wheels.ray.version)
    return replace(file, serve=serve, ray=ray, install=wheels.install, venv=f"/root/venv-{tool}")


@pytest.mark.parametrize("tool", ["uv", "pip"])
async def test_packages_and_model_without_internet(pair: Hosts, tmp_path: Path, tool: str) -> None:
    uv = shutil.which("uv") or shutil.which("uv", path=str(Path(sys.executable).parent))
    if tool == "uv" and not uv:
        require("uv is not installed")
    tiny.write(tmp_path / "model")
    (tmp_path / "model/README.md").write_text("# of the model\n")
    hub, kit = Hub(tmp_path / "model", REPO), tmp_path / "kit"
    one = cluster(pair, tmp_path, tool)
    (tmp_path / "c.toml").write_text(dump(one))
    pack(tmp_path / "c.toml", kit, pair.home, {"HF_ENDPOINT": hub.url})
    hub.close()
    assert (kit / "model/README.md").read_text() == "# of the model\n"
    for name in pair.names:
        if tool == "uv":
            pair.run(name, f"mkdir -p /root/.local/bin && ln -sf {uv} /root/.local/bin/uv")
        assert pair.run(name, "ip route get 1.1.1.1", check=False).returncode != 0, "a way to the internet"
    install = replace(one.install, kit=str(kit), index_url="", find_links=())
    offline = replace(one, install=install, env={**one.env, "HF_HUB_OFFLINE": "1"})
    steps = (KitStep(), InstallStep(), WeightsStep())
    found, changed = await walk(offline, tmp_path / "walk", steps)
    for step in ("kit", "install", "weights"):
        assert found[step].passed, found[step]
    assert "node-b upload" not in changed, "it comes over SSH once"
    assert {x for x in changed if x.endswith(" begin")} == {"node-a begin"}, "the model was not fetched"
    for name in pair.names:
        where = "/root/.cache/huggingface/hub/models--org--tiny"
        assert "config.json" in pair.run(name, f"ls {where}/snapshots/*/").stdout
    found, changed = await walk(offline, tmp_path / "there", steps)
    assert found["weights"].passed, found
    assert {what.split()[1] for what in changed} == {"place"}, "what is there comes no second time"
    for name in pair.names:
        pair.run(name, "rm -rf /root/.milepost /root/.cache /root/venv-*")


def packed(pair: Hosts, tmp_path: Path) -> Cluster:
    """The cluster that installs from a kit whose model is a folder of the packing machine."""
    shutil.rmtree(pair.home / "models", ignore_errors=True)
    (pair.home / "models").mkdir()
    tiny.write(pair.home / "models/tiny")
    one = cluster(pair, tmp_path, "pip")
    one = replace(one, serve=replace(one.serve, model="~/models/tiny"))
    (tmp_path / "c.toml").write_text(dump(one))
    pack(tmp_path / "c.toml", tmp_path / "kit", pair.home, {})
    return replace(one, install=replace(one.install, kit=str(tmp_path / "kit"), index_url="", find_links=()))


def cleared(pair: Hosts) -> None:
    for name in pair.names:
        assert "config.json" in pair.run(name, "ls /root/models/tiny").stdout
        pair.run(name, "rm -rf /root/.milepost /root/models /root/venv-*")


async def test_a_model_that_is_a_folder_of_the_packing_machine(pair: Hosts, tmp_path: Path) -> None:
    steps = (KitStep(), InstallStep(), WeightsStep())
    found, changed = await walk(packed(pair, tmp_path), tmp_path / "walk", steps)
    assert found["weights"].passed, found
    assert not [what for what in changed if what.endswith("share-2")]
    cleared(pair)


async def test_over_ssh_where_the_gpu_network_lets_nothing_through(pair: Hosts, tmp_path: Path) -> None:
    one = packed(pair, tmp_path)
    # As a firewall closes it: what comes to the port of the copies is dropped.
    pair.network.drop("a", f"tcp dport {one.weights.port} iifname eth1")
    try:
        found, changed = await walk(one, tmp_path / "walk", (KitStep(), InstallStep()))
    finally:
        pair.network.heal("a")
    assert found["kit"].passed, found["kit"]
    assert found["install"].passed, found["install"]
    assert [what for what in changed if "upload" in what] == ["node-a upload", "node-b upload-2"]
    cleared(pair)


@pytest.mark.real_vllm
@pytest.mark.timeout(900)
def test_a_packed_model_is_served_by_real_vllm_without_internet(pair: Hosts, tmp_path: Path) -> None:
    """The hosts have vLLM already; the kit's packages only carry its version. The model comes from the kit."""
    wheels, index, kit = tmp_path / "wheels", tmp_path / "index", tmp_path / "kit"
    wheels.mkdir()
    index.mkdir()
    wheel(wheels, "vllm", vllm_env.VLLM)
    wheel(wheels, "ray", vllm_env.RAY, "Provides-Extra: default\n")
    hub = Hub(vllm_env.model(), REPO)
    serve = {"model": REPO, "served_model_name": "", "tensor_parallel": 2, "pipeline_parallel": 2}
    one = load(pair.cluster_file(serve=serve, env={"HF_HUB_OFFLINE": "1"}))
    install = replace(one.install, index_url=index.as_uri(), find_links=(str(wheels),))
    (tmp_path / "c.toml").write_text(dump(replace(one, install=install, env={})))
    pack(tmp_path / "c.toml", kit, pair.home, {"HF_ENDPOINT": hub.url})
    hub.close()
    offline = tmp_path / "offline.toml"
    offline.write_text(dump(replace(one, install=replace(one.install, kit=str(kit)))))
    try:
        with HeadlessWalk(offline, tmp_path / "walk", pair.home) as walked:
            code = walked.wait(800)
        assert code == 0, walked.output[-6000:]
        for step in ("kit", "install", "weights", "serve", "probe"):
            walked.until_passed(step, 1)
    finally:
        done = down(offline, pair.home)
    assert done.returncode == 0, done.stdout + done.stderr
