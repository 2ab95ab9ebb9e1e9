"""Command lines for containers: started from our own template, named and labelled, found again, removed.

The template follows vLLM's run_cluster.sh (host network, shared memory, GPUs, Hugging Face cache,
VLLM_HOST_IP), but starts detached, with a name that can be found again, and with bash as first process to
collect orphans: `ray start` would leave every ended vLLM a zombie. Secrets never are part of a `docker run`,
whose environment the engine writes to disk; they reach a process on the standard input of `docker exec`.
"""

from __future__ import annotations

import hashlib
import re
import shlex
from collections.abc import Mapping, Sequence

from msgspec import Struct

from wizard_steps.cluster.file import Cluster
from wizard_steps.model import Node
from wizard_steps.node import ray_token
from wizard_steps.node.remote import identity

LABEL = "milepost.cluster"
OFFICIAL = "vllm/vllm-openai"
#: How an image with Ray added is called. ``localhost/`` keeps an engine from looking for it elsewhere.
DERIVED = "localhost/milepost/vllm-ray:"
#: Where vLLM's images look for models, and where the nodes' cache is mounted.
HOME_IN_CONTAINER = "/root"
HF_IN_CONTAINER = f"{HOME_IN_CONTAINER}/.cache/huggingface"
#: Where vLLM and FlashInfer keep what they have compiled.
COMPILED = (f"{HOME_IN_CONTAINER}/.cache/vllm", f"{HOME_IN_CONTAINER}/.cache/flashinfer")
#: Kinds of mounted folders: the models, logs and Ray's sessions, what vLLM compiles.
KINDS = ("cache", "logs", "compiled")
#: Where Ray keeps its sessions: the logs of raylets and workers, and sockets.
RAY_IN_CONTAINER = "/tmp/ray"
#: What RDMA needs in a container; without it NCCL silently takes sockets.
RDMA_FLAGS = ("--device=/dev/infiniband", "--cap-add=IPC_LOCK")
#: The first process of a container: runs its words, passes TERM on, reaps what is left to it, ends with them.
#: A `wait` that a signal breaks off tells nothing of the exit code of the words: the last one is for that.
FIRST_PROCESS = (
    "p= told=; trap 'told=1; kill -TERM $p 2>/dev/null' TERM INT; "
    '"$@" & p=$!; [ -z "$told" ] || kill -TERM "$p" 2>/dev/null; '
    'wait "$p"; code=$?; while kill -0 "$p" 2>/dev/null; do wait "$p"; code=$?; done; '
    'wait "$p" 2>/dev/null; last=$?; [ "$last" = 127 ] || code=$last; exit "$code"'
)
#: What a container of the path without Ray does until vLLM is started in it.
HOLD = ("sleep", "infinity")


class Given(Struct, frozen=True):
    """What a node's engine and its hardware were seen to have: what its containers get by themselves.

    ``rdma``: there are RDMA devices. ``rotates``: its log driver keeps to a size.
    """

    rdma: bool = False
    rotates: bool = False


def image_of(cluster: Cluster) -> str:
    """The image of the cluster file, or the official one for its vLLM version."""
    return cluster.docker.image or f"{OFFICIAL}:v{cluster.serve.vllm_version}"


def derived_image(cluster: Cluster, image: str, digest: str) -> str:
    """The tag of ``image`` with Ray added.

    ``digest`` is that of the base: what its name means may change, and then another image has to be built.
    """
    key = hashlib.sha256(f"{image} {digest}".encode()).hexdigest()[:12]
    return f"{DERIVED}{key}-ray{cluster.ray.version}"


def docker(cluster: Cluster) -> str:
    """The docker command as quoted sh words: `docker`, a full path, or `sudo -n docker`."""
    return shlex.join(shlex.split(cluster.docker.command))


def container(cluster: Cluster, node: Node) -> str:
    """The container's name on a node."""
    return container_of(cluster.name, node.name)


def container_of(cluster: str, node: str) -> str:
    """The same by the names of the cluster and of the node, of characters that Docker takes."""
    return re.sub(r"[^A-Za-z0-9_.-]", "-", f"milepost-{cluster}-{node}")


def _labels(cluster: Cluster, node: Node) -> dict[str, str]:
    return {LABEL: cluster.name, "milepost.node": container(cluster, node), "milepost.role": node.role}


def _on_node(path: str) -> str:
    """As sh text; ``~`` is the home of the SSH user."""
    if path == "~":
        return '"$HOME"'
    return f'"$HOME"/{shlex.quote(path[2:])}' if path.startswith("~/") else shlex.quote(path)


def hf_home(cluster: Cluster) -> str:
    """As sh text: the node's Hugging Face cache."""
    return _on_node(cluster.docker.hf_home)


def archive(cluster: Cluster) -> str:
    """As sh text: the image archive on a node."""
    return _on_node(cluster.docker.archive)


def log_folder(cluster: Cluster, node: Node) -> str:
    """Where the logs of processes in the container lie on the node; "" where they stay in the container."""
    home = cluster.docker.log_home
    return f"{home.rstrip('/')}/{cluster.name}/{node.name}/container" if home else ""


def logs_on_node(cluster: Cluster, node: Node) -> str:
    """The same as sh text."""
    folder = log_folder(cluster, node)
    return _on_node(folder) if folder else ""


def log_inside(cluster: Cluster, node: Node) -> str:
    """The same folder as the container sees it."""
    return f"{HOME_IN_CONTAINER}/.milepost/{cluster.name}/{node.name}"


def ray_sessions(cluster: Cluster, node: Node) -> str:
    """Where Ray's sessions lie on the node; "" where they stay in the container, or where there is no Ray."""
    folder = "" if cluster.without_ray else log_folder(cluster, node)
    return f"{folder}/ray" if folder else ""


def own_folders(cluster: Cluster, node: Node) -> dict[str, str]:
    """Folders of the node, as sh text, that milepost makes and mounts: logs and caches; -> inside."""
    found = {hf_home(cluster): HF_IN_CONTAINER}
    if cluster.docker.compile_cache:
        for inside in COMPILED:
            where = f"{cluster.docker.compile_cache.rstrip('/')}/{inside.rpartition('/')[2]}"
            found[_on_node(where)] = inside
    if folder := log_folder(cluster, node):
        found[_on_node(folder)] = log_inside(cluster, node)
    if sessions := ray_sessions(cluster, node):
        found[_on_node(sessions)] = RAY_IN_CONTAINER
    return found


def samples(cluster: Cluster, node: Node) -> dict[str, str]:
    """One of ``own_folders`` of each kind, as sh text, by its name in KINDS."""
    folders = own_folders(cluster, node)
    compiled = next((folder for folder, inside in folders.items() if inside in COMPILED), "")
    found = (hf_home(cluster), logs_on_node(cluster, node), compiled)
    return {name: folder for name, folder in zip(KINDS, found, strict=True) if folder}


def _model_mount(path: str) -> list[str]:
    """Words that mount a model's folder at the same path. ``-v`` splits at colons and makes a folder that is
    missing; ``--mount`` splits at commas and does neither."""
    if "," in path or '"' in path:
        return ["-v", f"{path}:{path}:ro"]
    return ["--mount", f"type=bind,source={path},target={path},readonly"]


def rdma_flags(cluster: Cluster, node: Node, given: Given) -> list[str]:
    """Only what the cluster file's own flags do not give already."""
    own = " ".join((*cluster.docker.extra_flags, *cluster.entry(node).docker_flags))
    if not given.rdma or cluster.docker.rdma == "off" or re.search(r"/dev/infiniband|--privileged", own):
        return []
    return [flag for flag in RDMA_FLAGS if flag.partition("=")[2] not in own]


def shared_flags(cluster: Cluster, node: Node, given: Given, models: bool = True) -> list[str]:
    """Flags, quoted, that decide what a container may use: the look before and the real run take the same.

    ``models=False`` leaves out the mounted folders: a look must not have to make one first.
    """
    # podman refuses a size of its own where the host's memory is shared.
    shared = ["--ipc", "host"] if cluster.docker.ipc else ["--shm-size", cluster.docker.shm_size]
    # An engine on a machine without GPUs refuses to start a container that asks for some.
    gpus = cluster.docker.gpu_flags if node.gpus else ()
    flags = ["--network", "host", *shared, *gpus]
    for limit in cluster.docker.ulimits:
        flags += ["--ulimit", limit]
    flags += rdma_flags(cluster, node, given)
    words = [shlex.quote(flag) for flag in flags]
    model = cluster.serve.model
    for folder, inside in own_folders(cluster, node).items() if models else ():
        words += ["-v", f"{folder}:{shlex.quote(inside)}"]
    if models and model.startswith("/"):
        words += [shlex.quote(word) for word in _model_mount(model)]
    own = (*cluster.docker.extra_flags, *cluster.entry(node).docker_flags)
    return words + [shlex.quote(flag) for flag in own]


def _kept_flags(cluster: Cluster, given: Given) -> list[str]:
    """Flags, quoted, of a container that stays: what the engine does with it and with its log."""
    flags = ["--restart", cluster.docker.restart] if cluster.docker.restart else []
    size = cluster.docker.log_size if given.rotates else ""
    return flags + (["--log-opt", f"max-size={size}"] if size else [])


def run_line(
    cluster: Cluster,
    node: Node,
    image: str,
    env: Mapping[str, str],
    main: Sequence[str],
    given: Given = Given(),  # noqa: B008  (frozen)
    labels: Mapping[str, str] | None = None,
) -> str:
    """The whole `docker run` as sh text. ``labels``: more than the ones that a person is shown."""
    name = container(cluster, node)
    words = [docker(cluster), "run", "-d", "--entrypoint", "/bin/bash", "--name", shlex.quote(name)]
    rest = shared_flags(cluster, node, given) + _kept_flags(cluster, given)
    own = {**env, "MILEPOST_ID": identity(cluster, node, "ray")}
    for key, value in own.items():
        rest += ["-e", shlex.quote(f"{key}={value}")]
    if tuple(main) != HOLD:
        rest += ray_token.container_flags(cluster, node)
    rest += [shlex.quote(image), "-c", shlex.quote(FIRST_PROCESS), "milepost"]
    rest += [shlex.quote(word) for word in main]
    for key, value in {**_labels(cluster, node), "milepost.spec": _digest(rest), **(labels or {})}.items():
        words += ["--label", shlex.quote(f"{key}={value}")]
    return " ".join([*words, *rest])


def passing_line(cluster: Cluster, node: Node, image: str, given: Given) -> str:
    """`docker run` of a container that leaves with its command, an sh text that is to follow.

    It may use what the real one may. Its labels let `milepost down` find it should the engine keep it.
    """
    words = [docker(cluster), "run", "--rm", "--entrypoint", "/bin/bash"]
    for key, value in _labels(cluster, node).items():
        words += ["--label", shlex.quote(f"{key}={value}")]
    words += [
        *shared_flags(cluster, node, given, models=False),
        shlex.quote(image),
        "-c",
        shlex.quote(FIRST_PROCESS),
    ]
    return " ".join([*words, "milepost", "/bin/sh", "-c"])


def _digest(words: Sequence[str]) -> str:
    return hashlib.sha256("\0".join(words).encode()).hexdigest()[:16]


def settings(cluster: Cluster, node: Node, image: str, main: Sequence[str], given: Given) -> tuple[str, ...]:
    """What a container is started with, as words to compare: image, command and flags; env comes apart."""
    texts = shared_flags(cluster, node, given) + _kept_flags(cluster, given)
    flags = [word for text in texts for word in shlex.split(text)]
    return (image, *main, *flags)


def spec_of(line: str) -> str:
    """The settings' digest inside a ``run_line``."""
    found = re.search(r"milepost\.spec=([0-9a-f]{16})", line)
    return found[1] if found else ""


def script_line(
    cluster: Cluster, node: Node, image: str, head_ip: str, env: Mapping[str, str], given: Given
) -> str:
    """The same with vLLM's own script, for those who prefer it. Empty where it cannot do the same: it calls
    `docker`, asks for all GPUs and uses port 6379. What follows its arguments goes to `docker run`, where
    a later --shm-size wins."""
    docker_ = cluster.docker
    if (
        not node.gpus
        or cluster.ray.port != 6379
        or docker_.command != "docker"
        or docker_.gpu_flags != ("--gpus", "all")
    ):
        return ""
    role = "--head" if node.role == "head" else "--worker"
    words = [shlex.quote(image), shlex.quote(head_ip), role, hf_home(cluster)]
    # milepost says it as a flag of `ray start`, which the script does not pass on.
    for key, value in {**env, "RAY_USAGE_STATS_ENABLED": "0"}.items():
        words += ["-e", shlex.quote(f"{key}={value}")]
    flags = shared_flags(cluster, node, given) + _kept_flags(cluster, given)
    # What the script gives itself: the network, the GPUs, and the Hugging Face cache.
    mine = ["--network", "host", *docker_.gpu_flags, "-v", f"{hf_home(cluster)}:{HF_IN_CONTAINER}"]
    return " ".join(["bash examples/ray_serving/run_cluster.sh", *words, *_without(flags, mine)])


def _without(words: Sequence[str], left_out: Sequence[str]) -> list[str]:
    """``words`` without the pairs of ``left_out``."""
    pairs = set(zip(left_out[::2], left_out[1::2], strict=True))
    found: list[str] = []
    place = 0
    while place < len(words):
        if tuple(words[place : place + 2]) in pairs:
            place += 2
            continue
        found.append(words[place])
        place += 1
    return found
