"""`milepost upgrade --image` and `--rollback`: real vLLM (CPU) in podman's containers on two hosts, from one image to
another and back."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.real.walks import down
from tests.real_docker.podman import IMAGE, WITHOUT_RAY, Podman
from tests.real_docker.test_units import said
from wizard_steps.cluster.file import load

pytestmark = [pytest.mark.real_vllm, pytest.mark.long, pytest.mark.timeout(3600)]


def test_another_image_and_the_way_back(podman: Podman, tmp_path: Path) -> None:
    serve = {"pipeline_parallel": 2, "ready_timeout": 900, "executor": "mp", "api_key": True}
    file = podman.cluster_file(tmp_path / "milepost.toml", WITHOUT_RAY, serve=serve, gpus=1)

    def runs() -> set[str]:
        return {podman.docker(name, "ps --format '{{.Image}}'").strip() for name in ("a", "b")}

    try:
        code, text = said(podman, str(file), "--headless", "--quiet")
        assert code == 0, text[-6000:]
        assert runs() == {WITHOUT_RAY}
        code, text = said(podman, "upgrade", str(file), "--image", IMAGE, "--no-load", "--quiet")
        assert code == 0, text[-6000:]
        assert load(file).docker.image == IMAGE
        assert runs() == {IMAGE}
        code, text = said(podman, "upgrade", str(file), "--rollback", "--quiet")
        assert code == 0, text[-6000:]
        assert load(file).docker.image == WITHOUT_RAY
        assert runs() == {WITHOUT_RAY}
    finally:
        done = down(file, podman.bed.home)
    assert done.returncode == 0, done.stdout + done.stderr
