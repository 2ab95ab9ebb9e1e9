"""What a node's container engine is, and how it gives containers their GPUs. One rule for check and gate.

``--gpus`` needs the NVIDIA hook in the PATH of Docker's daemon (the toolkit that registers the NVIDIA runtime
brings it); Docker 29 and podman 5 also take a CDI specification, which ``--device nvidia.com/gpu=...`` always
needs, with Docker 25 or newer and CDI switched on. Sources: daemon/devices_nvidia_linux.go of moby, and
the `docker info` of users in issues 434 and 1967 of NVIDIA/nvidia-container-toolkit.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from msgspec import Struct

from wizard_steps.cluster.file import Cluster
from wizard_steps.node.docker import Given, docker
from wizard_steps.node.lines import fields, number
from wizard_steps.node.program import program

#: Log drivers that keep to --log-opt max-size; others refuse it or ignore it.
_ROTATING = ("json-file", "local", "k8s-file")
_DEVICE = 'docker.gpu_flags = ["--device", "nvidia.com/gpu=all"]'
_SPEC = (
    "`sudo systemctl restart nvidia-cdi-refresh` (toolkit 1.18 and newer), or "
    "`sudo nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml`, again after every driver update"
)
_TOOLKIT = "install nvidia-container-toolkit, `sudo nvidia-ctk runtime configure`, restart docker"
_ENABLE = "`sudo nvidia-ctk runtime configure --runtime=docker --cdi.enabled`, restart docker"
#: The first Docker that takes CDI devices, and the first whose --gpus goes by CDI.
_CDI_DEVICES, _CDI_GPUS = 25, 29
_MACHINES = {"x86_64": "amd64", "aarch64": "arm64", "arm64": "arm64", "amd64": "amd64"}


class ContainerEngine(Struct, frozen=True):
    """``kind``: docker, podman or "" where it did not tell. ``cdi``, ``hook``: the file that was found.

    ``cdi_dirs``: where Docker looks for CDI specifications; "none": nowhere; "": it did not tell.
    """

    kind: str = ""
    version: str = ""
    rootless: bool = False
    runtimes: tuple[str, ...] = ()
    hook: str = ""
    cdi: str = ""
    cdi_dirs: str = ""
    log_driver: str = ""
    root: str = ""
    arch: str = ""
    netns: str = ""
    rdma: int = 0

    @property
    def name(self) -> str:
        """For a reader: ``podman 4.3.1, rootless``."""
        words = f"{self.kind or 'docker'} {self.version}".strip()
        return words + (", rootless" if self.rootless else "")

    @property
    def given(self) -> Given:
        """What the flags of a container depend on."""
        return Given(self.rdma > 0, self.log_driver in _ROTATING)


class GpuWay(Struct, frozen=True):
    """How containers get their GPUs; ``sure`` is False where only a container can tell."""

    text: str
    hint: str = ""
    sure: bool = True


def script(cluster: Cluster) -> str:
    """sh text that tells what the engine is, see ``parse``."""
    return f'engine() {{ {docker(cluster)} "$@"; }}\n{program("engine.sh")}'


def parse(text: str) -> ContainerEngine:
    """Reads what ``script`` printed, and the engine's version where ``--version`` was asked before it."""
    found = fields(text)
    version = re.search(r"\b(?:podman|docker)\s+version\s+(\d[\w.+-]{0,30})", text, re.IGNORECASE)
    return ContainerEngine(
        found.get("kind", ""),
        version[1].rstrip(",.") if version else "",
        found.get("rootless") == "yes",
        tuple(found.get("runtimes", "").split()),
        found.get("hook", ""),
        found.get("cdi", ""),
        found.get("cdi-dirs", ""),
        found.get("log-driver", ""),
        found.get("root", ""),
        _MACHINES.get(found.get("cpu", ""), found.get("cpu", "")),
        found.get("netns", ""),
        number(found.get("rdma", "")),
    )


def gpu_way(engine: ContainerEngine, flags: Sequence[str]) -> GpuWay:
    """By which way ``flags`` (docker.gpu_flags) reach the GPUs on this engine, or what is missing for it."""
    if any("nvidia.com/gpu" in flag for flag in flags):
        return _by_name(engine)
    if not any(flag.startswith("--gpus") for flag in flags):
        return GpuWay(
            f"by docker.gpu_flags ({' '.join(flags)})" if flags else "no flag asks for GPUs", sure=False
        )
    if not engine.kind:
        return GpuWay(
            "the engine did not say how", f"{_TOOLKIT}; podman 4 ignores --gpus: set {_DEVICE}", sure=False
        )
    if engine.kind == "podman":
        if _major(engine) >= 5 and engine.cdi:
            return GpuWay(f"CDI ({engine.cdi})")
        if _major(engine) >= 5:
            return GpuWay("no CDI specification, which podman needs for --gpus", _SPEC, sure=False)
        hint = f"set {_DEVICE}" + ("" if engine.cdi else f", after {_SPEC}")
        return GpuWay(f"podman {engine.version} ignores --gpus", hint, sure=False)
    return _docker_all(engine)


def _docker_all(engine: ContainerEngine) -> GpuWay:
    """``--gpus`` with Docker."""
    if _major(engine) >= _CDI_GPUS and engine.cdi and engine.cdi_dirs != "none":
        return GpuWay(f"CDI ({engine.cdi})")
    way = "the NVIDIA runtime" if any("nvidia" in name for name in engine.runtimes) else ""
    way = way or (f"the NVIDIA hook ({engine.hook})" if engine.hook else "")
    if way and _major(engine) >= _CDI_GPUS:
        hint = f"Docker {_CDI_GPUS} and newer look for CDI devices first: {_SPEC}"
        return GpuWay(f"{way}, and no CDI specification", hint, sure=False)
    if way:
        return GpuWay(way)
    if engine.cdi:
        old = 0 < _major(engine) < _CDI_DEVICES
        hint = _TOOLKIT if old else f"only Docker {_CDI_GPUS} and newer take --gpus so: {_DEVICE}"
        return GpuWay(f"CDI alone ({engine.cdi})", hint, sure=False)
    return GpuWay("names no NVIDIA runtime, hook or CDI device", _TOOLKIT, sure=False)


def _by_name(engine: ContainerEngine) -> GpuWay:
    """``--device nvidia.com/gpu=...``."""
    if engine.kind == "docker" and 0 < _major(engine) < _CDI_DEVICES:
        hint = (
            f'Docker {_CDI_DEVICES} is the first with CDI: update it, or docker.gpu_flags = ["--gpus", "all"]'
        )
        return GpuWay(f"Docker {engine.version} takes no CDI devices", hint, sure=False)
    if engine.cdi_dirs == "none":
        return GpuWay("CDI is switched off in Docker", _ENABLE, sure=False)
    if engine.cdi:
        return GpuWay(f"CDI ({engine.cdi})")
    hint = _SPEC
    if engine.rootless and engine.kind == "docker":
        hint += (
            "; rootless Docker does not see /etc/cdi: name another folder as cdi-spec-dirs in its daemon.json"
        )
    return GpuWay("no CDI specification names nvidia.com/gpu", hint, sure=False)


def _major(engine: ContainerEngine) -> int:
    return number(engine.version.partition(".")[0])
