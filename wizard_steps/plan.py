"""The milestones of each path, in the order they are walked. A new one is one line here."""

from __future__ import annotations

from wizard_steps.cluster.file import Cluster
from wizard_steps.engine.step import Step
from wizard_steps.milestones.curl import Curl
from wizard_steps.milestones.docker_ready import DockerReady
from wizard_steps.milestones.fabric import Fabric
from wizard_steps.milestones.head import Head
from wizard_steps.milestones.install import Install
from wizard_steps.milestones.ip import Ip
from wizard_steps.milestones.preflight import Preflight
from wizard_steps.milestones.probe import Probe
from wizard_steps.milestones.ray_status import RayStatus
from wizard_steps.milestones.reach import Reach
from wizard_steps.milestones.serve import Serve
from wizard_steps.milestones.smi import Smi
from wizard_steps.milestones.workers import Workers

PATHS: dict[str, tuple[type[Step], ...]] = {
    "bare-metal": (
        Reach,
        Preflight,
        Ip,
        Smi,
        Install,
        Fabric,
        Head,
        Workers,
        RayStatus,
        Serve,
        Curl,
        Probe,
    ),
    "docker": (
        Reach,
        Preflight,
        Ip,
        Smi,
        DockerReady,
        Fabric,
        Head,
        Workers,
        RayStatus,
        Serve,
        Curl,
        Probe,
    ),
}


#: Milestones that only Ray needs. (In containers head and workers start these, with or without Ray.)
_RAYS = {"bare-metal": (Head, Workers, RayStatus), "docker": (RayStatus,)}


def plan_for(cluster: Cluster) -> list[Step]:
    """The milestones for a cluster's path and executor."""
    left_out = _RAYS[cluster.path] if cluster.serve.executor == "mp" else ()
    return [step() for step in PATHS[cluster.path] if step not in left_out]


def milestone(step_id: str) -> Step | None:
    """The milestone of that id, or that once had it, on any path; None where there is none (any more)."""
    steps = [step for steps in PATHS.values() for step in steps]
    return next((step() for step in steps if step.id == step_id), None) or next(
        (step() for step in steps if any(old == step_id for old, _ in step.formerly)), None
    )
