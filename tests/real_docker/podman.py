"""Podman's docker command on the hosts of the test bed, each host with its own engine state.

vfs storage, cgroups by file system, runc: what works as root nearly everywhere. Every host finds its settings
at the same path, so that one ``docker.command`` serves all. GPUs are SIMULATED by the bed's nvidia-smi, which
is mounted into the containers; podman takes ``--gpus all`` and does nothing.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType

from tests.real import vllm_env
from tests.real.hosts import Hosts
from tests.real_docker import rootfs
from wizard_steps.lab.containers import settings

#: podman-docker's own. On the hosts a wrapper of ours lies over it, and over a docker client without an engine
#: that may come first in PATH: there `docker` is podman with the settings of the bed.
SHIM = "/usr/bin/docker"
CLIENT = "/usr/local/bin/docker"
SETTINGS = "/opt/podman"
#: Docker's own client on the hosts, where this machine has one; it finds no engine there.
ENGINELESS = f"{SETTINGS}/docker-client"
COMMAND = "docker"
_WRAPPER = f"""#!/bin/sh
export CONTAINERS_CONF={SETTINGS}/containers.conf CONTAINERS_STORAGE_CONF={SETTINGS}/storage.conf
exec /usr/bin/podman "$@"
"""
IMAGE = "localhost/milepost-test:ray"
WITHOUT_RAY = "localhost/milepost-test:no-ray"
_PATH = "ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_VENV = f"{vllm_env.MOUNTED_AT}/bin"
#: Python of the image without Ray, with a SIMULATED pip: it leaves a link where the real one would install.
_PYTHON = f"""#!/bin/sh
case "$*" in
    *"pip install"*"ray[default]=="*)
        echo "SIMULATED pip: Successfully installed ray"; exec ln -s {_VENV}/ray /usr/local/bin/ray ;;
esac
exec {_VENV}/python3 "$@"
"""


def mounts() -> list[str]:
    """Flags that bring into a container what its image only points to: Python with Ray and vLLM, nvidia-smi."""
    found = [vllm_env.MOUNTED_AT, "/usr/local/bin/nvidia-smi"]
    if sys.base_prefix.startswith(("/root/", "/home/", "/opt/", "/tmp/")):
        found.append(sys.base_prefix)
    return [word for path in found for word in ("-v", f"{path}:{path}:ro")]


class Podman:
    """Both images on every host of ``bed``: the same bytes everywhere, so the same digest."""

    def __init__(self, bed: Hosts) -> None:
        self.bed = bed
        self.folder = Path(tempfile.mkdtemp(prefix="podman-", dir=bed.folder))
        self.wrapper = self.folder / "docker"
        self.wrapper.write_text(_WRAPPER)
        self.wrapper.chmod(0o755)

    def __enter__(self) -> Podman:
        archives = self._archives()
        for name in self.bed.names:
            self._settle(name)
            for archive in archives:
                self.docker(name, f"load -q -i {archive}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for name in self.bed.names:
            self.docker(name, "rm -f -a", check=False)

    def docker(self, name: str, words: str, check: bool = True) -> str:
        """Run podman's docker command inside a host, without ssh."""
        done = self.bed.run(name, f"{SHIM} {words}", timeout=120, check=check)
        return done.stdout

    def reimport(self, name: str, image: str) -> None:
        """Give one host an image of the same name and contents, but another digest."""
        tar = self.folder / "ray.tar"
        change = shlex.quote("LABEL of=another-build")
        self.docker(name, f"import --change {shlex.quote(_PATH)} --change {change} {tar} {image}")

    def reload(self, name: str) -> None:
        self.docker(name, f"load -q -i {self.folder / 'ray.oci'}")

    def _settle(self, name: str) -> None:
        # `ip netns exec`, which the bed uses, shows a fresh /sys without the cgroup tree.
        mounts = Path("/proc/self/mounts").read_text()
        self.bed.run(name, _more_cgroups(mounts) if self.bed.systemd else cgroup_mounts(mounts))
        graph = self.folder / f"graph-{name}"
        for file, text in settings("/run/podman", str(graph)).items():
            script = f"mkdir -p {SETTINGS} && printf %s {shlex.quote(text)} > {SETTINGS}/{file}"
            self.bed.run(name, script)
        if Path(CLIENT).exists():
            self.bed.run(name, f"touch {ENGINELESS} && mount --bind {CLIENT} {ENGINELESS}")
        for over in (SHIM, CLIENT):
            if Path(over).exists():
                self.bed.mount_over(name, self.wrapper, over)

    def _archives(self) -> list[Path]:
        base = rootfs.build(self.folder / "base.tar")
        scripts = {name: f'#!/bin/sh\nexec {_VENV}/{name} "$@"\n' for name in ("python3", "vllm", "ray")}
        rootfs.variant(base, self.folder / "ray.tar", scripts)
        bare = {"vllm": scripts["vllm"], "python3": _PYTHON}
        rootfs.variant(base, self.folder / "no-ray.tar", bare)
        env = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": str(self.folder)}
        for file, text in settings(str(self.folder / "run"), str(self.folder / "graph")).items():
            (self.folder / file).write_text(text)
        env["CONTAINERS_CONF"] = str(self.folder / "containers.conf")
        env["CONTAINERS_STORAGE_CONF"] = str(self.folder / "storage.conf")
        made = []
        for stem, image in (("ray", IMAGE), ("no-ray", WITHOUT_RAY)):
            target = self.folder / f"{stem}.oci"
            for words in (
                ["import", "--change", _PATH, str(self.folder / f"{stem}.tar"), image],
                ["save", "--format", "oci-archive", "-o", str(target), image],
            ):
                subprocess.run(["podman", *words], check=True, capture_output=True, env=env, timeout=60)
            made.append(target)
        return made

    def cluster_file(
        self,
        path: Path,
        image: str = IMAGE,
        serve: dict[str, object] | None = None,
        ray_table: dict[str, object] | None = None,
        gpus: int = 2,
        **docker: object,
    ) -> Path:
        """The bed's cluster file with ``path = "docker"``. ``docker`` adds to that table; ``ray_table`` to Ray's.

        ``gpus``: how many of the two of each node are used. With one, Ray cannot put two ranks on one node.
        """
        table: dict[str, object] = {
            "image": image,
            "command": COMMAND,
            "shm_size": "256m",
            "ulimits": [],
            "extra_flags": mounts(),
            **docker,
        }
        text = self.bed.cluster_file(path=path, settle=4, serve=serve, ray=ray_table).read_text()
        text = text.replace("gpus = 2", f"gpus = {gpus}").replace("--num-gpus=2", f"--num-gpus={gpus}")
        lines = ["", "[docker]", *(f"{key} = {json.dumps(value)}" for key, value in table.items())]
        path.write_text('path = "docker"\n' + text + "\n".join(lines) + "\n")
        return path


def _more_cgroups(mounts: str) -> str:
    """sh text for a host that systemd runs: the version 1 controllers that its systemd has left out. What
    systemd itself has mounted must stay in sight: it starts no unit otherwise (219/CGROUP)."""
    kinds = [
        line.split()[1].rpartition("/")[2] for line in mounts.splitlines() if line.split()[2] == "cgroup"
    ]
    wanted = " ".join(shlex.quote(kind) for kind in kinds if kind != "systemd")
    return (
        "set -e\nmount -o remount,rw /sys/fs/cgroup\n"
        f"for c in {wanted}; do d=/sys/fs/cgroup/$c; mkdir -p $d\n"
        "mountpoint -q $d || mount -t cgroup -o $c cgroup $d; done\n"
        "mount -o remount,ro /sys/fs/cgroup\n"
        if wanted
        else ":\n"
    )


def cgroup_mounts(mounts: str) -> str:
    """sh text that shows the cgroup tree of this machine, version 1 or 2, in a host of its own."""
    script = ["set -e"]
    for line in mounts.splitlines():
        _, where, kind, options = line.split()[:4]
        if kind == "cgroup2" and where == "/sys/fs/cgroup":
            return "mount -t cgroup2 cgroup2 /sys/fs/cgroup"
        if kind == "cgroup":
            wanted = ",".join(o for o in options.split(",") if o not in ("rw", "ro", "relatime", "nosuid"))
            wanted = ",".join(o for o in wanted.split(",") if o not in ("nodev", "noexec"))
            script.append(f"mkdir -p {where} && mount -t cgroup -o {wanted} cgroup {where}")
    return "\n".join(["mount -t tmpfs -o mode=755 cgroup /sys/fs/cgroup", *script])
