"""A kit with an image archive and a model, made with podman, onto two hosts that have no way to the internet."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.real.walks import down, pack
from tests.real_docker.podman import WITHOUT_RAY, Podman
from tests.real_docker.walking import walk
from wizard_steps.lab import tiny
from wizard_steps.lab.hub import Hub

STEPS = ("kit", "docker_ready", "head", "workers", "ray_status", "weights")
pytestmark = [pytest.mark.real_hosts, pytest.mark.long, pytest.mark.timeout(600)]
REPO = "org/tiny"


def engine_here(podman: Podman, tools: Path) -> dict[str, str]:
    """The environment of a machine whose docker command is the engine that made the bed's archives."""
    tools.mkdir(exist_ok=True)
    settings = f"{podman.folder}/containers.conf", f"{podman.folder}/storage.conf"
    text = 'export CONTAINERS_CONF={} CONTAINERS_STORAGE_CONF={}\nexec /usr/bin/podman "$@"\n'
    (tools / "docker").write_text("#!/bin/sh\n" + text.format(*settings))
    (tools / "docker").chmod(0o755)
    return {"PATH": f"{tools}:/usr/sbin:/usr/bin:/sbin:/bin:{os.environ['PATH']}"}


async def test_image_with_ray_and_model_without_internet(podman: Podman, tmp_path: Path) -> None:
    tiny.write(tmp_path / "model")
    hub = Hub(tmp_path / "model", REPO, host=podman.bed.network.wizard_ip)
    file, kit = tmp_path / "milepost.toml", tmp_path / "kit"
    serve: dict[str, object] = {"model": REPO, "served_model_name": "", "pipeline_parallel": 2}
    podman.cluster_file(file, WITHOUT_RAY, serve=serve, ray="build")
    env = engine_here(podman, tmp_path / "tools")
    pack(file, kit, podman.bed.home, {**env, "HF_ENDPOINT": hub.url})
    hub.close()
    made = json.loads((kit / "kit.json").read_text())
    assert made["base"] == WITHOUT_RAY
    assert made["image"].startswith("localhost/milepost/vllm-ray:")
    assert made["machine"] == os.uname().machine, "the nodes were asked"
    subprocess.run(["sha256sum", "--quiet", "-c", "SHA256SUMS"], cwd=kit, check=True)  # noqa: ASYNC221
    text = re.sub(r"^\[env\]\n", '[env]\nHF_HUB_OFFLINE = "1"\n', file.read_text(), flags=re.M)
    file.write_text(f'{text}\n[install]\nfrom = "{kit}"\n')
    try:
        walked = await walk(file, tmp_path / "walk", STEPS)
        last = next(reversed(walked.verdicts))
        assert walked.verdicts[last].passed, walked.told(last)
        assert last == "weights"
        assert walked.verdicts["docker_ready"].facts["image"] == made["image"]
        brought = {(node, key) for step, node, key in walked.ran if step == "docker_ready" and "l" in key}
        assert {(node, key) for node, key in brought if key in ("load", "pull", "build-2")} == {
            ("node-a", "load"),
            ("node-b", "load"),
        }
        again = await walk(file, tmp_path / "again", STEPS)
        changed = [(node, key) for _, node, key in again.ran if key in ("upload", "share", "load", "begin")]
        assert changed == [], "what is there comes no second time"
    finally:
        done = down(file, podman.bed.home)
        for name in ("a", "b"):
            podman.docker(name, f"rmi -f {made['image']}", check=False)
            podman.bed.run(name, "rm -rf /root/.cache/huggingface /root/.milepost")
    assert done.returncode == 0, done.stdout + done.stderr
