"""Folders of the node on a file system that acts as nobody for root, as NFS does with root_squash.

The kernel has no NFS everywhere; bindfs that runs as nobody does the same: `test -w` passes, a write fails.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.requirements import require
from tests.real_docker.dockerd import FOLDER
from tests.real_docker.podman import Podman
from tests.real_docker.walking import walk

pytestmark = [pytest.mark.real_hosts, pytest.mark.long, pytest.mark.timeout(600)]

AT, STATE = "/opt/shared", "/run/squashed"
_MOUNT = f"""set -e
mkdir -p {AT} {STATE}/hf {STATE}/logs {STATE}/compiled
echo user_allow_other > {STATE}/fuse.conf && mount --bind {STATE}/fuse.conf /etc/fuse.conf
mknod -m 666 {STATE}/fuse c 10 229 && mount --bind {STATE}/fuse /dev/fuse && chown 65534 {AT}
setsid setpriv --reuid 65534 --regid 65534 --clear-groups env LD_LIBRARY_PATH=$(echo {FOLDER}/lib/*-linux-gnu) \\
  {FOLDER}/usr/bin/bindfs -f -o allow_other {STATE} {AT} </dev/null >{STATE}/log 2>&1 &
until grep -q ' {AT} fuse' /proc/mounts; do [ -e /proc/$! ] || exit 1; sleep 0.1; done
test -w {AT}/hf && ! touch {AT}/hf/x 2>/dev/null
"""


@pytest.fixture
def squashed(podman: Podman) -> Iterator[Podman]:
    require("" if (FOLDER / "usr/bin/bindfs").exists() else "no bindfs; run .ci/get-dockerd")
    podman.bed.run("b", _MOUNT)
    yield podman
    podman.bed.run("b", f"umount -l {AT} /dev/fuse /etc/fuse.conf; rm -rf {STATE}", check=False)


async def test_a_write_that_is_refused_is_seen_before_anything_starts(
    squashed: Podman, tmp_path: Path
) -> None:
    squashed.bed.run("a", f"mkdir -p {AT}/hf {AT}/logs {AT}/compiled")
    file = squashed.cluster_file(
        tmp_path / "milepost.toml",
        serve={"model": "tiny/random-llama", "pipeline_parallel": 2},
        hf_home=f"{AT}/hf",
        log_home=f"{AT}/logs",
        compile_cache=f"{AT}/compiled",
    )
    walked = await walk(file, tmp_path / "walk", ("docker_ready",))
    told = walked.told("docker_ready")
    assert walked.failing("docker_ready") == {f"{name}@node-b" for name in ("cache", "logs", "compiled")}, (
        told
    )
    assert "may be nobody on NFS" in told
