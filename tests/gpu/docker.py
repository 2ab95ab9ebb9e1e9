"""The Docker path over two hosts on one machine with two GPUs: Docker's own engine, NVIDIA's own container toolkit.

    python -m tests.gpu.docker OUT NAME [NAME ...]      names: see WALKS

Needs what tests.gpu.two_hosts needs, and docker, dockerd, containerd, its shim, runc, nvidia-ctk,
nvidia-container-runtime and nvidia-cdi-hook in /srv/dk/bin. Real: the engine, the toolkit, the containers and the GPUs.
The image is made of this machine's own files, without those of the driver, which only the toolkit can bring in.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.gpu.two_hosts import (
    APART,
    MILEPOST,
    VENV,
    GpuHosts,
    Walk,
    cluster_file,
    main,
    stop_worker,
    toml,
    walked,
)
from tests.real_docker.podman import cgroup_mounts

PROGRAMS = Path("/srv/dk/bin")
IMAGE = "milepost-gpu:test"
#: The image, made once: the same bytes on every host, so the same digest.
ARCHIVE = Path("/srv/image.tar")
#: What the image's commands need, mounted read-only: Python with PyTorch, vLLM and Ray are many gigabytes.
MOUNTED = ("/opt/torch", VENV, "/srv/site", "/usr/local/cuda-13.0")
_PATH = (
    f"ENV PATH={VENV}/bin:/usr/local/nvidia/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
)
_IN_IMAGE = (
    "bin lib lib64 sbin usr/bin usr/sbin usr/lib usr/lib64 usr/libexec usr/include etc/passwd etc/group etc/ssl "
    "etc/ld.so.conf etc/ld.so.conf.d"
)
_LEFT_OUT = ("libcuda*", "libcudadebugger*", "libnv*", "nvidia*", "usr/lib/firmware", "usr/lib/modules")
#: Libraries of this machine that are larger are for other work than vLLM's; without them the image is soon made.
_LARGEST = "30M"
_RUN = "/run/dk"
#: Where the driver's own programs are: the toolkit shows in a container the nvidia-smi that it finds first.
_DRIVER = "/usr/local/nvidia/bin"
#: Folders of the machine that a host gets for itself: the toolkit's and the engine's settings are per host.
_OWN = ("/etc/docker", "/etc/cdi", "/etc/nvidia-container-runtime")


@dataclass(frozen=True)
class DockerWalk:
    """``toolkit``: "cdi" (a specification is generated), "runtime" (registered with the engine) or "" (neither)."""

    toolkit: str
    walk: Walk
    docker: dict[str, Any] = field(default_factory=dict)


class Engines:
    """Docker on every host of ``bed``, and the toolkit as its own commands set it up."""

    def __init__(self, bed: GpuHosts, toolkit: str) -> None:
        self.bed, self.toolkit = bed, toolkit

    def __enter__(self) -> Engines:
        for name in self.bed.names:
            self._start(name)
            if not ARCHIVE.exists():
                self._make_image(name)
            else:
                self.docker(name, f"load -q -i {ARCHIVE}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for name in self.bed.names:
            self.docker(name, "ps -a", check=False)
            self.docker(name, "rm -f $(docker ps -aq) 2>/dev/null", check=False)
            ended = f"pid=$(cat {_RUN}.pid) && kill $pid && while [ -e /proc/$pid/exe ]; do sleep 0.1; done"
            self.bed.run(name, ended, check=False, timeout=60)

    def docker(self, name: str, words: str, check: bool = True) -> None:
        done = self.bed.run(name, f"docker {words}", timeout=300, check=check)
        print(f"{name}$ docker {words}\n{done.stdout}{done.stderr}", flush=True)

    def _start(self, name: str) -> None:
        own = "".join(f"mkdir -p {folder} && mount -t tmpfs own {folder}\n" for folder in _OWN)
        self.bed.run(name, f"set -e\n{cgroup_mounts(Path('/proc/self/mounts').read_text())}\n{own}")
        set_up = {
            "cdi": "nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml",
            "runtime": "nvidia-ctk config --in-place; nvidia-ctk runtime configure --runtime=docker",
        }
        if self.toolkit:
            done = self.bed.run(name, f"PATH={_DRIVER}:$PATH; {{ {set_up[self.toolkit]}; }} 2>&1", timeout=60)
            print(done.stdout, flush=True)
        flags = (
            f"--data-root {self.bed.folder}/docker-{name} --exec-root {_RUN} --pidfile {_RUN}.pid "
            "--userland-proxy=false --bridge none --iptables=false --ip6tables=false --exec-opt native.cgroupdriver=cgroupfs"
        )
        up = "until docker version > /dev/null 2>&1; do [ -e /proc/$! ] || exit 1; sleep 0.2; done"
        start = f"PATH={_DRIVER}:$PATH setsid dockerd {flags} < /dev/null > {_RUN}.log 2>&1 & {up}"
        done = self.bed.run(name, start, timeout=120, check=False)
        if done.returncode:
            print(self.bed.run(name, f"tail -n 20 {_RUN}.log").stdout, flush=True)
            raise SystemExit(f"dockerd does not start on {name}")

    def _make_image(self, name: str) -> None:
        out = " ".join(f"--exclude='{pattern}'" for pattern in _LEFT_OUT)
        large = f"find /usr/lib/x86_64-linux-gnu -size +{_LARGEST} -printf 'usr/lib/x86_64-linux-gnu/%P\\n' > /tmp/large"
        tar = f"tar -C / -X /tmp/large {out} -c {_IN_IMAGE} 2> /dev/null"
        self.docker(name, f"version; {large}; {tar} | docker import --change '{_PATH}' - {IMAGE}")
        self.docker(name, f"save -o {ARCHIVE} {IMAGE}")


class DockerHosts(GpuHosts):
    """GPU hosts on whose PATH the engine's and the toolkit's programs are."""

    def _prepare(self, name: str, authorized: str) -> str:
        key = super()._prepare(name, authorized)
        for program in PROGRAMS.iterdir():
            shutil.copy2(program, self.folder / name / "bin" / program.name)
        return key


_MOUNTS = [word for path in MOUNTED for word in ("-v", f"{path}:{path}:ro")]
_SERVE = {"executor": "mp"}
WALKS = {
    "h100x2-docker": DockerWalk("cdi", Walk(APART, tp=2)),
    "h100x2-docker-runtime": DockerWalk(
        "runtime",
        Walk(APART, tp=2, serve=_SERVE),
        {"gpu_flags": ["--runtime=nvidia", "-e", "NVIDIA_VISIBLE_DEVICES=all"]},
    ),
    "h100x2-docker-no-toolkit": DockerWalk("", Walk(APART, tp=2)),
    "h100x2-docker-stopped": DockerWalk("cdi", Walk(APART, tp=2, during=stop_worker)),
}


def _checked(words: Sequence[str], log: Path) -> None:
    done = subprocess.run([*MILEPOST, *words], capture_output=True, text=True, timeout=120)
    log.write_text(done.stdout + done.stderr)
    print(f"{words[0]}: exit {done.returncode}", flush=True)


def run(out: Path, name: str) -> None:
    one = WALKS[name]
    docker = {"image": IMAGE, "shm_size": "8g", "extra_flags": _MOUNTS, **one.docker}
    with DockerHosts(one.walk.own) as bed, Engines(bed, one.toolkit) as engines:
        file = bed.folder / f"{name}.toml"
        text = cluster_file(bed, one.walk).replace(f'venv = "{VENV}"\n', "")
        file.write_text('path = "docker"\n' + text + toml("[docker]", docker))
        flags = shlex.join(docker.get("gpu_flags", ["--gpus", "all"]))
        for host in bed.names:
            engines.docker(host, f"run --rm {flags} {IMAGE} nvidia-smi -L", check=False)
        _checked(["check", str(file)], out / f"{name}.check.log")
        if one.walk.during is not None:
            one.walk.during(bed, Path(f"/tmp/walks/{name}"))
        walked(bed, [str(file), "--headless"], out, name)
        _checked(["down", str(file)], out / f"{name}.down.log")
        print("left:", [bed.processes(host) for host in bed.names], flush=True)


if __name__ == "__main__":
    main(run)
