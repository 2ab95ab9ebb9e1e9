"""The set-up form as values: from a cluster to what the fields hold, and back with the file's own checks."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from tui.app.fields import as_text
from wizard_steps.cluster.address import address
from wizard_steps.cluster.edit import like
from wizard_steps.cluster.file import Cluster, NodeEntry, dump, load, problems
from wizard_steps.cluster.words import own_words
from wizard_steps.errors import UsageError

#: Fields below the nodes: name in the cluster file, label, what it is.
FIELDS = (
    ("name", "Name", "of this cluster, for files and recordings"),
    ("path", "Path", "how vLLM runs on the machines"),
    ("venv", "Environment", "folder of the Python environment, at the same path on every node"),
    ("docker.image", "Image", "empty: vLLM's official image for the version in the file"),
    ("docker.ray", "Ray in it", "vLLM's official images after v0.17.1 contain no Ray"),
    ("docker.send_image", "Image from", "20 to 30 GB on every node"),
    ("docker.command", "Command", "docker, a full path, or sudo -n docker"),
    ("docker.gpu_flags", "GPU flags", "podman and CDI: --device nvidia.com/gpu=all"),
    ("docker.hf_home", "Model cache", "Hugging Face cache on the nodes, mounted into the containers"),
    ("serve.model", "Model", "Hugging Face id, or a path that every node has"),
    ("serve.tensor_parallel", "TP", "GPUs that share each layer: stay inside a machine"),
    ("serve.pipeline_parallel", "PP", "stages of complete layers, across machines: TP x PP GPUs in all"),
    ("serve.executor", "Joined by", "what joins the machines for vLLM"),
    ("serve.port", "Port", "of the API, on the head"),
    ("serve.api_key", "API key", "without one, everybody who reaches the port may use the model"),
    ("ray.auth", "Ray token", "without one, anybody who reaches Ray may run code on the nodes"),
    ("serve.extra_flags", "More flags", "for vllm serve, as you would type them"),
    ("ssh.identity", "SSH key", "file of a private key; empty: the keys that ssh itself would use"),
)
#: Fields that only one path has.
ONLY = {"venv": "bare-metal", **{where: "docker" for where, _, _ in FIELDS if where.startswith("docker.")}}

#: Fields with a few answers: what the cluster file holds -> the words for it.
CHOICES = {
    "path": {"bare-metal": "bare metal: a Python environment", "docker": "Docker: vLLM's image"},
    "serve.executor": {"ray": "Ray", "mp": "vLLM's own launcher, without Ray"},
    "docker.ray": {
        "ask": "ask me where the image has none",
        "build": "add it to the image on every node",
        "none": "go without Ray: vLLM's own launcher",
        "image": "the image has it",
    },
    "docker.send_image": {
        "false": "every node pulls it",
        "true": "the head pulls it and sends it to the others",
    },
    "serve.api_key": {"false": "not asked for", "true": "clients must give one: you are asked for it"},
    "ray.auth": {"off": "left to Ray", "token": "one for all nodes, made by milepost"},
}


@dataclass
class NodeForm:
    """``base`` is the place in the cluster the form began with: what the form does not ask is kept."""

    host: str = ""
    role: str = "worker"
    gpus: str = "8"
    fabric_ip: str = ""
    base: int | None = None


@dataclass
class Form:
    nodes: list[NodeForm] = field(default_factory=list)
    values: dict[str, str] = field(default_factory=dict)


def empty() -> Cluster:
    """What a new form starts from: a head and a worker, the tutorial's values."""
    return Cluster(nodes=(NodeEntry(host="gpu-a", role="head", gpus=8), NodeEntry(host="gpu-b", gpus=8)))


def form_of(cluster: Cluster) -> Form:
    """What the fields hold for a cluster."""
    nodes = [NodeForm(n.host, n.role, str(n.gpus), n.fabric_ip, i) for i, n in enumerate(cluster.nodes)]
    plain: Any = msgspec.to_builtins(cluster)
    values = {}
    for where, _, _ in FIELDS:
        value = plain
        for key in where.split("."):
            value = value[key]
        values[where] = as_text(value)
    return Form(nodes, values)


def cluster_of(form: Form, base: Cluster, whole: bool = True) -> Cluster:
    """The cluster a form describes; what it does not ask comes from ``base``. Not ``whole``: its machines
    alone have to be right, for they are asked how many GPUs they have.

    Raises UsageError that begins with the field.
    """
    plain: Any = msgspec.to_builtins(base)
    before = plain["nodes"]
    plain["nodes"] = [_node(n, node, before) for n, node in enumerate(form.nodes)]
    for where, text in form.values.items():
        *tables, key = where.split(".")
        target = plain
        for table in tables:
            target = target[table]
        target[key] = like(target[key], text.strip(), where)
    try:
        cluster = msgspec.convert(plain, Cluster)
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at `$.")
        where = path.rstrip("`") or "nodes"
        raise UsageError(f"{where}: {own_words(where, message)}") from None
    for where, message in problems(cluster):
        if whole or where.startswith("nodes"):
            raise UsageError(f"{where}: {message}")
    return cluster


def labelled(problem: str, hosts: Sequence[str]) -> tuple[str, str]:
    """(field, message) of an error of the form, the message with the label that the form shows."""
    where, _, message = problem.partition(": ")
    machine = re.fullmatch(r"nodes\[(\d{1,4})\](?:\.(\w+))?", where)
    if machine is not None:
        number = int(machine[1])
        host = hosts[number].strip() if number < len(hosts) else ""
        column = _COLUMNS.get(machine[2] or "host", machine[2] or "")
        return where, f"Machine {number + 1}{f' ({host})' if host else ''}, {column}: {message}"
    label = next((label for name, label, _ in FIELDS if where == name), "")
    return (where, f"{label}: {message}") if label else ("", problem)


#: What the form calls the fields of a machine.
_COLUMNS = {"host": "SSH host", "gpus": "GPUs", "fabric_ip": "IP for GPU traffic", "role": "role"}


def spoken(host: str, entry: NodeEntry | None = None) -> str:
    """How what is typed as host is understood: user, host and port apart. ``entry``: what the file says."""
    found = address(host) if host.strip() else None
    if found is None:
        return "" if not host.strip() else f"{host.strip()}: not read as host, user@host or user@host:port"
    name, number = found.user or (entry.user if entry else ""), found.port or (entry.port if entry else 0)
    user = f"user {name}" if name else "user: as ssh has it"
    port = f"port {number}" if number else "port: as ssh has it"
    return f"ssh to host {found.host}, {user}, {port}"


def _node(number: int, node: NodeForm, before: Sequence[dict[str, Any]]) -> dict[str, Any]:
    where = f"nodes[{number}]"
    entry = {} if node.base is None else dict(before[node.base])
    entry.update(host=node.host.strip(), role=node.role, fabric_ip=node.fabric_ip.strip())
    entry["gpus"] = like(0, node.gpus.strip(), f"{where}.gpus")
    return entry


def save(cluster: Cluster, path: Path) -> Cluster:
    """Write the cluster file (comments that are in it are kept), and read it back as the CLI would.

    Raises UsageError when that fails.
    """
    try:
        before = path.read_text(encoding="utf-8") if path.exists() else ""
        path.write_text(dump(cluster, before), encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: cannot be written: {error}") from None
    return load(path)
