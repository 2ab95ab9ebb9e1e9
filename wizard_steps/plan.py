"""The milestones of each path, in the order they are walked. A new one is one line here."""

from __future__ import annotations

from collections.abc import Collection
from importlib import import_module

from wizard_steps.cluster.file import Cluster
from wizard_steps.engine.step import Step
from wizard_steps.errors import MilepostError

#: A module of ``milestones/``, which is the id of its step; then its paths, where it is not on all of them.
_ORDER: tuple[tuple[str, ...], ...] = (
    ("reach",),
    ("preflight",),
    ("ip",),
    ("smi",),
    ("kit",),
    ("install", "bare-metal"),
    ("docker_ready", "docker"),
    ("fabric",),
    ("head",),
    ("workers",),
    ("ray_status",),
    ("rehearse",),
    ("weights",),
    ("serve",),
    ("curl",),
    ("probe",),
)


def _step(name: str) -> type[Step]:
    """The step that a module of ``milestones/`` is about."""
    module = import_module(f"{__package__}.milestones.{name}")
    for value in vars(module).values():
        if isinstance(value, type) and issubclass(value, Step) and value.id == name:
            return value
    raise MilepostError(f"{module.__file__}: holds no Step whose id is {name!r}")


PATHS: dict[str, tuple[type[Step], ...]] = {
    path: tuple(_step(name) for name, *paths in _ORDER if not paths or path in paths)
    for path in ("bare-metal", "docker")
}


#: Milestones that are walked when they are asked for (`milepost load`, `milepost enable`), in their order.
_OPTIONAL: tuple[tuple[str, ...], ...] = (("load",), ("upgrade",), ("units",), ("reboot",), ("exposed",))
OPTIONAL: tuple[type[Step], ...] = tuple(_step(name) for name, *_ in _OPTIONAL)


def plan_for(cluster: Cluster) -> list[Step]:
    """The milestones for a cluster's path and executor."""
    path, without_ray = cluster.path, cluster.serve.executor == "mp"
    left_out = {"rehearse"} if cluster.serve.rehearse == "no" else set()
    left_out |= set() if cluster.install.kit else {"kit"}
    steps = [step for step in PATHS[path] if step.id not in left_out]
    return [step() for step in steps if not (without_ray and path in step.only_ray)]


def optional(*names: str) -> list[Step]:
    """Those of the optional milestones that are named."""
    return [step() for step in OPTIONAL if step.id in names]


#: What is walked before anything that runs is touched: the machines, the versions, the new environment.
_PREPARING: tuple[tuple[str, ...], ...] = (("reach",), ("preflight",), ("ip",), ("smi",), ("upgrade",),
                                           ("install",), ("docker_ready",))  # fmt: skip


def preparing(cluster: Cluster) -> list[Step]:
    """The milestones of an upgrade while the old server goes on."""
    names = [name for name, *_ in _PREPARING]
    steps = {step.id: step for step in (*plan_for(cluster), *optional(*names))}
    return [steps[name] for name in names if name in steps]


def plan_like(cluster: Cluster, named: Collection[str]) -> list[Step]:
    """Today's plan for a recording that names these milestones: optional ones may be all of them, or what an
    upgrade walks before it interrupts anything."""
    if "upgrade" in named and set(named) <= {name for name, *_ in _PREPARING}:
        return preparing(cluster)
    extra = optional(*named)
    alone = bool(extra) and {step.id for step in extra} >= set(named)
    return extra if alone else [*plan_for(cluster), *extra]


def milestone(step_id: str) -> Step | None:
    """The milestone of that id, or that once had it, on any path; None where there is none (any more)."""
    steps = [*(step for steps in PATHS.values() for step in steps), *OPTIONAL]
    return next((step() for step in steps if step.id == step_id), None) or next(
        (step() for step in steps if any(old == step_id for old, _ in step.formerly)), None
    )
