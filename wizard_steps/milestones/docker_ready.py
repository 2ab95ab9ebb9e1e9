"""docker_ready: before anything starts: the engine, GPUs and limits in a container, one image with Ray.

vLLM's official images after v0.17.1 carry no Ray. Where it is missing there are three ways on: another image,
the same image with Ray added on each node, or the walk without Ray.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from wizard_steps.cluster.checks import IMAGE_NAME
from wizard_steps.cluster.replicas import deal
from wizard_steps.engine.step import ABOUT_FACTS, FACTS, Bundled, Known, Step
from wizard_steps.milestones import docker_judge as judged
from wizard_steps.milestones import docker_probe as probe
from wizard_steps.milestones.common import everywhere
from wizard_steps.milestones.docker_probe import Image, Inside
from wizard_steps.model import Check, Cmd, Node, Option, Question, Results, Round, Verdict, counted
from wizard_steps.node import docker
from wizard_steps.node import image as images

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
    keys = (
        "engine",
        "image",
        "image-2",
        "inside",
        "inside-2",
        "pull*",
        "load*",
        "build*",
        "send*",
        "receive*",
    )
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
    owns = (r"docker\..*", r"nodes\[\d+\]\.docker_flags", r"serve\.(executor|vllm_version)")
    effects: Mapping[str, str] = {
        "pull": "gets the image onto the node",
        "load": "gets the image onto the node, from an archive",
        "send": "sends the image to the nodes that lack it, over the GPU network",
        "receive": "takes the image from the node before it and passes it on",
        "build": "makes an image with Ray on the node, from the image without Ray",
    }
    bare: Mapping[str, str] = {"have": "image: missing", "have-2": "image: missing"}

    def rounds(self, known: Known, done: Results) -> Round | None:
        cluster = known.cluster
        if not done.has("engine"):
            return everywhere(known.nodes, probe.engine_command(cluster))
        nodes = [node for node in known.nodes if _ok(done, "engine", node)]
        image = _named(known)
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
            return Verdict(False, "this choice is not possible", tuple(unfit))
        suffix, way = "-2" if _second(known, done) else "", _executor(known, done)
        checks: list[Check] = []
        for node in known.nodes:
            checks += judged.node_checks(known, done, node, suffix, way)
        looked = [node for node in known.nodes if _ok(done, f"image{suffix}", node)]
        if looked:
            checks.append(judged.image_check(done, looked, suffix))
        checks += [*judged.version_checks(known, done, f"inside{suffix}"), *probe.older(known.cluster)]
        ok = all(check.ok for check in checks)
        image = _image(known, done)
        summary = f"{image} runs on {counted(len(known.nodes), 'node')}"
        summary += "" if way == "ray" else ", without Ray"
        ids = {node.name: Image(done.get(f"image{suffix}", node)).id for node in looked}
        ids = {name: text.removeprefix("sha256:") for name, text in ids.items()}
        engines = {node.name: judged.engine_of(done, node).given for node in known.nodes}
        given = {name: {"rdma": one.rdma, "rotates": one.rotates} for name, one in engines.items()}
        facts = {"image": image, "executor": way, "image_ids": ids, "engines": given} if ok else {}
        return Verdict(ok, summary if ok else "not every node can run the containers", tuple(checks), facts)

    def expects(self, known: Known, done: Results) -> Mapping[str, Any]:
        return {"image": _image(known, done), "executor": _executor(known, done)}

    def for_script(self, known: Known, node: Node, key: str) -> str | None:
        it, image = docker.docker(known.cluster), shlex.quote(_named(known))
        return {
            "send": "",
            "receive": f"ssh {shlex.quote(known.head.host)} {it} save {image} | {it} load",
        }.get(key)


def _named(known: Known) -> str:
    """The image of the cluster file, or what a kit made of it."""
    return str(known.facts.get("kit", {}).get("image") or docker.image_of(known.cluster))


def _stage(known: Known, done: Results, nodes: Sequence[Node], image: str, suffix: str) -> Round | None:
    """Is the image there? Get it where it is not; then what it is, and what is inside."""
    cluster = known.cluster
    if not nodes:
        return None
    if not done.has(f"have{suffix}"):
        return everywhere(nodes, probe.have_command(cluster, image, f"have{suffix}"))
    base, digest = _named(known), _digest(known, done)
    build = bool(suffix) and image == docker.derived_image(cluster, base, digest)
    missing = [n for n in nodes if (r := done.get(f"have{suffix}", n)) and "image: missing" in r.text]
    fetch, getting = _fetch(known, image, digest, suffix, build)
    sends = cluster.docker.send_image and len(known.nodes) > 1
    fetchers = [n for n in missing if n == known.head] if sends else missing
    if fetchers and not done.has(getting):
        return everywhere(fetchers, fetch)
    takers = [n for n in missing if n not in fetchers]
    has_it = known.head in nodes and (known.head not in missing or _ok(done, getting, known.head))
    if takers and has_it and not done.has(f"send{suffix}"):
        return _sending(known, takers, image, suffix)
    keys = (getting, f"receive{suffix}")
    there = [n for n in nodes if n not in missing or any(_ok(done, key, n) for key in keys)]
    if there and not done.has(f"image{suffix}"):
        return everywhere(there, probe.image_command(cluster, image, f"image{suffix}"))
    whole = [n for n in there if _ok(done, f"image{suffix}", n)]
    if whole and not done.has(f"inside{suffix}"):

        def inside(node: Node) -> Cmd:
            given = judged.engine_of(done, node).given
            return probe.inside_command(cluster, node, image, f"inside{suffix}", given)

        return everywhere(whole, inside)
    return None


def _fetch(
    known: Known, image: str, digest: str, suffix: str, build: bool
) -> tuple[Callable[[Node], Cmd], str]:
    """How a node gets the image by itself, and the key of that: it is built, loaded or pulled."""
    cluster = known.cluster
    if build:
        key = f"build{suffix}"
        base = _named(known)
        return lambda node: probe.build_command(cluster, node, base, digest, image, key), key
    kit = str(known.facts.get("kit", {}).get("folder", ""))
    if (cluster.docker.archive or kit) and not suffix:
        load = images.load(cluster, f"load{suffix}", kit)
        return lambda _: load, load.key
    key = f"pull{suffix}"
    return lambda node: images.pull(cluster, node, image, key), key


def _sending(known: Known, takers: Sequence[Node], image: str, suffix: str) -> Round:
    """From the head through all that lack it."""
    chain = (known.head, *takers)
    addresses = [known.ip(node) for node in chain]
    keys = [f"{'receive' if at else 'send'}{suffix}" for at in range(len(chain))]
    made = [images.share(known.cluster, at, addresses, image, key) for at, key in enumerate(keys)]
    return Round(work=tuple(zip(chain, made, strict=True)))


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
    image = _named(known)
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
        checks.append(Check("ranks", False, wrong, "ranks that vLLM can distribute", hint=hint))
    return checks


def _question(image: str) -> Question:
    return Question(
        id=WAY,
        text=f"{image} has no Ray. How do you want to go on?",
        kind="choice",
        options=_WITHOUT,
        default="build",
        field="docker.ray",
        why="vLLM's images after v0.17.1 have no Ray; without it no container can join a Ray cluster.",
    )


def _which(image: str) -> Question:
    return Question(
        id=OTHER,
        text="Which image, with Ray in it?",
        default="",
        field="docker.image",
        why=f"a name with its tag, better with its digest; {image} has no Ray",
    )
