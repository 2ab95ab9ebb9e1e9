"""What a node's container engine is, and how it gives containers their GPUs. One rule for check and gate.

``--gpus`` needs the NVIDIA hook in the PATH of Docker's daemon (the toolkit that registers the NVIDIA runtime
brings it). Docker 29.2 and newer try a CDI specification first, where nvidia-cdi-hook is in that PATH, and go
back to the hook; podman 5 takes a specification alone. ``--device nvidia.com/gpu=...`` always needs one, with
Docker 25 or newer and CDI switched on. Sources: daemon/devices_nvidia_linux.go of moby at docker-v29.0.0 to
docker-v29.7.2, and the `docker info` of users in issues 434 and 1967 of NVIDIA/nvidia-container-toolkit.
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
_CDI_DEVICES, _CDI_GPUS = (25, 0), (29, 2)
_MACHINES = {"x86_64": "amd64", "aarch64": "arm64", "arm64": "arm64", "amd64": "amd64"}


class ContainerEngine(Struct, frozen=True):
    """``kind``: docker, podman or "" where it did not tell. ``cdi``, ``hook``, ``cdi_hook``: what was found.

    ``cdi_dirs``: where Docker looks for CDI specifications; "none": nowhere; "": it did not tell.
    """

    kind: str = ""
    version: str = ""
    rootless: bool = False
    runtimes: tuple[str, ...] = ()
    hook: str = ""
    cdi_hook: str = ""
    cdi: str = ""
    cdi_dirs: str = ""
    log_driver: str = ""
    events: str = ""
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

    @property
    def follows_logs(self) -> bool:
        """podman refuses `logs --follow` of a log in the journal where its events are not there as well."""
        return self.kind != "podman" or self.log_driver != "journald" or self.events in ("", "journald")


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
        found.get("cdi-hook", ""),
        found.get("cdi", ""),
        found.get("cdi-dirs", ""),
        found.get("log-driver", ""),
        found.get("events", ""),
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
        if _release(engine) >= (5, 0) and engine.cdi:
            return GpuWay(f"CDI ({engine.cdi})")
        if _release(engine) >= (5, 0):
            return GpuWay("no CDI specification, which podman needs for --gpus", _SPEC, sure=False)
        hint = f"set {_DEVICE}" + ("" if engine.cdi else f", after {_SPEC}")
        return GpuWay(f"podman {engine.version} ignores --gpus", hint, sure=False)
    return _docker_all(engine)


def _docker_all(engine: ContainerEngine) -> GpuWay:
    """``--gpus`` with Docker."""
    by_cdi = _release(engine) >= _CDI_GPUS
    if by_cdi and engine.cdi_hook and engine.cdi and engine.cdi_dirs != "none":
        return GpuWay(f"CDI ({engine.cdi})")
    if any("nvidia" in name for name in engine.runtimes):
        return GpuWay("the NVIDIA runtime")
    if engine.hook:
        return GpuWay(f"the NVIDIA hook ({engine.hook})")
    if not engine.cdi:
        return GpuWay("names no NVIDIA runtime, hook or CDI device", _TOOLKIT, sure=False)
    if by_cdi:
        hint = f"{_TOOLKIT}; or {_DEVICE}"
        return GpuWay(f"CDI ({engine.cdi}) without nvidia-cdi-hook", hint, sure=False)
    old = (0, 0) < _release(engine) < _CDI_DEVICES
    hint = _TOOLKIT if old else f"only Docker 29.2 and newer take --gpus so: {_DEVICE}"
    return GpuWay(f"CDI alone ({engine.cdi})", hint, sure=False)


def _by_name(engine: ContainerEngine) -> GpuWay:
    """``--device nvidia.com/gpu=...``."""
    if engine.kind == "docker" and (0, 0) < _release(engine) < _CDI_DEVICES:
        hint = 'Docker 25 is the first with CDI: update it, or docker.gpu_flags = ["--gpus", "all"]'
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


def _release(engine: ContainerEngine) -> tuple[int, int]:
    """Its major and minor version; zeros where it did not tell."""
    major, minor, *_ = [*engine.version.split("."), "", ""]
    return number(major), number(minor)
