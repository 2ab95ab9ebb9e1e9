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

from msgspec.structs import replace

from wizard_steps.cluster.file import Cluster
from wizard_steps.model import Check, Cmd, Node, Result
from wizard_steps.node import ray_token
from wizard_steps.node.remote import command, identity, state_dir

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


def derived_image(cluster: Cluster, image: str) -> str:
    """The tag of ``image`` with Ray added. ``localhost/`` keeps an engine from looking for it elsewhere."""
    key = hashlib.sha256(image.encode()).hexdigest()[:12]
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


def shared_flags(cluster: Cluster, models: bool = True) -> list[str]:
    """Flags, quoted, that decide what a container may use: the look before and the real run take the same.

    ``models=False`` leaves out the mounted model folders: a look must not have to make one first.
    """
    flags = ["--network", "host", "--shm-size", cluster.docker.shm_size, *cluster.docker.gpu_flags]
    for limit in cluster.docker.ulimits:
        flags += ["--ulimit", limit]
    words = [shlex.quote(flag) for flag in flags]
    model = cluster.serve.model
    if models:
        words += ["-v", f"{hf_home(cluster)}:{HF_IN_CONTAINER}"]
    if models and model.startswith("/"):
        words += ["-v", shlex.quote(f"{model}:{model}:ro")]
    return words + [shlex.quote(flag) for flag in cluster.docker.extra_flags]


def run_line(cluster: Cluster, node: Node, image: str, env: Mapping[str, str], main: Sequence[str]) -> str:
    """The whole `docker run` as sh text. Its label milepost.spec tells other settings apart."""
    name = container(cluster, node)
    words = [docker(cluster), "run", "-d", "--entrypoint", "/bin/bash", "--name", shlex.quote(name)]
    rest = shared_flags(cluster)
    own = {**env, "MILEPOST_ID": identity(cluster, node, "ray")}
    for key, value in own.items():
        rest += ["-e", shlex.quote(f"{key}={value}")]
    if tuple(main) != HOLD:
        rest += ray_token.container_flags(cluster, node)
    rest += [shlex.quote(image), "-c", shlex.quote(FIRST_PROCESS), "milepost"]
    rest += [shlex.quote(word) for word in main]
    for key, value in {**_labels(cluster, node), "milepost.spec": _digest(rest)}.items():
        words += ["--label", shlex.quote(f"{key}={value}")]
    return " ".join([*words, *rest])


def passing_line(cluster: Cluster, node: Node, image: str) -> str:
    """`docker run` of a container that leaves with its command, an sh text that is to follow.

    It may use what the real one may. Its labels let `milepost down` find it should the engine keep it.
    """
    words = [docker(cluster), "run", "--rm", "--entrypoint", "/bin/bash"]
    for key, value in _labels(cluster, node).items():
        words += ["--label", shlex.quote(f"{key}={value}")]
    words += [*shared_flags(cluster, models=False), shlex.quote(image), "-c", shlex.quote(FIRST_PROCESS)]
    return " ".join([*words, "milepost", "/bin/sh", "-c"])


def _digest(words: Sequence[str]) -> str:
    return hashlib.sha256("\0".join(words).encode()).hexdigest()[:16]


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


def launch(cluster: Cluster, node: Node, line: str) -> Cmd:
    """Start the container of ``line`` (see run_line); one of ours that has ended is removed first."""
    name, it = shlex.quote(container(cluster, node)), docker(cluster)
    state = shlex.quote('{{index .Config.Labels "milepost.cluster"}} {{.State.Running}}')
    text = (
        f"state=$({it} container inspect -f {state} {name} 2>/dev/null)\n"
        f'if [ "$state" = {shlex.quote(cluster.name + " false")} ]; then\n'
        f"ids={name}\n{_keep_logs(cluster, node)}{it} rm {name} >/dev/null; fi\n"
        f"mkdir -p {hf_home(cluster)} || exit 1\n"
        f"id=$({line}) || exit 1\n"
        f'echo "started container {name} $(echo "$id" | tail -n 1 | cut -c1-12)"\n'
    )
    return Cmd("launch", text, mutates=True, timeout=120, quiet=True, show=line)


def look(cluster: Cluster, node: Node, line: str, port: int, key: str = "look") -> Cmd:
    """What is there already, in the words of remote.look: our container, and who listens on ``port``.

    ``line``: the `docker run` of today; empty where any container of ours will do.
    """
    name, it = shlex.quote(container(cluster, node)), docker(cluster)
    form = shlex.quote(
        '{{index .Config.Labels "milepost.cluster"}} {{index .Config.Labels "milepost.spec"}} '
        "{{.State.Running}} {{.Id}} {{.State.ExitCode}}"
    )
    wanted, spec = shlex.quote(cluster.name), spec_of(line)
    text = (
        f"{it} ps -q >/dev/null || exit 1\n"
        f"set -- $({it} container inspect -f {form} {name} 2>/dev/null)\n"
        f"if [ $# -eq 0 ]; then echo 'container: none'\n"
        f'elif [ $# -ne 5 ] || [ "$1" != {wanted} ]; then echo "container: not ours"\n'
        f'elif [ "$3" != true ]; then echo "container: ended with exit code $5"\n'
        f'elif [ -n "{spec}" ] && [ "$2" != "{spec}" ]; then '
        'echo "ours: $4"; echo "container: other settings"\n'
        f'else echo "ours: $4"; echo "leader: $4"; echo "container: running"; fi\n'
        f"hex=$(printf '%04X' {int(port)})\n"
        'if cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | grep -q ":$hex [0-9A-F]*:0000 0A "; '
        f"then echo 'port {int(port)}: listening'; else echo 'port {int(port)}: free'; fi\n"
    )
    return Cmd(key, text, quiet=True, timeout=40, show=f"{it} container inspect {name}")


def logs(cluster: Cluster, node: Node, key: str, timeout: float, stop: object) -> Cmd:
    """The container's log from its first line, until ``stop`` says so or the container has ended."""
    line = f"{docker(cluster)} logs -f {shlex.quote(container(cluster, node))}"
    return Cmd(key, f"exec {line}\n", timeout=timeout, stop=stop, show=line)  # type: ignore[arg-type]


def up(cluster: Cluster, node: Node) -> Cmd:
    """Two looks a moment apart: a container whose first process fails is gone after a blink."""
    name, it = container(cluster, node), docker(cluster)
    line = f"{it} container inspect -f 'container: {{{{.Name}}}} running: {{{{.State.Running}}}}' {name}"

    def running(result: Result) -> bool:
        return result.ok and "running: true" in result.text

    return Cmd("up", f"exec {line}\n", timeout=20, every=1.0, settle=2.0, until=running, show=line)


def obstacle(cluster: Cluster, node: Node, look: str) -> Check | None:
    """Why no container may be started, by what ``look`` printed."""
    name = container(cluster, node)
    if "container: not ours" in look.splitlines():
        hint = f"milepost did not start it: rename or remove it, or choose another `name` than {name!r} gives"
        return Check("container", False, f"{name} exists", "a free name", node.name, hint)
    if "container: other settings" in look.splitlines():
        found = f"{name} runs with other settings (image, environment or flags)"
        hint = "`milepost down` ends it; or put the settings back"
        return Check("container", False, found, "the settings of the cluster file", node.name, hint)
    return None


def inside(cluster: Cluster, node: Node, cmd: Cmd) -> Cmd:
    """``cmd`` run by a shell in the node's container. Standard input, and so every secret, goes along."""
    name = shlex.quote(container(cluster, node))
    line = f"{docker(cluster)} exec -i {name} /bin/sh -c"
    plain = cmd.show or cmd.text
    env = "env " if re.match(r"\w+=", plain) else ""
    shown = f"{docker(cluster)} exec {name} {env}{plain}".strip()
    return replace(cmd, text=f"exec {line} {shlex.quote(cmd.text)}\n", show=shown)


def inside_if_running(cluster: Cluster, node: Node, cmd: Cmd) -> Cmd:
    """The same, for tidying up: a container that does not run has nothing inside that could be ended."""
    name, it = shlex.quote(container(cluster, node)), docker(cluster)
    wrapped = inside(cluster, node, cmd)
    test = f"$({it} container inspect -f '{{{{.State.Running}}}}' {name} 2>/dev/null)"
    text = f'if [ "{test}" != true ]; then echo "nothing of ours runs"; exit 0; fi\n{wrapped.text}'
    return replace(wrapped, text=text)


def _keep_logs(cluster: Cluster, node: Node) -> str:
    """sh text: what the containers $ids said goes to the node's own log folder; removing them loses it."""
    it, d = docker(cluster), state_dir(cluster, node)
    inner = shlex.quote(f"{HOME_IN_CONTAINER}/.milepost/{cluster.name}/{node.name}/serve.log")
    return (
        f"mkdir -p {d}; for id in $ids; do {it} logs $id > {d}/container.log 2>&1\n"
        f"{it} cp $id:{inner} {d}/serve.log >/dev/null 2>&1; done\n"
    )


def remove(cluster: Cluster, node: Node) -> Cmd:
    """Stop and remove this node's containers of ours, found by label alone."""
    it = docker(cluster)
    marks = (f"{LABEL}={cluster.name}", f"milepost.node={container(cluster, node)}")
    filters = " ".join(f"--filter {shlex.quote('label=' + mark)}" for mark in marks)
    text = (
        f"ids=$({it} ps -aq {filters}) || exit 1\n"
        'if [ -z "$ids" ]; then echo "nothing of ours runs"; exit 0; fi\n'
        f"{it} stop -t 15 $ids >/dev/null\n{_keep_logs(cluster, node)}{it} rm -f $ids >/dev/null\n"
        f"left=$({it} ps -aq {filters}) || exit 1\n"
        'if [ -n "$left" ]; then echo "still there:" $left; exit 1; fi\n'
        'echo "removed" $(echo "$ids" | wc -w) "container(s)"\n'
    )
    show = f"{it} stop $({it} ps -aq {filters}); {it} rm …"
    return Cmd("stop", text, mutates=True, timeout=60, quiet=True, show=show)
