"""Rootless podman under a login without root rights: refused flags are named, the rest walks to Ray and back."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.requirements import require
from tests.real.hostfiles import UID
from tests.real.walks import down
from tests.real_docker.dockerd import FOLDER
from tests.real_docker.podman import IMAGE, Podman
from tests.real_docker.walking import TO_RAY, walk

pytestmark = [pytest.mark.real_hosts, pytest.mark.long, pytest.mark.timeout(900)]

USER, HOME, COMMAND = "lab", "/home/lab", "/home/lab/docker"
#: The bed's hosts keep their own /etc files and homes; the engine's state is the user's own.
_SETTLE = """set -e
for f in subuid subgid; do echo {user}:200000:65536 > /run/$f; mount --bind /run/$f /etc/$f; done
mkdir -p {home}/.config/containers {graph} /run/user/{uid}
sed 's/cgroup_manager.*/cgroup_manager = "cgroupfs"/' /opt/podman/containers.conf > {home}/.config/containers/containers.conf
printf '[storage]\\ndriver = "vfs"\\ngraphroot = "{graph}"\\n' > {home}/.config/containers/storage.conf
printf '#!/bin/sh\\nPATH={tools}:$PATH XDG_RUNTIME_DIR=/run/user/{uid} exec /usr/bin/podman "$@"\\n' > {command}
chmod 755 {command}
chown -R {uid}:{uid} {home} {graph} /run/user/{uid}
"""


def as_user(podman: Podman, name: str, words: str) -> str:
    drop = f"setpriv --reuid {UID} --regid {UID} --clear-groups env -i HOME={HOME} PATH=/usr/sbin:/usr/bin"
    done = podman.bed.run(name, f"cd {HOME} && {drop} {COMMAND} {words}", timeout=180)
    return done.stdout


@pytest.fixture
def rootless(podman: Podman) -> Iterator[Podman]:
    require("" if (FOLDER / "usr/bin/newuidmap").exists() else "no newuidmap; run .ci/get-dockerd")
    # What podman mounts, a user must be able to reach.
    podman.bed.folder.chmod(0o755)
    podman.folder.chmod(0o755)
    for name in podman.bed.names:
        graph = f"{podman.bed.folder}/rootless-{name}"
        text = _SETTLE.format(
            user=USER, uid=UID, home=HOME, graph=graph, command=COMMAND, tools=FOLDER / "usr/bin"
        )
        podman.bed.run(name, text)
        as_user(podman, name, f"load -q -i {shlex.quote(str(podman.folder / 'ray.oci'))}")
    yield podman
    for name in podman.bed.names:
        podman.bed.run(name, "umount /etc/subuid /etc/subgid", check=False)


async def test_a_user_without_root_rights_walks_to_ray_and_back(rootless: Podman, tmp_path: Path) -> None:
    bed = rootless.bed
    file = rootless.cluster_file(tmp_path / "milepost.toml", command=COMMAND)
    text = file.read_text()
    (config,) = [line for line in text.splitlines() if line.startswith("config = ")]
    file.write_text(text.replace(config, f'config = "{bed.ssh_config(user=USER)}"'))
    strict = tmp_path / "limits.toml"
    strict.write_text(file.read_text().replace("ulimits = []", 'ulimits = ["memlock=-1"]'))
    refused = await walk(strict, tmp_path / "refused", ("docker_ready",))
    assert "docker.ulimits" in refused.told("docker_ready"), refused.told("docker_ready")
    try:
        walked = await walk(file, tmp_path / "walk", ("preflight", *TO_RAY))
        last = next(reversed(walked.verdicts))
        assert (last, walked.verdicts[last].passed) == ("ray_status", True), walked.told(last)
        assert "rootless" in walked.told("preflight"), walked.told("preflight")
        for name in bed.names:
            assert IMAGE in as_user(rootless, name, "ps --format '{{.Image}}'")
            owners = bed.run(name, f"stat -c %u {HOME}/.milepost {HOME}/.cache/milepost").stdout.split()
            assert owners == [str(UID), str(UID)]
        again = await walk(file, tmp_path / "again", TO_RAY)
        assert again.verdicts["ray_status"].passed, again.told("ray_status")
        assert [what for what in again.ran if what[2] == "launch"] == []
    finally:
        done = down(file, bed.home)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("removed 1 container(s)") == 2
