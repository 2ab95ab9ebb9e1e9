"""What docker_ready runs and reads: the engine, the image, and a look inside a container of it."""

from __future__ import annotations

import re
import shlex

from wizard_steps.cluster.devices import outward
from wizard_steps.cluster.file import Cluster
from wizard_steps.cluster.values import MASTER_PORT
from wizard_steps.model import Check, Cmd, Node, Result
from wizard_steps.node import docker, engine, image
from wizard_steps.node.docker import Given
from wizard_steps.node.lines import fields
from wizard_steps.node.program import program
from wizard_steps.node.remote import exports

#: Names of a proxy, in small letters.
_PROXIES = ("http_proxy", "https_proxy", "no_proxy", "ftp_proxy", "all_proxy")
_UNITS = {"b": 1, "": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


def engine_command(cluster: Cluster) -> Cmd:
    it = docker.docker(cluster)
    first = shlex.quote(shlex.split(cluster.docker.command)[0])
    text = (
        f"command -v {first} >/dev/null || {{ echo {first}: not found; exit 127; }}\n"
        f"{it} --version && {it} ps -q >/dev/null || exit\n{engine.script(cluster)}"
        "echo 'engine: answers'\n"
    )
    return Cmd("engine", text, timeout=60, show=f"{it} --version; {it} ps")


def have_command(cluster: Cluster, tag: str, key: str) -> Cmd:
    it, name = docker.docker(cluster), shlex.quote(tag)
    test = f"{it} image inspect {name} >/dev/null 2>&1"
    text = (
        f"if {test}; then echo 'image: there'; exit 0; fi\necho 'image: missing'\n"
        # Where layers are unpacked; podman says it in its own words.
        f"r=$({it} info --format '{{{{.DockerRootDir}}}}' 2>/dev/null || "
        f"{it} info --format '{{{{.Store.GraphRoot}}}}' 2>/dev/null)\n"
        '[ -d "$r" ] && { set -- $(df -Pk "$r" | tail -n 1); echo "room: ${4:-0} KiB in $r"; }\nexit 0\n'
    )
    return Cmd(key, text, timeout=60, quiet=True, show=f"{it} image inspect {name}")


def dockerfile(cluster: Cluster, base: str, digest: str) -> str:
    """The image with Ray added. vLLM's images carry pip; a few carry uv alone."""
    ray, index = cluster.ray.version, cluster.install.index_url
    package = shlex.join([*([f"--index-url={index}"] if index else []), f"ray[default]=={ray}"])
    return (
        f"FROM {base}\n"
        f"LABEL milepost.base={base}@{digest} milepost.ray={ray}\n"
        f"RUN python3 -m pip install --no-cache-dir {package} || "
        f"uv pip install --system --no-cache {package}\n"
    )


def build_command(cluster: Cluster, node: Node, base: str, digest: str, tag: str, key: str) -> Cmd:
    """Builds from standard input, with an empty folder as context."""
    it, text = docker.docker(cluster), dockerfile(cluster, base, digest)
    # Both engines know these arguments without a word of the Dockerfile; the steps of a build have no others.
    env = outward(cluster, node)
    given = [f"--build-arg={name}" for name in env if name.lower() in _PROXIES]
    build = " ".join([f"{it} build", *given, f"-t {shlex.quote(tag)} -f -"])
    return Cmd(
        key,
        f'{exports(env)}d=$(mktemp -d) || exit 1\nprintf %s {shlex.quote(text)} | {build} "$d"\n'
        'code=$?; rmdir "$d"; exit $code\n',
        mutates=True,
        timeout=image.LIMIT,
        show=f"{build} . <<'END'\n{text}END",
    )


def image_command(cluster: Cluster, tag: str, key: str) -> Cmd:
    it, name = docker.docker(cluster), shlex.quote(tag)
    form = 'image: {{.Id}}{{"\\n"}}arch: {{.Architecture}}{{"\\n"}}digests: {{json .RepoDigests}}'
    # Docker has no map where an image has no labels, and from 29 on not even the field: an error is "none".
    base = '{{index .Config.Labels "milepost.base"}} {{index .Config.Labels "milepost.ray"}}'
    ask = f"{it} image inspect -f"
    # podman ends what it prints without a newline.
    text = (
        f"{ask} {shlex.quote(form)} {name} || exit\n"
        f"b=$({ask} {shlex.quote(base)} {name} 2>/dev/null | head -n 1)\nprintf '\\nbase: %s\\n' \"$b\"\n"
    )
    return Cmd(key, text, timeout=60, show=f"{it} image inspect {name}")


def inside_command(cluster: Cluster, node: Node, name: str, key: str, given: Given) -> Cmd:
    """A container of the image for a moment, with the very limits and GPUs the real one will have."""
    it = docker.docker(cluster)
    flags = " ".join(docker.shared_flags(cluster, node, given, models=False))
    words = f"--entrypoint /bin/bash {flags} {shlex.quote(name)}"
    folders = "".join(_mounted(*one) for one in docker.samples(cluster, node).items())
    text = (
        f'set --\n{folders}exec {it} run --rm "$@" {words} -c {shlex.quote(program("container_inside.sh"))}\n'
    )
    words = f"run --rm {words}"
    shown = f"{it} {words} -c 'ray --version; df /dev/shm; ulimit -a; nvidia-smi -L'"
    return Cmd(key, text, timeout=240, show=shown)


def _mounted(name: str, folder: str) -> str:
    """sh text: mounts a folder for the look, or the one in which it will be made: `-v` would make one that
    belongs to root."""
    return (
        f'd={folder}; while [ -n "$d" ] && [ ! -e "$d" ]; do d=${{d%/*}}; done; d=${{d:-/}}\n'
        f'if [ ! -d "$d" ] || {{ [ "$d" != {folder} ] && [ ! -w "$d" ]; }}; then\n'
        f'echo "{name}: cannot be made in $d"\n'
        f'elif [ "$d" != / ]; then set -- "$@" -v "$d:/milepost/{name}"; fi\n'
    )


def older(cluster: Cluster) -> list[Check]:
    """A note for the spelling of before ``serve.executor`` was there; it keeps working."""
    if cluster.docker.ray != "none":
        return []
    port = (
        f" and serve.master_port = {cluster.master_port}" if cluster.docker.master_port != MASTER_PORT else ""
    )
    hint = f'write serve.executor = "mp"{port}, and leave the older fields of [docker] out'
    return [Check("docker.ray", True, 'is "none", the older way to say "without Ray"', hint=hint)]


class Image:
    """What `docker image inspect` said."""

    def __init__(self, result: Result | None) -> None:
        found = fields(result.text) if result is not None and result.ok else {}
        self.id = found.get("image", "")
        digests = sorted(re.findall(r"@(sha256:[0-9a-f]{64})", found.get("digests", "")))
        base = found.get("base", "").replace("<no value>", "").strip()
        #: Two builds of one recipe never have one digest: what they were built from has to do.
        self.digest = f"built from {base.replace(' ', ' with Ray ')}" if base else (digests or [self.id])[0]
        self.arch = found.get("arch", "")


class Inside:
    """What the look inside the container printed."""

    def __init__(self, text: str) -> None:
        found = fields(text)
        self.started = "container" in found
        self.python, self.vllm = found.get("python", "missing"), found.get("vllm", "missing")
        self.has_ray = found.get("ray-command", "missing") != "missing"
        self.ray = found.get("ray", "missing") if self.has_ray else "missing"
        self.shm = _number(found.get("shm", "")) << 10
        self.memlock, self.nofile = found.get("memlock", ""), found.get("nofile", "")
        self.rdma, self.gpus = _number(found.get("rdma", "")), _number(found.get("gpus", ""))
        #: Tools that the image has not, and that milepost runs in it.
        self.lacks = found.get("lacks", "")
        #: RDMA devices that can be opened, and their GIDs; None where nobody asked.
        self.rdma_open = _number(found["rdma-open"]) if "rdma-open" in found else None
        self.gids = _number(found.get("gids", ""))
        self.smi, self.netns = found.get("smi", ""), found.get("netns", "")
        #: Mounted folders as the container sees them: writable, or what is wrong; left out: not looked at.
        self.folders = {name: found[name] for name in docker.KINDS if found.get(name)}
        self.file_systems = {name: found.get(f"{name}-fs", "") for name in docker.KINDS}
        self.cache_free = _number(found.get("cache-free", "")) << 10


def _number(text: str) -> int:
    match = re.match(r"\d+", text)
    return int(match[0]) if match else 0


def size(text: str) -> int:
    """Bytes of a size as docker writes it: ``10.24g``, ``512m``."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([bkmg]?)", text.lower())
    return int(float(match[1]) * _UNITS[match[2]]) if match else 0
