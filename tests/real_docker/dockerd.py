"""Docker's own engine on the hosts of the bed, beside podman: started from the folder that .ci/get-dockerd made,
or from one like it (MILEPOST_DOCKERD) with another release.

vfs storage, no networks of its own, cgroups by file system: what works as root nearly everywhere.
"""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from types import TracebackType

from tests.real_docker.podman import IMAGE, SHIM, Podman

FOLDER = Path(os.environ.get("MILEPOST_DOCKERD", "/var/tmp/milepost-dockerd"))
_SOCKET, _RUN = "/run/milepost-dockerd.sock", "/run/milepost-dockerd"
#: What `docker_ready` gets as docker.command.
COMMAND = f"{FOLDER}/usr/bin/docker -H unix://{_SOCKET}"
#: Where the daemon, and a login on the host, find the programs of the NVIDIA container toolkit.
_HOOKS = "/usr/local/sbin"
_HOOK, _CDI_HOOK = f"{_HOOKS}/nvidia-container-runtime-hook", f"{_HOOKS}/nvidia-cdi-hook"
_CDI = "/etc/cdi"
#: What gives a container no more than the bed's stand-in for nvidia-smi.
SMI = "/usr/local/bin/nvidia-smi"
_SPEC = f"""cdiVersion: "0.5.0"
kind: nvidia.com/gpu
devices:
  - name: all
    containerEdits:
      mounts:
        - {{hostPath: {SMI}, containerPath: {SMI}, options: [ro, bind]}}
"""


def obstacle() -> str:
    return "" if (FOLDER / "usr/sbin/dockerd").exists() else "no dockerd; run .ci/get-dockerd"


class Dockerd:
    """On every host of the bed, with SIMULATED parts of the toolkit.

    ``hook``: the hook, which does nothing, so that the daemon takes ``--gpus``, and a runtime ``nvidia``, which
    is runc. ``cdi``: a specification, and the program that lets Docker 29.2 and newer follow it.
    """

    def __init__(self, podman: Podman, hook: bool = False, cdi: bool = False) -> None:
        self.bed, self.hook, self.cdi = podman.bed, hook, cdi

    def __enter__(self) -> Dockerd:
        for name in self.bed.names:
            self._start(name)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        ended = f"while [ -e /proc/$pid/exe ]; do sleep 0.1; done; umount {_HOOKS} {_CDI} 2>/dev/null; true"
        for name in self.bed.names:
            self.docker(name, "rm -f $(docker ps -aq) 2>/dev/null", check=False)
            self.bed.run(name, f"pid=$(cat {_RUN}.pid) && kill $pid && {ended}", check=False, timeout=60)

    def docker(self, name: str, words: str, check: bool = True) -> str:
        words = words.replace("$(docker ", f"$({COMMAND} ")
        return self.bed.run(name, f"{COMMAND} {words}", timeout=120, check=check).stdout

    def load(self, name: str) -> None:
        self.bed.run(name, f"{SHIM} save {IMAGE} | {COMMAND} load", timeout=120)

    @property
    def release(self) -> tuple[int, int]:
        words = self.docker(self.bed.names[0], "version --format '{{.Server.Version}}'").split(".")
        return int(words[0]), int(words[1])

    def _start(self, name: str) -> None:
        self._simulate(name)
        path = f"{_HOOKS}:{FOLDER}/usr/bin:{FOLDER}/usr/sbin:/usr/sbin:/usr/bin:/sbin:/bin"
        flags = (
            f"--data-root {self.bed.folder}/dockerd-{name} --exec-root {_RUN} --pidfile {_RUN}.pid "
            f"-H unix://{_SOCKET} --storage-driver vfs --bridge none --iptables=false --ip6tables=false "
            "--exec-opt native.cgroupdriver=cgroupfs"
        )
        flags += " --add-runtime nvidia=runc" if self.hook else ""
        up = f"until {COMMAND} version >/dev/null 2>&1; do [ -e /proc/$! ] || exit 1; sleep 0.2; done"
        start = f"setsid env PATH={path} {FOLDER}/usr/sbin/dockerd {flags} </dev/null >{_RUN}.log 2>&1 & {up}"
        self.bed.run(name, start, timeout=120)

    def _simulate(self, name: str) -> None:
        made = [program for program, on in ((_HOOK, self.hook), (_CDI_HOOK, self.cdi)) if on]
        if made:
            self.bed.run(name, f"mount -t tmpfs hook {_HOOKS}")
        for program in made:
            self.bed.run(name, f"printf '#!/bin/sh\nexit 0\n' > {program} && chmod +x {program}")
        if self.cdi:
            spec = f"printf %s {shlex.quote(_SPEC)} > {_CDI}/nvidia.yaml"
            self.bed.run(name, f"mkdir -p {_CDI} && mount -t tmpfs cdi {_CDI} && {spec}")
