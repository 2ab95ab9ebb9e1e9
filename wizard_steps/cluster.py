"""The cluster file, ``milepost.toml``: values, validation with line and field, comment-keeping writes.

No secret is ever in it: HF_TOKEN and friends are taken from the environment of the wizard.
"""

from __future__ import annotations

import ipaddress
import re
import shlex
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct, field

from wizard_steps import versions
from wizard_steps.errors import UsageError
from wizard_steps.model import Node
from wizard_steps.toml_text import line_of, merge_nodes, merge_table, set_item

Port = Annotated[int, Meta(ge=1, le=65535)]
Count = Annotated[int, Meta(ge=1, le=4096)]
Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")]
EnvName = Annotated[str, Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
Path_ = Literal["bare-metal", "docker"]

#: The name of a container image: registry, path, tag or digest.
IMAGE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@-]{0,254}")

#: Environment variables that hold secrets; refused in the file.
SECRET_NAMES = re.compile(r"(TOKEN|SECRET|PASSWORD|PASSWD|API_?KEY)", re.IGNORECASE)


class NodeEntry(Struct, frozen=True, forbid_unknown_fields=True):
    host: Annotated[str, Meta(min_length=1, max_length=255)]
    gpus: Annotated[int, Meta(ge=1, le=1024)]
    role: Literal["head", "worker"] = "worker"
    name: Name | None = None
    user: str = ""
    port: Annotated[int, Meta(ge=0, le=65535)] = 0
    fabric_ip: str = ""


class Serve(Struct, frozen=True, forbid_unknown_fields=True):
    """``vllm serve``: what is served, and how it is split over the GPUs."""

    model: Annotated[str, Meta(min_length=1)] = "meta-llama/Llama-3.2-1B-Instruct"
    served_model_name: str = ""
    tensor_parallel: Count = 1
    pipeline_parallel: Count = 1
    host: str = "0.0.0.0"
    port: Port = 8000
    extra_flags: tuple[str, ...] = ()
    vllm_version: str = versions.VLLM
    ready_timeout: Annotated[int, Meta(ge=10)] = 1800

    @property
    def name(self) -> str:
        """The model id that /v1/models must list."""
        return self.served_model_name or self.model

    @property
    def world_size(self) -> int:
        """GPUs for one replica: TP x PP."""
        return self.tensor_parallel * self.pipeline_parallel


class Ray(Struct, frozen=True, forbid_unknown_fields=True):
    """``auth``: "token" gives every node the same Ray token, made by the wizard; "off" leaves that to Ray."""

    port: Port = 6379
    dashboard_port: Port = 8265
    dashboard_host: str = "127.0.0.1"
    version: str = versions.RAY
    settle: Annotated[int, Meta(ge=0, le=600)] = 45
    auth: Literal["off", "token"] = "off"
    head_flags: tuple[str, ...] = ()
    worker_flags: tuple[str, ...] = ()


class Ssh(Struct, frozen=True, forbid_unknown_fields=True):
    config: str = "~/.ssh/config"
    known_hosts: str = "~/.ssh/known_hosts"
    identity: tuple[str, ...] = ()
    connect_timeout: Annotated[float, Meta(gt=0, le=600)] = 15.0
    keepalive: Annotated[float, Meta(ge=0, le=600)] = 15.0
    limit: Annotated[int, Meta(ge=1, le=1024)] = 64


class Docker(Struct, frozen=True, forbid_unknown_fields=True):
    """``path = "docker"``: the image, and how its containers are started.

    image        empty: vLLM's official image for serve.vllm_version.
    command      the docker command on the nodes: ``docker``, a full path, or ``sudo -n docker``.
    gpu_flags    podman ignores ``--gpus``; there it is ``["--device", "nvidia.com/gpu=all"]``.
    ray          what to do when the image has no ray. ask: the person; image: nothing, another image has
                 to be named; build: add Ray to it on each node; none: walk without Ray (vLLM's --nnodes).
    master_port  where vLLM's ranks meet on the path without Ray.
    """

    image: str = ""
    hf_home: str = "~/.cache/huggingface"
    shm_size: Annotated[str, Meta(pattern=r"^\d+(\.\d+)?[bkmgBKMG]?$")] = "10.24g"
    command: Annotated[str, Meta(min_length=1)] = "docker"
    gpu_flags: tuple[str, ...] = ("--gpus", "all")
    ulimits: tuple[str, ...] = ("memlock=-1", "stack=67108864")
    extra_flags: tuple[str, ...] = ()
    ray: Literal["ask", "image", "build", "none"] = "ask"
    master_port: Port = 29501


class Cluster(Struct, frozen=True, dict=True, forbid_unknown_fields=True):
    nodes: Annotated[tuple[NodeEntry, ...], Meta(min_length=1)]
    name: Name = "milepost"
    path: Path_ = "bare-metal"
    venv: Annotated[str, Meta(min_length=1)] = "/opt/vllm-venv"
    serve: Serve = field(default_factory=Serve)
    ray: Ray = field(default_factory=Ray)
    ssh: Ssh = field(default_factory=Ssh)
    docker: Docker = field(default_factory=Docker)
    env: dict[EnvName, str] = field(default_factory=dict)
    #: Set by the embedded lab: every screen and recording of it says SIMULATED.
    simulated: bool = False

    @cached_property
    def node_list(self) -> tuple[Node, ...]:
        return tuple(_node(entry) for entry in self.nodes)

    @cached_property
    def head(self) -> Node:
        return next(node for node in self.node_list if node.role == "head")

    @cached_property
    def workers(self) -> tuple[Node, ...]:
        return tuple(node for node in self.node_list if node.role == "worker")

    @property
    def total_gpus(self) -> int:
        return sum(entry.gpus for entry in self.nodes)

    def program(self, name: str) -> str:
        """``ray`` or ``vllm`` where it is run: by path in the venv, by name inside a container."""
        return name if self.path == "docker" else f"{self.venv}/bin/{name}"


def _node(entry: NodeEntry) -> Node:
    return Node(
        name=entry.name or entry.host,
        host=entry.host,
        role=entry.role,
        gpus=entry.gpus,
        fabric_ip=entry.fabric_ip,
        user=entry.user,
        port=entry.port,
    )


def load(path: Path) -> Cluster:
    """Read and check a cluster file. Raises UsageError with file, line and field."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UsageError(
            f"{path}: no such cluster file. Run `milepost` in a terminal to write one, "
            "or `milepost --lab` to try the embedded lab."
        ) from None
    except IsADirectoryError:
        raise UsageError(f"{path}: is a folder, not a cluster file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: cannot be read: {error}") from None
    return parse(text, str(path))


def parse(text: str, source: str = "milepost.toml") -> Cluster:
    """Check the text of a cluster file. ``source`` is named in errors."""
    data = _toml(text, source)
    try:
        cluster = msgspec.convert(data, Cluster, strict=True)
    except msgspec.ValidationError as error:
        message, where = _split(str(error))
        raise UsageError(_locate(text, source, where, message)) from None
    for where, message in problems(cluster):
        raise UsageError(_locate(text, source, where, message))
    return cluster


def _toml(text: str, source: str) -> dict[str, Any]:
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    try:
        return tomlkit.parse(text).unwrap()
    except TOMLKitError as error:
        line = getattr(error, "line", None)
        place = f"{source}:{line}" if line else source
        raise UsageError(f"{place}: not valid TOML: {error}") from None


def problems(cluster: Cluster) -> Iterator[tuple[str, str]]:
    """What the types cannot say, as (field, message)."""
    heads = [i for i, entry in enumerate(cluster.nodes) if entry.role == "head"]
    if not heads:
        yield "nodes[0].role", 'no node has role = "head"; exactly one must'
    if len(heads) > 1:
        yield f"nodes[{heads[1]}].role", 'a second node with role = "head"; exactly one is allowed'
    yield from _duplicates(cluster)
    yield from _node_problems(cluster)
    yield from _serve_problems(cluster)
    yield from _docker_problems(cluster)
    for key in cluster.env:
        if SECRET_NAMES.search(key):
            yield f"env.{key}", "looks like a secret; set it in the wizard's environment, never in this file"


def _duplicates(cluster: Cluster) -> Iterator[tuple[str, str]]:
    for what in ("name", "fabric_ip"):
        seen: dict[str, int] = {}
        for i, node in enumerate(cluster.node_list):
            value = str(getattr(node, what))
            if value and value in seen:
                other = cluster.node_list[seen[value]].name
                field_ = f"nodes[{i}].{what if getattr(cluster.nodes[i], what) else 'host'}"
                yield field_, f"{value} is already used by node {other}; every node needs its own"
            seen.setdefault(value, i)


def _node_problems(cluster: Cluster) -> Iterator[tuple[str, str]]:
    for i, entry in enumerate(cluster.nodes):
        # An ssh config may hand the name to a shell (Match exec, ProxyCommand).
        if entry.host.startswith("-") or re.search(r"[^\w.:%@+~/-]", entry.host):
            yield f"nodes[{i}].host", "must not begin with - or hold blanks, quotes or shell characters"
        if entry.user and not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.@\\-]*", entry.user):
            yield f"nodes[{i}].user", "is not a user name"
        if entry.fabric_ip:
            try:
                ipaddress.ip_address(entry.fabric_ip)
            except ValueError:
                yield f"nodes[{i}].fabric_ip", f"{entry.fabric_ip!r} is not an IP address"


def _serve_problems(cluster: Cluster) -> Iterator[tuple[str, str]]:
    serve, total = cluster.serve, cluster.total_gpus
    if total and serve.world_size > total:
        yield (
            "serve.tensor_parallel",
            f"TP x PP = {serve.tensor_parallel} x {serve.pipeline_parallel} = {serve.world_size} GPUs, "
            f"but the nodes promise {total}. Lower TP or PP, or add GPUs",
        )
    if not cluster.venv.startswith("/"):
        yield "venv", "must be an absolute path: the same on every node"
    for i, flag in enumerate(serve.extra_flags):
        if flag.startswith("--api-key"):
            where = f"serve.extra_flags[{i}]"
            yield where, "an API key is a secret; set VLLM_API_KEY in the wizard's environment"
    ray = cluster.ray
    if 10002 <= ray.port <= 19999 or 10002 <= ray.dashboard_port <= 19999:
        where = "ray.port" if 10002 <= ray.port <= 19999 else "ray.dashboard_port"
        yield where, "lies in Ray's worker port range 10002-19999; `ray start` refuses that"


def _docker_problems(cluster: Cluster) -> Iterator[tuple[str, str]]:
    docker = cluster.docker
    if docker.image and not IMAGE_NAME.fullmatch(docker.image):
        yield "docker.image", f"{docker.image!r} is not the name of an image"
    if not docker.hf_home.startswith(("/", "~/")):
        yield "docker.hf_home", "must be an absolute path, or begin with ~/"
    try:
        shlex.split(docker.command)
    except ValueError as error:
        yield "docker.command", str(error)
    for i, flag in enumerate(docker.extra_flags):
        name, equals, _ = flag.removeprefix("-e").removeprefix("--env=").partition("=")
        if equals and SECRET_NAMES.search(name) and not name.startswith("-"):
            where = f"docker.extra_flags[{i}]"
            yield where, "looks like a secret; set it in the wizard's environment, never in this file"
    if cluster.path == "docker" and not re.fullmatch(r"[0-9A-Za-z.+!_-]+", cluster.ray.version):
        yield "ray.version", f"{cluster.ray.version!r} is not a version"
    if cluster.path == "docker" and docker.ray == "none" and cluster.serve.world_size % len(cluster.nodes):
        yield (
            "serve.tensor_parallel",
            f"without Ray every node runs the same number of ranks: TP x PP = {cluster.serve.world_size} "
            f"is no multiple of {len(cluster.nodes)} nodes",
        )


def _split(message: str) -> tuple[str, str]:
    """msgspec says ``... - at `$.nodes[0].gpus` ``."""
    text, _, path = message.partition(" - at `$")
    return text, path.rstrip("`").lstrip(".")


def _locate(text: str, source: str, where: str, message: str) -> str:
    unknown = re.search(r"unknown field `([^`]+)`", message)
    if unknown:
        where = f"{where}.{unknown.group(1)}" if where else unknown.group(1)
        message = "unknown field; see `milepost init --help` for the known ones"
    line = line_of(text, where)
    place = f"{source}:{line}" if line else source
    return f"{place}: {where or 'file'}: {message}"


def dump(cluster: Cluster, previous: str = "") -> str:
    """The text of a cluster file. Comments and order of ``previous`` are kept; only changed values move."""
    import tomlkit

    document = tomlkit.parse(previous) if previous.strip() else tomlkit.document()
    wanted: dict[str, Any] = msgspec.to_builtins(cluster)
    defaults: dict[str, Any] = msgspec.to_builtins(Cluster(nodes=cluster.nodes))
    scalars = [k for k, v in wanted.items() if not isinstance(v, dict | list | tuple)]
    for key in scalars:
        if key in document or wanted[key] != defaults[key] or key in ("name", "path", "venv"):
            set_item(document, key, wanted[key])
    merge_nodes(document, wanted["nodes"])
    for key, value in wanted.items():
        if isinstance(value, dict):
            merge_table(document, key, value, defaults[key])
    return tomlkit.dumps(document)
