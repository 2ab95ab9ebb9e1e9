"""What a node's container engine is, and how it gives containers their GPUs. One rule for check and gate.

``--gpus`` needs the NVIDIA runtime registered with Docker, or its hook in the daemon's PATH; new Docker and
podman 5 also go by a CDI specification. ``--device nvidia.com/gpu=...`` needs a CDI specification.
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
_SPEC = "`sudo nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml`"
_TOOLKIT = "install nvidia-container-toolkit, `sudo nvidia-ctk runtime configure`, restart docker"
_MACHINES = {"x86_64": "amd64", "aarch64": "arm64", "arm64": "arm64", "amd64": "amd64"}


class ContainerEngine(Struct, frozen=True):
    """``kind``: docker, podman or "" where it did not tell. ``cdi``, ``hook``: the file that was found."""

    kind: str = ""
    version: str = ""
    rootless: bool = False
    runtimes: tuple[str, ...] = ()
    hook: str = ""
    cdi: str = ""
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
        found.get("log-driver", ""),
        found.get("root", ""),
        _MACHINES.get(found.get("cpu", ""), found.get("cpu", "")),
        found.get("netns", ""),
        number(found.get("rdma", "")),
    )


def gpu_way(engine: ContainerEngine, flags: Sequence[str]) -> GpuWay:
    """By which way ``flags`` (docker.gpu_flags) reach the GPUs on this engine, or what is missing for it."""
    if any("nvidia.com/gpu" in flag for flag in flags):
        if engine.cdi:
            return GpuWay(f"CDI ({engine.cdi})")
        return GpuWay("no CDI specification names nvidia.com/gpu", _SPEC, sure=False)
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
    if any("nvidia" in name for name in engine.runtimes):
        return GpuWay("the NVIDIA runtime")
    if engine.hook:
        return GpuWay(f"the NVIDIA hook ({engine.hook})")
    if engine.cdi:
        hint = f"older Docker takes CDI devices by name only: {_DEVICE}"
        return GpuWay(f"CDI alone ({engine.cdi})", hint, sure=False)
    return GpuWay("names no NVIDIA runtime, hook or CDI device", _TOOLKIT, sure=False)


def _major(engine: ContainerEngine) -> int:
    return number(engine.version.partition(".")[0])
