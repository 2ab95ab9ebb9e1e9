"""How an image comes to the hosts: sent by the head, or loaded from an archive; and what is said of it."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from tests.real_docker.podman import IMAGE, Podman
from tests.real_docker.walking import walk

pytestmark = [pytest.mark.real_hosts, pytest.mark.timeout(300)]


async def test_the_head_sends_its_image_to_the_node_that_lacks_it(podman: Podman, tmp_path: Path) -> None:
    podman.docker("b", f"rmi -f {IMAGE}")
    file = podman.cluster_file(tmp_path / "milepost.toml", send_image=True)
    try:
        walked = await walk(file, tmp_path / "walk", ("docker_ready",))
    finally:
        podman.reload("b")
    assert walked.verdicts["docker_ready"].passed, walked.told("docker_ready")
    brought = {(node, key) for _, node, key in walked.ran if key in ("pull", "load", "send", "receive")}
    assert brought == {("node-a", "send"), ("node-b", "receive")}
    said = walked.recorded().decode("utf-8", "replace")
    (sent, received) = re.findall(r"image: complete: (\d+) bytes", said)
    assert sent == received
    assert int(sent) > 1_000_000


async def test_an_archive_on_the_nodes_is_loaded_and_one_with_another_image_is_named(
    podman: Podman, tmp_path: Path
) -> None:
    archive = podman.folder / "on the nodes.oci"
    shutil.copy(podman.folder / "ray.oci", archive)
    podman.docker("b", f"rmi -f {IMAGE}")
    try:
        file = podman.cluster_file(tmp_path / "milepost.toml", archive=str(archive))
        walked = await walk(file, tmp_path / "walk", ("docker_ready",))
        assert walked.verdicts["docker_ready"].passed, walked.told("docker_ready")
        assert [(node, key) for _, node, key in walked.ran if key in ("pull", "load")] == [("node-b", "load")]
        other = podman.cluster_file(
            tmp_path / "other.toml", image="localhost/nobody/has-this:1", archive=str(archive)
        )
        wrong = await walk(other, tmp_path / "wrong", ("docker_ready",))
        assert wrong.failing("docker_ready") == {"image@node-a", "image@node-b"}
        assert f"the archive holds {IMAGE}: name that in docker.image" in wrong.told("docker_ready")
        none = podman.cluster_file(tmp_path / "none.toml", image="localhost/x:1", archive="/nothing/here.tar")
        missing = await walk(none, tmp_path / "none", ("docker_ready",))
        assert missing.failing("docker_ready") == {"load@node-a", "load@node-b"}
        assert "/nothing/here.tar: no such archive on this node" in missing.told("docker_ready")
    finally:
        podman.reload("b")


async def test_a_flag_that_the_engine_does_not_know_is_named(podman: Podman, tmp_path: Path) -> None:
    file = podman.cluster_file(tmp_path / "milepost.toml")
    file.write_text(file.read_text().replace('extra_flags = ["-v"', 'extra_flags = ["--nosuch", "-v"'))
    walked = await walk(file, tmp_path / "walk", ("docker_ready",))
    assert "unknown flag: --nosuch" in walked.told("docker_ready")
