"""Docker's own engine on the hosts of the bed, beside podman: started from the folder that .ci/get-dockerd made.

vfs storage, no networks of its own, cgroups by file system: what works as root nearly everywhere.
"""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType

from tests.real_docker.podman import IMAGE, SHIM, Podman

FOLDER = Path(os.environ.get("MILEPOST_DOCKERD", "/var/tmp/milepost-dockerd"))
_SOCKET, _RUN = "/run/milepost-dockerd.sock", "/run/milepost-dockerd"
#: What `docker_ready` gets as docker.command.
COMMAND = f"{FOLDER}/usr/bin/docker -H unix://{_SOCKET}"
#: Where the daemon, and a login on the host, find the hook of the NVIDIA container toolkit.
_HOOKS = "/usr/local/sbin"


def obstacle() -> str:
    return "" if (FOLDER / "usr/sbin/dockerd").exists() else "no dockerd; run .ci/get-dockerd"


class Dockerd:
    """On every host of the bed. ``hook``: with a SIMULATED hook, so that the daemon takes ``--gpus``."""

    def __init__(self, podman: Podman, hook: bool = False) -> None:
        self.bed, self.hook = podman.bed, hook

    def __enter__(self) -> Dockerd:
        for name in self.bed.names:
            self._start(name)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        ended = f"while [ -e /proc/$pid/exe ]; do sleep 0.1; done; umount {_HOOKS} 2>/dev/null; true"
        for name in self.bed.names:
            self.docker(name, "rm -f $(docker ps -aq) 2>/dev/null", check=False)
            self.bed.run(name, f"pid=$(cat {_RUN}.pid) && kill $pid && {ended}", check=False, timeout=60)

    def docker(self, name: str, words: str, check: bool = True) -> str:
        words = words.replace("$(docker ", f"$({COMMAND} ")
        return self.bed.run(name, f"{COMMAND} {words}", timeout=120, check=check).stdout

    def load(self, name: str) -> None:
        self.bed.run(name, f"{SHIM} save {IMAGE} | {COMMAND} load", timeout=120)

    def _start(self, name: str) -> None:
        hook = f"{_HOOKS}/nvidia-container-runtime-hook"
        if self.hook:
            made = f"mount -t tmpfs hook {_HOOKS} && printf '#!/bin/sh\nexit 0\n' > {hook} && chmod +x {hook}"
            self.bed.run(name, made)
        path = f"{_HOOKS}:{FOLDER}/usr/bin:{FOLDER}/usr/sbin:/usr/sbin:/usr/bin:/sbin:/bin"
        flags = (
            f"--data-root {self.bed.folder}/dockerd-{name} --exec-root {_RUN} --pidfile {_RUN}.pid "
            f"-H unix://{_SOCKET} --storage-driver vfs --bridge none --iptables=false --ip6tables=false "
            "--exec-opt native.cgroupdriver=cgroupfs"
        )
        up = f"until {COMMAND} version >/dev/null 2>&1; do [ -e /proc/$! ] || exit 1; sleep 0.2; done"
        start = f"setsid env PATH={path} {FOLDER}/usr/sbin/dockerd {flags} </dev/null >{_RUN}.log 2>&1 & {up}"
        self.bed.run(name, start, timeout=120)
