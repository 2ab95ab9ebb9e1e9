"""Judges Python, packages, Docker, running processes, ports, the Ray token and access to the model."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from wizard_steps.cluster.file import Cluster
from wizard_steps.facts import needs as wanted
from wizard_steps.facts.finding import Finding, ok
from wizard_steps.facts.model_script import is_path
from wizard_steps.facts.node import NodeFacts
from wizard_steps.facts.software import Access, DockerFacts
from wizard_steps.model import Node, counted
from wizard_steps.node.docker import image_of
from wizard_steps.node.engine import gpu_way
from wizard_steps.node.places import place_of

#: Ray's worker ports; the client server of the head is 10001.
WORKER_PORTS = range(10002, 20000)
_DOWN = "`milepost down` with that cluster file, as the user who started it, ends it"


def judge(node: Node, facts: NodeFacts, cluster: Cluster) -> Iterator[Finding]:
    if place_of(cluster).contained:
        yield _docker(node, facts, cluster)
    else:
        yield _python(node.name, facts, cluster)
        yield from _packages(node.name, facts, cluster)
    yield _processes(node.name, facts, cluster)
    yield _ports(node, facts, cluster)
    yield _token(node.name, facts, cluster)
    yield _model(node.name, facts, cluster)
    if facts.access:
        yield _access(node.name, facts, facts.access, cluster)


def _python(node: str, facts: NodeFacts, cluster: Cluster) -> Finding:
    python = facts.software.python
    if not python:
        message = f"no {cluster.venv}/bin/python yet; the install step makes it"
        return Finding("Python", node, "warn", "absent", message)
    need = wanted.needs(cluster.serve.vllm_version)
    if need and not need.takes_python(python):
        message = f"vLLM {cluster.serve.vllm_version} needs Python {need.python_span}"
        return Finding("Python", node, "fail", python, message, "make the environment with another Python")
    return ok("Python", node, python)


def _packages(node: str, facts: NodeFacts, cluster: Cluster) -> Iterator[Finding]:
    found = facts.software.packages
    ray = {} if cluster.without_ray else {"ray": cluster.ray.version}
    pins = {"vllm": cluster.serve.vllm_version, **ray}
    for name, pin in pins.items():
        has = found.get(name, "")
        if not has:
            yield Finding(name, node, "warn", "absent", f"{pin} is wanted; the install step installs it")
        elif not wanted.installed(has, pin, cluster.simulated):
            yield Finding(name, node, "warn", has, f"the cluster file pins {pin}", "run the install step")
        else:
            yield ok(name, node, has)
    nccl = found.get("nvidia-nccl-cu13") or found.get("nvidia-nccl-cu12") or ""
    for name, version in (
        ("torch", found.get("torch", "")),
        ("NCCL", nccl),
        ("openai", found.get("openai", "")),
    ):
        if version:
            yield ok(name, node, version)


def _docker(node: Node, facts: NodeFacts, cluster: Cluster) -> Finding:
    docker = facts.docker
    if docker is None or not docker.server:
        why = docker.problem if docker else "not asked"
        return Finding(
            "docker", node.name, "fail", why[:80], "no Docker engine answers", "install or start it"
        )
    return _engine(node, docker, cluster)


def _engine(node: Node, docker: DockerFacts, cluster: Cluster) -> Finding:
    """The same rule as at the gate, which looks into a container as well: where that has to decide, it is a
    warning here."""
    name, way = docker.engine.name, gpu_way(docker.engine, cluster.docker.gpu_flags)
    said, tips = [], []
    if node.gpus and way.hint:
        said.append(way.text)
        tips.append(f"if the container test fails: {way.hint}")
    if docker.engine.rootless and docker.engine.kind == "docker":
        said.append("rootless Docker puts --network host into a network of its own")
        tips.append("use Docker with root rights, or podman")
    if not docker.image:
        said.append("the image is not here yet")
        tips.append(f"{cluster.docker.command} pull {image_of(cluster)}")
    if said:
        return Finding("docker", node.name, "warn", name, "; ".join(said), "; ".join(tips))
    return ok("docker", node.name, f"{name}, image {docker.image.removeprefix('sha256:')[:12]}")


def _processes(node: str, facts: NodeFacts, cluster: Cluster) -> Finding:
    if not facts.processes_known:
        return Finding("Ray, vLLM", node, "unknown", "not read", "`ps` is not installed")
    others = [one for one in facts.processes if not is_ours(facts, one.pid)]
    if not facts.processes and facts.processes_hidden:
        said = "none of this user; processes of other users are hidden"
        tip = "the mount option hidepid of /proc hides them; root, or its group (gid=), sees all"
        return Finding("Ray, vLLM", node, "unknown", said, tip)
    if not facts.processes:
        return ok("Ray, vLLM", node, "none running")
    if not others:
        return ok("Ray, vLLM", node, "running, started by milepost")
    kinds = sorted({one.kind.rstrip(":") for one in others})
    users = sorted({one.user for one in others})
    found = f"{counted(len(others), 'process')}: {', '.join(kinds)} of {', '.join(users)}"
    if cluster.simulated:
        message = "not the lab's: something else on this machine; the lab has ports of its own"
        return Finding("Ray, vLLM", node, "warn", found, message)
    hint = (
        "`milepost down` ends what milepost started for this cluster file; end others only if they are yours"
    )
    if names := sorted({facts.ours.clusters[one.pid] for one in others if one.pid in facts.ours.clusters}):
        found += f", started by milepost for {', '.join(map(repr, names))}"
        hint = _DOWN
    return Finding(
        "Ray, vLLM", node, "fail", found, "already running: a second start collides or counts twice", hint
    )


def is_ours(facts: NodeFacts, pid: int) -> bool:
    """Whether milepost started this process for this cluster. Where the processes of our containers cannot be
    told apart (no control groups), the running container has to do."""
    return pid in facts.ours.pids or bool(facts.docker and facts.docker.ours and not facts.ours.pids)


def _client_port(cluster: Cluster) -> int:
    name = "--ray-client-server-port="
    return next(
        (int(flag[len(name) :]) for flag in cluster.ray.head_flags
         if flag.startswith(name) and flag[len(name) :].isdigit()),
        10001,
    )  # fmt: skip


def _ports(node: Node, facts: NodeFacts, cluster: Cluster) -> Finding:
    if not facts.listeners_known:
        return Finding(
            "ports", node.name, "unknown", "not read", "neither /proc/net/tcp nor ss could be read"
        )
    # Only the head listens on fixed ports; a worker's are in the range.
    rays = {
        cluster.ray.port: "Ray GCS",
        cluster.ray.dashboard_port: "Ray dashboard",
        _client_port(cluster): "Ray client",
    }
    ranks = {cluster.meeting_port: "vLLM's ranks"}
    mine = {cluster.serve.port: "vLLM", **(ranks if cluster.without_ray else rays)}
    if cluster.serve.data_parallel > 1:
        mine[cluster.serve.data_parallel_port] = "vLLM's replicas"
    held = bool(facts.docker and facts.docker.ours and not facts.ours.sockets)
    # A server of ours that ends during the look has its pid still, and its socket no more.
    own = facts.ours
    others = [
        one for one in facts.listeners if not ({one.inode} & own.sockets or {one.pid} & own.pids or held)
    ]
    taken = [one for one in others if node.role == "head" and one.port in mine]
    if taken:
        found = ", ".join(
            f"{port} ({mine[port]}){' by ' + program if program else ''}"
            for port, program in sorted({(one.port, one.program) for one in taken})
        )
        hint = "end what listens there (`sudo ss -ltnp` names it), or choose other ports in the cluster file"
        # Where the listeners' pids are known, only they count.
        pids = {one.pid for one in taken}
        rivals = {name for pid, name in own.clusters.items() if 0 in pids or pid in pids}
        if names := ", ".join(sorted(map(repr, rivals))):
            hint = f"milepost runs {names} here; {_DOWN}, or choose other ports in the cluster file"
        return Finding("ports", node.name, "fail", found, "already taken", hint)
    inside = sorted({one.port for one in others if one.port in WORKER_PORTS})
    # The lab shares one machine's ports; its Ray takes free ones.
    if inside and not cluster.simulated and not cluster.without_ray:
        found = ", ".join(map(str, inside[:5])) + (" ..." if len(inside) > 5 else "")
        message = (
            "another program listens inside Ray's worker range 10002-19999; Ray takes the next free port"
        )
        return Finding("ports", node.name, "warn", found, message)
    return ok("ports", node.name, "free" if len(others) == len(facts.listeners) else "free, or ours")


def _token(node: str, facts: NodeFacts, cluster: Cluster) -> Finding:
    token = facts.token
    if cluster.without_ray:
        return ok("Ray token", node, "not needed: no Ray")
    if cluster.ray.auth == "token":
        # Ray is then told to read milepost's own file: the user's ~/.ray/auth_token plays no part.
        return ok("Ray token", node, "milepost creates one")
    if token.digest:
        return ok("Ray token", node, f"sha256 {token.digest}")
    if token.source == "absent":
        return ok("Ray token", node, "absent")
    return Finding("Ray token", node, "unknown", token.source, "the token file could not be read")


def _model(node: str, facts: NodeFacts, cluster: Cluster) -> Finding:
    model = facts.model
    if model.partial:
        message = "a download was interrupted"
        hint = f"on the node: `{_hf(cluster)} download {shlex.quote(cluster.serve.model)}`"
        return Finding("model", node, "warn", model.folder, message, hint)
    if model.present and (model.config or model.revision):
        return ok("model", node, f"{_size(model.kib)}, config {model.config or model.revision[:12]}")
    if is_path(cluster.serve.model):
        empty = "no config.json in it: the wrong folder, or a share that is not mounted?"
        message = empty if model.present else "the folder is not on this node"
        hint = _copy(node, cluster)
        return Finding("model", node, "fail", model.folder or cluster.serve.model, message, hint)
    return ok("model", node, "not downloaded yet")


def _hf(cluster: Cluster) -> str:
    """The hub's command: in the environment on bare metal."""
    return shlex.quote(place_of(cluster).program("hf"))


def _copy(name: str, cluster: Cluster) -> str:
    """How to bring the model to a node under the same path; rsync -L follows the links of a hub cache."""
    path = shlex.quote(cluster.serve.model.rstrip("/"))
    node = next((one for one in cluster.node_list if one.name == name), None)
    there = shlex.quote(f"{node.user}@{node.host}" if node and node.user else node.host if node else name)
    return (
        f"from a node that has it: `ssh {there} mkdir -p {path} && rsync -aL {path}/ {there}:{path}/`; "
        "or share the folder over the network"
    )


def _size(kib: int) -> str:
    return f"{kib / (1 << 20):.1f} GiB" if kib >= 1 << 20 else f"{kib / 1024:.1f} MiB"


def _access(node: str, facts: NodeFacts, access: Access, cluster: Cluster) -> Finding:
    local = facts.model.present and not facts.model.partial
    token = {"none": "no token", "": "no token"}.get(access.token, f"token from {access.token}")
    if access.offline:
        if local:
            return ok("model access", node, "offline mode, model is here")
        if cluster.install.kit:
            found = f"offline mode: the kit {cluster.install.kit} has to bring the model"
            return ok("model access", node, found)
        hint = "unset HF_HUB_OFFLINE, or download the model first"
        return Finding(
            "model access", node, "fail", "HF_HUB_OFFLINE", "and the model is not on this node", hint
        )
    if 200 <= access.status < 400:
        return ok("model access", node, f"granted, {token}")
    if cluster.install.kit and not local:
        found = f"HTTP {access.status}" if access.status else (access.error or "no answer")[:80]
        message = f"the hub does not give this model: the kit {cluster.install.kit} has to bring it"
        hint = 'set HF_HUB_OFFLINE = "1" in [env], or vLLM asks the hub as well'
        return Finding("model access", node, "warn", found, message, hint)
    if access.status in (401, 403):
        found = f"HTTP {access.status} {access.code}, {token}".replace(" ,", ",")
        if access.code == "GatedRepo" or access.status == 403:
            first = "" if access.token not in ("", "none") else "set HF_TOKEN in the wizard's environment; "
            hint = (
                f"{first}accept the licence on the model's page; the token must allow reading gated "
                "repositories"
            )
        else:
            hint = (
                "set HF_TOKEN in the wizard's environment, or on the node: "
                f"`{_hf(cluster)} auth login`; check the model's name"
            )
        return Finding("model access", node, "fail", found, "the hub refuses this model", hint)
    if access.status == 404:
        hint = "check serve.model for a typo"
        return Finding(
            "model access", node, "fail", "HTTP 404", "there is no such model, or no config.json", hint
        )
    found = f"HTTP {access.status}" if access.status else (access.error or "no answer")[:80]
    verdict = "warn" if local else "fail"
    message = "the hub cannot be reached" + ("" if local else " and the model is not on this node")
    hint = "download the model elsewhere and copy it, or open the way to the hub (proxy?)"
    return Finding("model access", node, "warn" if verdict == "warn" else "fail", found, message, hint)
