"""Faults of the lab, to find: `milepost --lab --fault NAME`. Each is in the cluster file or on a machine.

What a machine does wrong is built into it (layout.py, standins/sabotage.py, hub.py): the wizard knows nothing
of it, and its gates have to find it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from msgspec import Struct
from msgspec.structs import replace

from wizard_steps.cluster.file import Cluster, Docker
from wizard_steps.errors import UsageError
from wizard_steps.lab import containers, spaces
from wizard_steps.lab.layout import GPUS, LabLayout, Needs, require_ray

#: What a fault needs -> why this machine cannot have it, "" when it can.
OBSTACLES: Mapping[Needs, Callable[[], str]] = {
    "": str,
    "network": spaces.obstacle,
    "containers": containers.obstacle,
}
Change = Callable[[Cluster, LabLayout], Cluster]


class Fault(Struct, frozen=True):
    """``gate`` is the milestone that has to find it; ``warns``: it passes there with a warning; ``needs``:
    what the lab needs for it, besides what it always does."""

    name: str
    about: str
    gate: str
    change: Change = lambda cluster, _: cluster
    warns: bool = False
    needs: Needs = ""


def _node(number: int, **values: object) -> Change:
    def change(cluster: Cluster, _: LabLayout) -> Cluster:
        nodes = list(cluster.nodes)
        nodes[number] = replace(nodes[number], **values)
        return replace(cluster, nodes=tuple(nodes))

    return change


def _serve(**values: object) -> Change:
    return lambda cluster, _: replace(cluster, serve=replace(cluster.serve, **values))


def _settle(seconds: int) -> Change:
    """Ray needs about 20 seconds to notice a dead node; the lab usually looks for less."""
    return lambda cluster, _: replace(cluster, ray=replace(cluster.ray, settle=seconds))


def _hidden(cluster: Cluster, _: LabLayout) -> Cluster:
    flags = tuple("--num-gpus=4" if f.startswith("--num-gpus") else f for f in cluster.ray.worker_flags)
    return replace(cluster, ray=replace(cluster.ray, worker_flags=flags))


def _same_ip(cluster: Cluster, layout: LabLayout) -> Cluster:
    return _node(1, fabric_ip=layout.nodes[0].ip)(cluster, layout)


def _hub(cluster: Cluster, layout: LabLayout) -> Cluster:
    endpoint = {"HF_ENDPOINT": f"http://127.0.0.1:{layout.hub_port}"}
    return replace(cluster, env={**cluster.env, **endpoint})


def _docker(cluster: Cluster, layout: LabLayout) -> Cluster:
    docker = Docker(
        image=containers.IMAGE,
        shm_size="256m",
        ulimits=(),
        gpu_flags=(f"--env=LAB_GPUS={GPUS}",),
        extra_flags=tuple(containers.mounts(layout.venv)),
    )
    return replace(cluster, path="docker", docker=docker)


FAULTS = (
    Fault("ssh-refused", "one machine does not answer over SSH", "reach", _node(1, port=1)),
    Fault("wrong-ip", "an address that is another machine's", "preflight", _node(1, fabric_ip="127.0.0.99")),
    Fault("same-host-ip", "two machines with one address", "preflight", _same_ip),
    Fault("fewer-gpus-than-promised", "more GPUs in the file than there are", "preflight", _node(0, gpus=16)),
    Fault("model-missing", "the model is not at its path", "preflight", _serve(model="/models/llama")),
    Fault("disk-full", "a disk without any space", "preflight"),
    Fault("token-mismatch", "another Ray token on one machine", "preflight"),
    Fault("gated-model", "the hub wants the licence accepted first", "preflight", _hub),
    Fault("ray-version-differs", "an older Ray joins", "workers"),
    Fault("hidden-gpus", "Ray is given fewer GPUs than there are", "ray_status", _hidden),
    Fault("worker-twice", "a worker was started twice", "ray_status"),
    Fault("raylet-killed", "a worker's raylet is killed after it joined", "ray_status", _settle(40)),
    Fault("rank-killed", "without Ray, a rank is killed while it loads", "serve", _serve(executor="mp")),
    Fault("port-taken", "something else listens on the server's port", "serve"),
    Fault(
        "wrong-model-name",
        "the model is served under another name",
        "curl",
        _serve(extra_flags=("--served-model-name=another-name",)),
    ),
    Fault("worker-vanishes", "a worker is lost once the server is ready", "curl", _settle(2)),
    Fault(
        "key-and-invocations",
        "an API key, and routes that do not ask for it",
        "curl",
        _serve(api_key=True),
        warns=True,
    ),
    Fault("one-way-firewall", "a firewall that is open in one direction", "ip", needs="network"),
    Fault("high-ports-dropped", "a firewall with a short list of open ports", "fabric", needs="network"),
    Fault("mtu-mismatch", "a switch that passes no large packets", "fabric", needs="network"),
    Fault("digest-differs", "one image name, two images", "docker_ready", _docker, needs="containers"),
    Fault("idle-worker", "a machine that takes no part in the work", "load"),
)


def find(name: str) -> Fault:
    """The fault of that name. Raises UsageError with the list."""
    for fault in FAULTS:
        if fault.name == name:
            return fault
    raise UsageError(f"--fault {name}: no such fault.\n{listing()}")


def obstacle(name: str) -> str:
    """Why this machine cannot have the fault of that name, in one sentence; "" when it can."""
    try:
        require_ray()
    except UsageError as error:
        return str(error)
    return OBSTACLES[find(name).needs]()


def possible(name: str) -> Needs:
    """What the fault of that name needs. Raises UsageError: there is none, or not on this machine."""
    needs = find(name).needs
    if why := OBSTACLES[needs]():
        raise UsageError(f"--fault {name} is not possible here: {why}")
    return needs


def listing() -> str:
    """One fault a line. Where it is found is not told: finding it is the exercise."""
    why = {needs: look() for needs, look in OBSTACLES.items()}
    lines = [
        f"  {fault.name:<26}{fault.about}" + (f" (not here: {why[fault.needs]})" if why[fault.needs] else "")
        for fault in FAULTS
    ]
    return "\n".join(["Faults of the lab (`milepost --lab --fault NAME`):", "", *lines])
