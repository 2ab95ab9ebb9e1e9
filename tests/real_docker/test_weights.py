"""The model into containers of two hosts: fetched in one, copied over the fabric into the other's cache."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.real.walks import down
from tests.real_docker.podman import WITHOUT_RAY, Podman
from tests.real_docker.walking import walk
from wizard_steps.lab import tiny
from wizard_steps.lab.hub import Hub

#: Without Ray the containers only wait: that is all a copy needs of them. They are found again, too.
STEPS = ("ip", "docker_ready", "head", "workers", "weights")
pytestmark = [pytest.mark.real_hosts, pytest.mark.timeout(600)]


async def test_once_into_the_caches_of_both_hosts(podman: Podman, tmp_path: Path) -> None:
    tiny.write(tmp_path / "model")
    hub = Hub(tmp_path / "model", "org/tiny", host=podman.bed.network.wizard_ip)
    file = podman.cluster_file(
        tmp_path / "milepost.toml",
        WITHOUT_RAY,
        serve={"model": "org/tiny", "served_model_name": "", "pipeline_parallel": 2},
        ray="none",
    )
    text = file.read_text()
    file.write_text(re.sub(r"^\[env\]\n", f'[env]\nHF_ENDPOINT = "{hub.url}"\n', text, flags=re.M))
    try:
        walked = await walk(file, tmp_path / "walk", STEPS)
        last = next(reversed(walked.verdicts))
        assert walked.verdicts[last].passed, walked.told(last)
        assert last == "weights"
        assert hub.sent == sum(path.stat().st_size for path in hub.files().values())
        for name in ("a", "b"):
            found = podman.bed.run(name, "ls /root/.cache/huggingface/hub/models--org--tiny/blobs").stdout
            assert len(found.split()) == len(hub.files())
        again = await walk(file, tmp_path / "again", STEPS)
        assert again.verdicts["weights"].passed
        assert [what for what in again.ran if what[2] in ("launch", "begin", "share")] == []
    finally:
        hub.close()
        done = down(file, podman.bed.home)
        for name in ("a", "b"):
            podman.bed.run(name, "rm -rf /root/.cache/huggingface")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("removed 1 container(s)") == 2
