"""docker_ready's judgement of one node: what its container has, and what is missing."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

from wizard_steps.cluster.devices import outward
from wizard_steps.diagnose.explain import advised
from wizard_steps.engine.step import Known
from wizard_steps.facts.rules_machine import MEMLOCK_LEAST
from wizard_steps.milestones import docker_probe as probe
from wizard_steps.milestones.common import failure, same_everywhere
from wizard_steps.milestones.docker_probe import Image, Inside
from wizard_steps.model import Check, Node, Result, Results, counted
from wizard_steps.node import engine as engines
from wizard_steps.node.docker import image_of
from wizard_steps.node.engine import ContainerEngine

#: Open files a container must be allowed. Ray raises its own limit to the hard one.
MIN_FILES = 16384
#: Bytes that should be free: in the Hugging Face cache, and for vLLM's image, unpacked.
LOW_CACHE, IMAGE_ROOM = 20 << 30, 30 << 30
#: What engines say where they cannot give GPUs to a container.
_NO_GPUS = re.compile(
    r"could not select device driver|CDI (?:device|spec)|nvidia\.com/gpu|no known GPU vendor", re.I
)
#: File systems of a network, as `stat -f` names them.
_NETWORK = re.compile(
    r"nfs|smb|cifs|lustre|gpfs|ceph|afs|gfs|9p|v9fs|fhgfs|panfs|ocfs2|0x18031977|fuse(?!blk)"
)


#: What is run on a node, in order, and the name of its check where that is another word.
_KEYS = ("load", "pull", "build", "send", "receive", "image", "inside")
_NAMES = {"engine": "docker", "inside": "container"}


def engine_of(done: Results, node: Node) -> ContainerEngine:
    result = done.get("engine", node)
    return engines.parse(result.text) if result is not None and result.ok else ContainerEngine()


def node_checks(known: Known, done: Results, node: Node, suffix: str, executor: str) -> list[Check]:
    """The first thing that went wrong on a node, or what is inside its container."""
    for key in ("engine", *_KEYS, *(f"{key}{suffix}" for key in _KEYS if suffix)):
        result = done.get(key, node)
        if result is not None and not result.ok and result.reason != "dry":
            name = key.removesuffix(suffix) if suffix else key
            said = failure(result, node).found
            own = _way(known, done, result) or _own_proxy(known, done, node, name)
            tip = _loaded(done, node) or own or advised(result.text)
            return [Check(_NAMES.get(name, name), False, said, node=node.name, hint=tip)]
    result = done.get(f"inside{suffix}", node)
    if result is None:
        return [Check("container", False, "was not run", node=node.name)]
    engine, found = engine_of(done, node), Inside(result.text)
    return [
        *_tools(found, node),
        *_limits(known, found, node, executor),
        *(_log(known, engine, node) if executor == "ray" else []),
        *_rdma(known, engine, found, node),
        _gpus(known, engine, found, node),
        *_network(engine, found, node),
        *_cpu(known, engine, Image(done.get(f"image{suffix}", node)), node),
        *_cache(known, found, node),
        *_own(known, found, node),
        *_room(done, node),
    ]


def _way(known: Known, done: Results, inside: Result) -> str:
    """What this engine needs for GPUs, where it refused to give a container any."""
    way = engines.gpu_way(engine_of(done, inside.node), known.cluster.docker.gpu_flags)
    refused = inside.key.startswith("inside") and _NO_GPUS.search(inside.text)
    return f"{way.text}: {way.hint}" if refused and way.hint else ""


def _own_proxy(known: Known, done: Results, node: Node, key: str) -> str:
    """Where a proxy is set that the engine's pull does not see."""
    proxied = any(name.lower() == "https_proxy" for name in outward(known.cluster, node))
    if key != "pull" or not proxied or engine_of(done, node).kind != "docker":
        return ""
    return (
        "the engine itself pulls, and does not see the proxy of [env] or [install]: name it there "
        '("proxies" in /etc/docker/daemon.json), restart docker'
    )


def _loaded(done: Results, node: Node) -> str:
    """What an archive held, where it was loaded and the image of the cluster file is still not there."""
    load = done.get("load", node)
    if load is None or not load.ok:
        return ""
    names = [line.rpartition(": ")[2].strip() for line in load.lines if line.startswith("Loaded image")]
    return f"the archive holds {', '.join(names)}: name that in docker.image" if names else ""


def image_check(done: Results, nodes: Sequence[Node], suffix: str) -> Check:
    """One image has one id. Where an engine counts ids in another way, the registry's digest has to do."""
    images = {node.name: Image(done.get(f"image{suffix}", node)) for node in nodes}
    hint_ = (
        "pull it again on the node that differs, or name the image by digest (IMAGE@sha256:…) in docker.image"
    )
    digests = {name: one.digest for name, one in images.items()}
    if len({one.id for one in images.values()}) == 1:
        # An image that was loaded from an archive has no digest of a registry.
        digests = dict.fromkeys(digests, next((d for d in digests.values() if d), ""))
    return same_everywhere("image", digests, hint_)


def _tools(found: Inside, node: Node) -> list[Check]:
    if not found.lacks:
        return []
    hint = (
        "with them milepost starts, finds and ends vLLM in the container: take an image with bash, GNU "
        "coreutils, grep, sed, findutils and util-linux (vLLM's own have them), or add them to this one"
    )
    return [Check("tools", False, f"not in the image: {found.lacks}", "in the image", node.name, hint)]


def _limits(known: Known, found: Inside, node: Node, executor: str) -> list[Check]:
    wanted = probe.size(known.cluster.docker.shm_size)
    few = found.nofile.isdigit() and int(found.nofile) < MIN_FILES
    # What a container cannot open needs no memory; where nobody asked for that, what it sees counts.
    cards = found.rdma if found.rdma_open is None else found.rdma_open
    free = found.memlock == "unlimited" or not cards
    enough = found.memlock.isdigit() and int(found.memlock[:18]) << 10 >= MEMLOCK_LEAST
    said = f"{found.memlock} KiB" if found.memlock.isdigit() else found.memlock
    name = node.name
    checks = [
        Check("vLLM", found.vllm != "missing", found.vllm, "in the image", name, "take an image with vLLM"),
        Check(
            "/dev/shm",
            found.shm >= wanted * 0.95 or bool(known.cluster.docker.ipc),
            f"{found.shm / (1 << 30):.1f} GiB in the container",
            f"{wanted / (1 << 30):.1f} GiB",
            name,
            "NCCL and Ray's object store need it: see docker.shm_size; an extra flag may override it",
        ),
        Check(
            "memlock",
            free or enough,
            said + ("" if cards else ", no RDMA device needs more"),
            "unlimited, for RDMA",
            name,
            'add "memlock=-1" to docker.ulimits; RDMA cannot pin more memory otherwise',
            warning=not free and enough,
        ),
        Check(
            "open files",
            not few,
            found.nofile,
            f"at least {MIN_FILES}",
            name,
            'add "nofile=65536:65536" to docker.ulimits',
        ),
    ]
    if executor == "ray":
        hint = "name an image that has it (docker.image), or set docker.ray to build or none"
        checks.insert(1, Check("Ray", found.has_ray, found.ray, "in the image", name, hint))
    return checks


def _log(known: Known, engine: ContainerEngine, node: Node) -> list[Check]:
    """Ray's start is read from the container's log while it is written."""
    own = (*known.cluster.docker.extra_flags, *known.cluster.entry(node).docker_flags)
    if engine.follows_logs or any(flag.startswith("--log-driver") for flag in own):
        return []
    found = f"log driver journald, events_logger {engine.events}: podman refuses to follow a log"
    hint = 'add "--log-driver=k8s-file" to docker.extra_flags, or set events_logger = "journald" on the node'
    return [Check("container log", False, found, "a log that can be followed", node.name, hint)]


def _rdma(known: Known, engine: ContainerEngine, found: Inside, node: Node) -> list[Check]:
    """Whether the container was given the RDMA devices that its node has; alone, a node needs none."""
    if not engine.rdma or found.rdma_open is None or len(known.nodes) < 2:
        return []
    name, wanted = "RDMA", "every RDMA device of the node, with its GIDs"
    if known.cluster.docker.rdma == "off":
        has = counted(engine.rdma, "RDMA device")
        said = f'docker.rdma = "off": NCCL will use TCP, though the node has {has}'
        return [Check(name, True, said, node=node.name, warning=True)]
    said = f"{found.rdma_open} of {counted(engine.rdma, 'RDMA device')} can be opened in the container"
    said += f", {counted(found.gids, 'GID')} can be seen"
    if found.rdma_open and found.gids:
        return [Check(name, True, said, node=node.name)]
    accepted = "socket" in known.cluster.fabric.accept
    hint = (
        "the container needs --device=/dev/infiniband and --cap-add=IPC_LOCK, and a rootless engine a user "
        'who may open these files (`ls -l /dev/infiniband`). To go on with TCP: fabric.accept = ["socket"]'
    )
    if found.rdma_open:
        hint = "it needs the network of the host, and RDMA shared between namespaces (`rdma system show`)"
    return [Check(name, accepted, said, wanted, node.name, hint, warning=accepted)]


def _room(done: Results, node: Node) -> list[Check]:
    """A warning where an image has to be fetched onto a disk that may be too small for it."""
    text = "\n".join(r.text for key in ("have", "have-2") if (r := done.get(key, node)))
    found = re.search(r"^room: (\d{1,15}) KiB in (.*)", text, re.MULTILINE)
    if found is None or int(found[1]) << 10 >= IMAGE_ROOM:
        return []
    said = f"{int(found[1]) >> 20} GiB free in {found[2]}"
    hint = "vLLM's image takes 20 to 30 GB unpacked: `docker system df` shows what can be removed"
    return [Check("room for the image", True, said, f"{IMAGE_ROOM >> 30} GiB", node.name, hint, warning=True)]


def _cache(known: Known, found: Inside, node: Node) -> list[Check]:
    """Weights are downloaded into it, unless the model is a folder of its own."""
    home, needed = known.cluster.docker.hf_home, not known.cluster.serve.model.startswith("/")
    checks, state = [], found.folders.get("cache", "writable")
    if state != "writable":
        text, hint = f"{home}: {state}", "docker.hf_home names it; root of a container may be nobody on NFS"
        checks.append(Check("cache", not needed, text, "writable", node.name, hint, warning=not needed))
    low = needed and 0 < found.cache_free < LOW_CACHE
    if low:
        text = f"{found.cache_free >> 30} GiB free in {home}"
        hint = "may be too little for the weights: `milepost check` compares with the model's size"
        checks.append(Check("cache", True, text, "room for the weights", node.name, hint, warning=True))
    return checks


def _own(known: Known, found: Inside, node: Node) -> list[Check]:
    """The folders of logs and of what vLLM compiles: neither Ray nor vLLM starts where they cannot be
    written, and Ray's sockets and many small files are no load for a network file system."""
    it, checks = known.cluster.docker, []
    for name, field, home in (
        ("logs", "log_home", it.log_home),
        ("compiled", "compile_cache", it.compile_cache),
    ):
        state, kind = found.folders.get(name, "writable"), found.file_systems[name]
        if state != "writable":
            hint = (
                f'root of a container may be nobody on NFS: docker.{field} = "" or a folder of a local disk'
            )
            checks.append(Check(name, False, f"{home}: {state}", "writable", node.name, hint))
        elif name == "logs" and not known.cluster.without_ray and _NETWORK.search(kind):
            text = f"{home} is on {kind}: Ray's sessions would be, too"
            hint = "docker.log_home names it: a folder of a local disk is better"
            checks.append(Check(name, True, text, "a local disk", node.name, hint, warning=True))
    return checks


def _gpus(known: Known, engine: ContainerEngine, found: Inside, node: Node) -> Check:
    """Only a look inside tells: an engine may take the flags and do nothing."""
    if not node.gpus:
        return Check("GPUs", True, "none of this node is used", node=node.name)
    more = f", {node.gpus} of them used" if 0 < node.gpus < found.gpus else ""
    said = f"{found.gpus} in the container" + (more if found.gpus else f": {found.smi}")
    way = engines.gpu_way(engine, known.cluster.docker.gpu_flags)
    if found.gpus:
        hint_ = "compare with nvidia-smi on the host; NVIDIA_VISIBLE_DEVICES or a flag hides some"
    elif way.hint:
        hint_ = f"{way.text}: {way.hint}"
    else:
        hint_ = f"the engine gave it none ({way.text}): does `nvidia-smi` work on the host?"
    # Where only some are used, CUDA_VISIBLE_DEVICES says which: see the nvidia-smi gate.
    return Check("GPUs", found.gpus >= node.gpus, said, f"at least {node.gpus}", node.name, hint_)


def _network(engine: ContainerEngine, found: Inside, node: Node) -> list[Check]:
    """Rootless Docker's "host" network is one of its own, which other nodes do not reach."""
    if not (engine.netns and found.netns) or engine.netns == found.netns:
        return []
    why = "rootless Docker puts it into a network of its own" if engine.rootless else "a flag overrides it"
    text = f"--network host is not the host's network ({why})"
    tip = "use Docker with root rights on this node, or podman, whose host network is the host's"
    return [Check("network", False, text, "the host's network", node.name, tip)]


def _cpu(known: Known, engine: ContainerEngine, image: Image, node: Node) -> list[Check]:
    if not (engine.arch and image.arch) or engine.arch == image.arch:
        return []
    name = shlex.quote(image_of(known.cluster))
    tip = (
        f"name an image that is built for {engine.arch}; `docker manifest inspect {name}` lists what there is"
    )
    found = f"the image is built for {image.arch}"
    return [Check("CPU", False, found, engine.arch, node.name, tip)]


def version_checks(known: Known, done: Results, key: str) -> list[Check]:
    insides = {node.name: Inside(r.text) for node in known.nodes if (r := done.get(key, node)) and r.ok}
    if len(insides) < 2:
        return []
    kinds = {"vLLM versions": "vllm", "Ray versions": "ray", "Python versions": "python"}
    hint = "take the same image on every node"
    return [
        same_everywhere(name, {n: str(getattr(i, kind)) for n, i in insides.items()}, hint)
        for name, kind in kinds.items()
    ]
