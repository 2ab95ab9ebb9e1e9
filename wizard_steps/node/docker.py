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

from wizard_steps.cluster.file import Cluster
from wizard_steps.model import Node
from wizard_steps.node import ray_token
from wizard_steps.node.remote import command, identity

LABEL = "milepost.cluster"
OFFICIAL = "vllm/vllm-openai"
#: Where vLLM's images look for models, and where the nodes' cache is mounted.
HOME_IN_CONTAINER = "/root"
HF_IN_CONTAINER = f"{HOME_IN_CONTAINER}/.cache/huggingface"
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


def image_of(cluster: Cluster) -> str:
    """The image of the cluster file, or the official one for its vLLM version."""
    return cluster.docker.image or f"{OFFICIAL}:v{cluster.serve.vllm_version}"


def derived_image(cluster: Cluster, image: str, digest: str) -> str:
    """The tag of ``image`` with Ray added. ``localhost/`` keeps an engine from looking for it elsewhere.

    ``digest`` is that of the base: what its name means may change, and then another image has to be built.
    """
    key = hashlib.sha256(f"{image} {digest}".encode()).hexdigest()[:12]
    return f"localhost/milepost/vllm-ray:{key}-ray{cluster.ray.version}"


def docker(cluster: Cluster) -> str:
    """The docker command as quoted sh words: `docker`, a full path, or `sudo -n docker`."""
    return command(shlex.split(cluster.docker.command))


def container(cluster: Cluster, node: Node) -> str:
    """The container's name on a node, of characters that Docker takes."""
    return re.sub(r"[^A-Za-z0-9_.-]", "-", f"milepost-{cluster.name}-{node.name}")


def _labels(cluster: Cluster, node: Node) -> dict[str, str]:
    return {LABEL: cluster.name, "milepost.node": container(cluster, node), "milepost.role": node.role}


def hf_home(cluster: Cluster) -> str:
    """As sh text: the node's Hugging Face cache; ``~`` is the home of the SSH user."""
    path = cluster.docker.hf_home
    return f'"$HOME"/{shlex.quote(path[2:])}' if path.startswith("~/") else shlex.quote(path)


def shared_flags(cluster: Cluster, node: Node, models: bool = True) -> list[str]:
    """Flags, quoted, that decide what a container may use: the look before and the real run take the same.

    ``models=False`` leaves out the mounted model folders: a look must not have to make one first.
    """
    # podman refuses a size of its own where the host's memory is shared.
    shared = ["--ipc", "host"] if cluster.docker.ipc else ["--shm-size", cluster.docker.shm_size]
    flags = ["--network", "host", *shared, *cluster.docker.gpu_flags]
    for limit in cluster.docker.ulimits:
        flags += ["--ulimit", limit]
    words = [shlex.quote(flag) for flag in flags]
    model = cluster.serve.model
    if models:
        words += ["-v", f"{hf_home(cluster)}:{HF_IN_CONTAINER}"]
    if models and model.startswith("/"):
        words += ["-v", shlex.quote(f"{model}:{model}:ro")]
    own = (*cluster.docker.extra_flags, *cluster.entry(node).docker_flags)
    return words + [shlex.quote(flag) for flag in own]


def _kept_flags(cluster: Cluster) -> list[str]:
    """Flags, quoted, of a container that stays: what the engine does with it and with its log."""
    flags = ["--restart", cluster.docker.restart] if cluster.docker.restart else []
    return flags + (["--log-opt", f"max-size={cluster.docker.log_size}"] if cluster.docker.log_size else [])


def run_line(
    cluster: Cluster,
    node: Node,
    image: str,
    env: Mapping[str, str],
    main: Sequence[str],
    labels: Mapping[str, str] | None = None,
) -> str:
    """The whole `docker run` as sh text. ``labels``: more than the ones that a person is shown."""
    name = container(cluster, node)
    words = [docker(cluster), "run", "-d", "--entrypoint", "/bin/bash", "--name", shlex.quote(name)]
    rest = shared_flags(cluster, node) + _kept_flags(cluster)
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


def passing_line(cluster: Cluster, node: Node, image: str) -> str:
    """`docker run` of a container that leaves with its command, an sh text that is to follow.

    It may use what the real one may. Its labels let `milepost down` find it should the engine keep it.
    """
    words = [docker(cluster), "run", "--rm", "--entrypoint", "/bin/bash"]
    for key, value in _labels(cluster, node).items():
        words += ["--label", shlex.quote(f"{key}={value}")]
    words += [
        *shared_flags(cluster, node, models=False),
        shlex.quote(image),
        "-c",
        shlex.quote(FIRST_PROCESS),
    ]
    return " ".join([*words, "milepost", "/bin/sh", "-c"])


def _digest(words: Sequence[str]) -> str:
    return hashlib.sha256("\0".join(words).encode()).hexdigest()[:16]


def settings(cluster: Cluster, node: Node, image: str, main: Sequence[str]) -> tuple[str, ...]:
    """What a container is started with, as words to compare: image, command and flags; env comes apart."""
    flags = [
        word for text in shared_flags(cluster, node) + _kept_flags(cluster) for word in shlex.split(text)
    ]
    return (image, *main, *flags)


def spec_of(line: str) -> str:
    """The settings' digest inside a ``run_line``."""
    found = re.search(r"milepost\.spec=([0-9a-f]{16})", line)
    return found[1] if found else ""


def script_line(cluster: Cluster, node: Node, image: str, head_ip: str, ip: str) -> str:
    """The same with vLLM's own script, for those who prefer it. Empty where it cannot do the same."""
    if cluster.ray.port != 6379:
        return ""
    role = "--head" if node.role == "head" else "--worker"
    words = f"{shlex.quote(image)} {head_ip} {role} {hf_home(cluster)} -e VLLM_HOST_IP={ip}"
    return f"bash examples/ray_serving/run_cluster.sh {words}"
