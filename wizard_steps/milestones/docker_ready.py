"""docker_ready: before anything starts: the engine, GPUs and limits in a container, one image with Ray.

vLLM's official images after v0.17.1 carry no Ray. Where it is missing there are three ways on: another image,
the same image with Ray added on each node, or the walk without Ray.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from wizard_steps.cluster.checks import IMAGE_NAME
from wizard_steps.cluster.replicas import deal
from wizard_steps.diagnose.explain import advised
from wizard_steps.engine.step import ABOUT_FACTS, FACTS, Bundled, Known, Step
from wizard_steps.milestones import docker_probe as probe
from wizard_steps.milestones.common import everywhere, failure, same_everywhere
from wizard_steps.milestones.docker_probe import Image, Inside
from wizard_steps.model import Check, Node, Option, Question, Results, Round, Verdict
from wizard_steps.node import docker

#: Open files a container must be allowed. Ray raises its own limit to the hard one.
MIN_FILES = 16384
#: Bytes that should be free: in the Hugging Face cache, and for vLLM's image, unpacked.
LOW_CACHE, IMAGE_ROOM = 20 << 30, 30 << 30
WAY = "without-ray"
OTHER = "image"
_WITHOUT = (
    Option("image", "Another image", "one that has Ray; you name it next"),
    Option("build", "Add Ray to this image", "on each node: a derived image with pinned Ray, some 400 MB"),
    Option("none", "Go on without Ray", "vLLM's own launcher: --nnodes, --node-rank, --master-addr"),
)


class DockerReady(Step):
    id = "docker_ready"
    title = "Docker, GPUs and the image"
    short = "Docker, image"
    keys = ("engine", "image", "image-2", "inside", "inside-2", "pull*", "build*")
    bundled = (
        Bundled(
            (
                "engine",
                "image",
                "inside",
                "image-2",
                "inside-2",
            ),
            FACTS,
            ABOUT_FACTS,
        ),
    )
    owns = (r"docker\..*",)
    effects: Mapping[str, str] = {
        "pull": "brings the image to the node",
        "build": "makes an image with Ray on the node, from the one before",
    }
    bare: Mapping[str, str] = {"have": "image: missing", "have-2": "image: missing"}

    def rounds(self, known: Known, done: Results) -> Round | None:
        cluster = known.cluster
        if not done.has("engine"):
            return everywhere(known.nodes, probe.engine_command(cluster))
        nodes = [node for node in known.nodes if _ok(done, "engine", node)]
        image = docker.image_of(cluster)
        wanted = _stage(known, done, nodes, image, "")
        if wanted is not None or not _lacks_ray(known, done, nodes):
            return wanted
        way = _way(known, done)
        if way == "ask":
            return Round(questions=(_question(image),))
        if way == "image" and WAY in done.answers and OTHER not in done.answers:
            return Round(questions=(_which(image),))
        if not _second(known, done) or _unfit(known, done):
            return None
        return _stage(known, done, nodes, _image(known, done), "-2")

    def judge(self, known: Known, done: Results) -> Verdict:
        unfit = _unfit(known, done)
        if unfit:
            return Verdict(False, "this way is not open", tuple(unfit))
        checks: list[Check] = []
        for node in known.nodes:
            checks += [*_node(known, done, node), *_room(done, node)]
        suffix = "-2" if _second(known, done) else ""
        looked = [node for node in known.nodes if _ok(done, f"image{suffix}", node)]
        if looked:
            digests = {node.name: Image(done.get(f"image{suffix}", node)).digest for node in looked}
            hint = "docker pull on the odd one, or name the image by digest (IMAGE@sha256:…) in docker.image"
            checks.append(same_everywhere("image", digests, hint))
        checks += [*_versions(known, done, f"inside{suffix}"), *probe.older(known.cluster)]
        ok = all(check.ok for check in checks)
        image, way = _image(known, done), _executor(known, done)
        summary = f"{image} runs on {len(known.nodes)} nodes" + ("" if way == "ray" else ", without Ray")
        ids = {node.name: Image(done.get(f"image{suffix}", node)).id for node in looked}
        ids = {name: text.removeprefix("sha256:") for name, text in ids.items()}
        facts = {"image": image, "executor": way, "image_ids": ids} if ok else {}
        return Verdict(ok, summary if ok else "not every node can run the containers", tuple(checks), facts)


def _stage(known: Known, done: Results, nodes: Sequence[Node], image: str, suffix: str) -> Round | None:
    """Is the image there? Get it where it is not; then what it is, and what is inside."""
    cluster = known.cluster
    if not nodes:
        return None
    if not done.has(f"have{suffix}"):
        return everywhere(nodes, probe.have_command(cluster, image, f"have{suffix}"))
    base, digest = docker.image_of(cluster), _digest(known, done)
    build = bool(suffix) and image == docker.derived_image(cluster, base, digest)
    getting = f"build{suffix}" if build else f"pull{suffix}"
    missing = [n for n in nodes if (r := done.get(f"have{suffix}", n)) and "image: missing" in r.text]
    if missing and not done.has(getting):
        if build:
            return everywhere(missing, probe.build_command(cluster, base, digest, image, getting))
        return everywhere(missing, probe.pull_command(cluster, image, getting))
    there = [n for n in nodes if n not in missing or _ok(done, getting, n)]
    if there and not done.has(f"image{suffix}"):
        return everywhere(there, probe.image_command(cluster, image, f"image{suffix}"))
    whole = [n for n in there if _ok(done, f"image{suffix}", n)]
    if whole and not done.has(f"inside{suffix}"):
        return everywhere(whole, lambda n: probe.inside_command(cluster, n, image, f"inside{suffix}"))
    return None


def _ok(done: Results, key: str, node: Node) -> bool:
    """Ran well; in a dry run, where nothing is fetched, "listed" has to do."""
    result = done.get(key, node)
    return result is not None and (result.ok or result.reason == "dry")


def _lacks_ray(known: Known, done: Results, nodes: Sequence[Node]) -> bool:
    """Every node has the same image, it works, and it has no Ray."""
    if known.cluster.without_ray:
        return False
    insides = [Inside(r.text) for node in nodes if (r := done.get("inside", node)) and r.ok]
    digests = {Image(done.get("image", node)).digest for node in nodes}
    return len(insides) == len(known.nodes) and len(digests) == 1 and not any(i.has_ray for i in insides)


def _way(known: Known, done: Results) -> str:
    return done.answers.get(WAY) or ("none" if known.cluster.without_ray else known.cluster.docker.ray)


def _second(known: Known, done: Results) -> bool:
    """Whether another image takes the place of the first."""
    way = _way(known, done)
    lacks = _lacks_ray(known, done, known.nodes)
    return lacks and (way == "build" or (way == "image" and bool(done.answers.get(OTHER))))


def _image(known: Known, done: Results) -> str:
    image = docker.image_of(known.cluster)
    if not _second(known, done):
        return image
    if _way(known, done) == "build":
        return docker.derived_image(known.cluster, image, _digest(known, done))
    return done.answers[OTHER]


def _digest(known: Known, done: Results) -> str:
    """Of the image that the cluster file names, the same on every node where it counts."""
    return next((d for n in known.nodes if (d := Image(done.get("image", n)).digest)), "")


def _executor(known: Known, done: Results) -> str:
    return "mp" if _way(known, done) == "none" else "ray"


def _unfit(known: Known, done: Results) -> list[Check]:
    """What an answer asks for and cannot be; the cluster file's own values were checked when it was read."""
    other = done.answers.get(OTHER, "")
    checks = []
    if other and not IMAGE_NAME.fullmatch(other):
        checks.append(
            Check("image", False, f"{other!r}", "the name of an image", hint="name:tag, or name@digest")
        )
    if _way(known, done) == "none" and (wrong := deal(known.cluster, without_ray=True).problem):
        hint = "choose other numbers: serve.tensor_parallel, pipeline_parallel, data_parallel"
        checks.append(Check("ranks", False, wrong, "ranks that vLLM can deal out", hint=hint))
    return checks


def _question(image: str) -> Question:
    return Question(
        id=WAY,
        text=f"{image} has no Ray. How do you want to go on?",
        kind="choice",
        options=_WITHOUT,
        default="build",
        field="docker.ray",
        why="vLLM's images carry no Ray since v0.17.1; without it no container can join a Ray cluster.",
    )


def _which(image: str) -> Question:
    return Question(
        id=OTHER,
        text="Which image, with Ray in it?",
        default="",
        field="docker.image",
        why=f"a name with its tag, better with its digest; {image} has no Ray",
    )


def _node(known: Known, done: Results, node: Node) -> list[Check]:
    """The first thing that went wrong on a node, or what is inside its container."""
    suffix = "-2" if _second(known, done) else ""
    keys = ["engine"]
    keys += [
        key + s for s in ("", suffix)[: 2 if suffix else 1] for key in ("pull", "build", "image", "inside")
    ]
    for key in keys:
        result = done.get(key, node)
        if result is not None and not result.ok and result.reason != "dry":
            name = {"engine": "docker", "inside": "container"}.get(key.split("-")[0], key.split("-")[0])
            check = failure(result, node)
            return [Check(name, False, check.found, node=node.name, hint=advised(result.text))]
    result = done.get(f"inside{suffix}", node)
    if result is None:
        return [Check("container", False, "was not run", node=node.name)]
    return _limits(known, Inside(result.text), node, _executor(known, done))


def _limits(known: Known, found: Inside, node: Node, executor: str) -> list[Check]:
    wanted = probe.size(known.cluster.docker.shm_size)
    few = found.nofile.isdigit() and int(found.nofile) < MIN_FILES
    locked = found.memlock == "unlimited" or not found.rdma
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
            locked,
            said + ("" if found.rdma else ", no RDMA device needs more"),
            "unlimited, for RDMA",
            name,
            'add "memlock=-1" to docker.ulimits; RDMA cannot pin memory otherwise',
        ),
        Check(
            "open files",
            not few,
            found.nofile,
            f"at least {MIN_FILES}",
            name,
            'add "nofile=65536:65536" to docker.ulimits',
        ),
        _gpus(found, node),
    ]
    checks += _cache(known, found, node)
    if executor == "ray":
        hint = "name an image that has it (docker.image), or set docker.ray to build or none"
        checks.insert(1, Check("Ray", found.has_ray, found.ray, "in the image", name, hint))
    return checks


def _room(done: Results, node: Node) -> list[Check]:
    """A warning where an image has to be fetched onto a disk that may be too small for it."""
    text = "\n".join(r.text for key in ("have", "have-2") if (r := done.get(key, node)))
    found = re.search(r"^room: (\d{1,15}) KiB in (.*)", text, re.MULTILINE)
    if found is None or int(found[1]) << 10 >= IMAGE_ROOM:
        return []
    said = f"{int(found[1]) >> 20} GiB free in {found[2]}"
    hint = "vLLM's image takes 20 to 30 GB unpacked: `docker system df` shows what may go"
    return [Check("room for the image", True, said, f"{IMAGE_ROOM >> 30} GiB", node.name, hint, warning=True)]


def _cache(known: Known, found: Inside, node: Node) -> list[Check]:
    """Weights are downloaded into it, unless the model is a folder of its own."""
    home, needed = known.cluster.docker.hf_home, not known.cluster.serve.model.startswith("/")
    checks = []
    if found.cache not in ("", "writable"):
        text, hint = (
            f"{home}: {found.cache}",
            "docker.hf_home names it; root of a container may be nobody on NFS",
        )
        checks.append(Check("cache", not needed, text, "writable", node.name, hint, warning=not needed))
    low = needed and 0 < found.cache_free < LOW_CACHE
    if low:
        text = f"{found.cache_free >> 30} GiB free in {home}"
        hint = "may be too little for the weights: `milepost check` compares with the model's size"
        checks.append(Check("cache", True, text, "room for the weights", node.name, hint, warning=True))
    return checks


def _gpus(found: Inside, node: Node) -> Check:
    said = f"{found.gpus} in the container" + ("" if found.gpus else f": {found.smi}")
    hint = (
        "the engine gave it none; podman ignores --gpus: "
        'set docker.gpu_flags = ["--device", "nvidia.com/gpu=all"]'
        if not found.gpus
        else "compare with nvidia-smi on the host; NVIDIA_VISIBLE_DEVICES or a flag hides some"
    )
    return Check("GPUs", found.gpus == node.gpus, said, f"{node.gpus}", node.name, hint)


def _versions(known: Known, done: Results, key: str) -> list[Check]:
    insides = {node.name: Inside(r.text) for node in known.nodes if (r := done.get(key, node)) and r.ok}
    if len(insides) < 2:
        return []
    kinds = {"vLLM versions": "vllm", "Ray versions": "ray", "Python versions": "python"}
    hint = "take the same image on every node"
    return [
        same_everywhere(name, {n: str(getattr(i, kind)) for n, i in insides.items()}, hint)
        for name, kind in kinds.items()
    ]
