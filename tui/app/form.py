"""The set-up form as values: from a cluster to what the fields hold, and back with the file's own checks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from tui.app.fields import as_text
from wizard_steps.cluster.edit import like
from wizard_steps.cluster.file import Cluster, NodeEntry, dump, load, problems
from wizard_steps.cluster.words import own_words
from wizard_steps.errors import UsageError
from wizard_steps.plan import PATHS

#: Fields below the nodes: name in the cluster file, label, what it is.
FIELDS = (
    ("name", "Name", "of this cluster, for files and recordings"),
    ("path", "Path", f"how vLLM runs: {' or '.join(PATHS)}"),
    ("venv", "Environment", "Python environment, at the same path on every node"),
    ("serve.model", "Model", "Hugging Face id, or a path that every node has"),
    ("serve.tensor_parallel", "TP", "GPUs each layer is cut over: stay inside a machine"),
    ("serve.pipeline_parallel", "PP", "stages of whole layers, across machines: TP x PP GPUs in all"),
    ("serve.port", "Port", "of the API, on the head"),
    ("serve.api_key", "API key", "without one, everybody who reaches the port may use the model"),
    ("ray.auth", "Ray token", "without one, who reaches Ray may run code on the nodes"),
    ("serve.extra_flags", "More flags", "for vllm serve, as you would type them"),
)

#: Fields with a few answers: what the cluster file holds -> the words for it.
CHOICES = {
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


def cluster_of(form: Form, base: Cluster) -> Cluster:
    """The cluster a form describes; what it does not ask comes from ``base``.

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
        raise UsageError(f"{where}: {message}")
    return cluster


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
