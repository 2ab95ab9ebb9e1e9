"""What the types of a cluster file cannot say: one head, no secrets, names that are used once, sane ports."""

from __future__ import annotations

import ipaddress
import re
import shlex
from collections.abc import Iterator
from typing import Any

import msgspec

from wizard_steps.cluster import secret_values
from wizard_steps.cluster.address import address
from wizard_steps.cluster.devices import VISIBLE, environment, named
from wizard_steps.cluster.flag_checks import flag_problems
from wizard_steps.cluster.replicas import deal
from wizard_steps.cluster.values import Cluster, NodeEntry
from wizard_steps.model import counted

#: The name of a container image: registry, path in lower case, tag, digest.
_PART = r"[a-z0-9]+(?:[._-]+[a-z0-9]+)*"
IMAGE_NAME = re.compile(
    rf"(?=.{{1,255}}$)(?:[A-Za-z0-9][A-Za-z0-9.-]*(?::\d{{1,5}})?/)?{_PART}(?:/{_PART})*"
    r"(?::\w[\w.-]{0,127})?(?:@[a-z0-9]+:[0-9a-f]{32,128})?",
    re.ASCII,
)


_MAY_BEGIN_WITH_A_DASH = re.compile(r"(?:^|[._])(?:flags\[|env\.)")
#: Of `docker run`: with another one milepost would not find its container, or what runs in it.
_OWN_FLAGS = ("--name", "--rm", "--entrypoint", "--cidfile")


def problems(cluster: Cluster) -> Iterator[tuple[str, str]]:
    """What the types cannot say, as (field, message)."""
    # Secrets first: other messages repeat the value.
    yield from _accounts_in_addresses(cluster)
    yield from secret_values.problems(cluster)
    yield from secret_values.flags(cluster)
    heads = [i for i, entry in enumerate(cluster.nodes) if entry.role == "head"]
    if not heads:
        yield "nodes[0].role", 'no node has role = "head"; exactly one must'
    if len(heads) > 1:
        yield f"nodes[{heads[1]}].role", 'a second node with role = "head"; exactly one is allowed'
    yield from _duplicates(cluster)
    yield from _node_problems(cluster)
    yield from _serve_problems(cluster)
    yield from _docker_problems(cluster)
    yield from _install_problems(cluster)
    yield from _weights_problems(cluster)
    yield from _gpu_problems(cluster)
    yield from _texts("", msgspec.to_builtins(cluster))


def _texts(where: str, value: Any) -> Iterator[tuple[str, str]]:
    """Line ends, NUL and marks that nobody sees have no place in a value of any field; and only flags begin
    with a dash."""
    if isinstance(value, str) and not value.isprintable():
        yield where, f"{value!r} contains an invisible character"
    if isinstance(value, str) and value.startswith("-") and not _MAY_BEGIN_WITH_A_DASH.search(where):
        yield where, f"{value!r} begins with -: a program would take it for an option"
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _texts(f"{where}.{key}".lstrip("."), inner)
    if isinstance(value, list | tuple):
        for n, inner in enumerate(value):
            yield from _texts(f"{where}[{n}]", inner)


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
        if entry.host.startswith("-") or re.search(r"[^\w.:%@+~/\[\]\\-]", entry.host):
            yield f"nodes[{i}].host", "must not begin with - or hold blanks, quotes or shell characters"
        else:
            yield from _address_problems(i, entry)
        if entry.fabric_ip:
            try:
                ipaddress.ip_address(entry.fabric_ip)
            except ValueError:
                yield f"nodes[{i}].fabric_ip", f"{entry.fabric_ip!r} is not an IP address"


def _address_problems(i: int, entry: NodeEntry) -> Iterator[tuple[str, str]]:
    parts = address(entry.host)
    if parts is None or parts.host.startswith("-") or "\\" in parts.host:
        yield (
            f"nodes[{i}].host",
            f"{entry.host!r} is not host, user@host, host:port, [IPv6]:port or ssh://user@host:port",
        )
        return
    user = entry.user or parts.user
    if user and not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.@\\-]*", user):
        yield f"nodes[{i}].{'user' if entry.user else 'host'}", f"{user!r} is not a user name"
    if parts.user and entry.user and parts.user != entry.user:
        yield f"nodes[{i}].user", f"{entry.user!r}, but host says user {parts.user!r}: name one of them"
    if parts.port and entry.port and parts.port != entry.port:
        yield f"nodes[{i}].port", f"{entry.port}, but host says port {parts.port}: name one of them"


def _gpu_problems(cluster: Cluster) -> Iterator[tuple[str, str]]:
    """Counts that no start could keep to."""
    if not cluster.total_gpus:
        yield "nodes[0].gpus", "no node has a GPU; vLLM needs at least one"
    for i, (entry, node) in enumerate(zip(cluster.nodes, cluster.node_list, strict=True)):
        if entry.role == "worker" and not entry.gpus:
            yield f"nodes[{i}].gpus", "a worker without GPUs has nothing to do; only the head may have 0"
        devices = named(environment(cluster, node).get(VISIBLE, ""))
        where = f"nodes[{i}].env.{VISIBLE}" if VISIBLE in entry.env else f"env.{VISIBLE}"
        if devices and (len(devices) != entry.gpus or len(set(devices)) != len(devices)):
            what = counted(len(devices), "device")
            again = ", one of them twice" if len(set(devices)) != len(devices) else ""
            yield where, f"names {what}{again}, but gpus = {entry.gpus} on node {node.name}"


def _serve_problems(cluster: Cluster) -> Iterator[tuple[str, str]]:
    serve, total = cluster.serve, cluster.total_gpus
    if total and serve.world_size > total:
        yield (
            "serve.tensor_parallel",
            f"TP x PP = {serve.tensor_parallel} x {serve.pipeline_parallel} = {serve.world_size} GPUs, "
            f"but the nodes promise {total}. Lower TP or PP, or add GPUs",
        )
    elif total and (problem := deal(cluster).problem):
        yield "serve.data_parallel" if serve.data_parallel > 1 else "serve.tensor_parallel", problem
    if not cluster.venv.startswith("/"):
        yield "venv", "must be an absolute path: the same on every node"
    yield from flag_problems(cluster)
    ray = cluster.ray
    if 10002 <= ray.port <= 19999 or 10002 <= ray.dashboard_port <= 19999:
        where = "ray.port" if 10002 <= ray.port <= 19999 else "ray.dashboard_port"
        yield where, "is in Ray's worker port range 10002-19999; `ray start` refuses that"


def _weights_problems(cluster: Cluster) -> Iterator[tuple[str, str]]:
    if (node := cluster.weights.node) and node not in (names := [n.name for n in cluster.node_list]):
        yield "weights.node", f"{node!r} is not a node of this file; the nodes are {', '.join(names)}"
    if cluster.weights.copy == "rsync" and cluster.path == "docker":
        yield "weights.copy", "rsync is not in the containers: leave it out"
    web = cluster.weights.web
    if web not in ("", "modelscope") and not re.match(r"(modelscope\+)?https?://[^\s?#]+\Z", web):
        yield "weights.from", f'{web!r} is no address such as https://host/folder, and not "modelscope"'
    elif web and cluster.serve.model.startswith(("/", "./", "../", "~")):
        yield "weights.from", "serve.model is a folder on the nodes, so nothing is fetched: leave it out"


def _install_addresses(cluster: Cluster) -> dict[str, str]:
    install = cluster.install
    values = {"index_url": install.index_url, "proxy": install.proxy}
    return values | {f"find_links[{i}]": link for i, link in enumerate(install.find_links)}


def _accounts_in_addresses(cluster: Cluster) -> Iterator[tuple[str, str]]:
    """Addresses without a password: the file holds no secrets, and a command line shows all of them."""
    account = re.compile(r"[a-z][a-z0-9+.-]*://[^/?#]*@", re.IGNORECASE)
    if account.match(cluster.weights.web):
        yield "weights.from", "has a name or password in it: the file holds no secrets"
    for name, value in _install_addresses(cluster).items():
        if account.match(value):
            yield f"install.{name}", "has a name or password in it; put them into ~/.netrc on the nodes"


def _install_problems(cluster: Cluster) -> Iterator[tuple[str, str]]:
    for name, value in _install_addresses(cluster).items():
        if value.startswith("-"):
            yield f"install.{name}", "must not begin with -"
        elif name in ("index_url", "proxy") and value and not re.match(r"(https?|file|socks5h?)://", value):
            yield f"install.{name}", f"{value!r} is not an address such as https://host/path"


def _docker_problems(cluster: Cluster) -> Iterator[tuple[str, str]]:
    docker = cluster.docker
    if docker.image and not IMAGE_NAME.fullmatch(docker.image):
        like = "like vllm/vllm-openai:v0.33.0, in lower case"
        yield "docker.image", f"{docker.image!r} is not the name of an image: {like}"
    yield from _docker_folders(cluster)
    try:
        if not shlex.split(docker.command):
            yield "docker.command", "must not be empty"
    except ValueError as error:
        yield "docker.command", str(error)
    lists = {"docker.extra_flags": docker.extra_flags}
    lists |= {f"nodes[{i}].docker_flags": one.docker_flags for i, one in enumerate(cluster.nodes)}
    for table, flags in lists.items():
        for i, flag in enumerate(flags):
            if (name := flag.partition("=")[0]) in _OWN_FLAGS:
                yield f"{table}[{i}]", f"milepost gives {name} itself: its containers are found again by it"
    if cluster.path == "docker" and not re.fullmatch(r"[0-9A-Za-z.+!_-]+", cluster.ray.version):
        yield "ray.version", f"{cluster.ray.version!r} is not a version"
    if cluster.path == "docker" and cluster.serve.executor == "mp" and docker.ray not in ("ask", "none"):
        yield "docker.ray", f'is {docker.ray!r}, but serve.executor = "mp" runs without Ray: leave it out'
    model = cluster.serve.model
    if cluster.path == "docker" and model.startswith("/") and ":" in model and re.search('[,"]', model):
        words = (
            "a path with a colon and a comma or quote cannot be mounted into a container: rename the folder"
        )
        yield "serve.model", words


def _docker_folders(cluster: Cluster) -> Iterator[tuple[str, str]]:
    """Folders of the nodes that are mounted with ``-v``, which splits at colons."""
    docker = cluster.docker
    folders = {"hf_home": docker.hf_home, "log_home": docker.log_home, "compile_cache": docker.compile_cache}
    for name, path in {**folders, "archive": docker.archive}.items():
        if not path and name != "hf_home":
            continue
        if not path.startswith(("/", "~/")):
            yield f"docker.{name}", "must be an absolute path, or begin with ~/"
        elif ":" in path and name != "archive":
            yield f"docker.{name}", "a path with a colon cannot be mounted into a container"
