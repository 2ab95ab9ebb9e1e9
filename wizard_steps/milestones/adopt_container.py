"""From a container that runs to the cluster file: its image, and the flags of its `docker run`."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from wizard_steps.engine.step import Known
from wizard_steps.milestones import adopt_nodes
from wizard_steps.node import docker, spec
from wizard_steps.node.spec import Spec

#: Where the flags of `docker run` begin, in the order of docker.settings.
_FIRST = "--network"
#: Flags with a field of their own; those whose field is a list take the words of all uses.
_FIELDS = {"--shm-size": "docker.shm_size", "--restart": "docker.restart"}


def main(one: Spec) -> Spec:
    """The command of Ray in it; nothing where the container only waits for vLLM."""
    words = _parts(one)[0]
    return replace(one, argv=() if words == docker.HOLD else words)


def _parts(one: Spec) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Command and flags of ``docker.settings``."""
    words = one.argv[1:]
    at = words.index(_FIRST) if _FIRST in words else len(words)
    return words[:at], words[at:]


def facts(known: Known, changed: Known, then: Mapping[str, Spec]) -> dict[str, Any]:
    """What the gate of the image would teach after the edits."""
    cluster = changed.cluster
    image = docker.image_of(cluster)
    if image == docker.image_of(known.cluster):
        return dict(changed.facts)
    ids = {name: one.image for name, one in then.items() if one.argv[:1] == (image,)}
    return {**changed.facts, "image": image, "image_ids": {**known.facts.get("image_ids", {}), **ids}}


def fields(known: Known, old: Spec, now: Spec) -> Iterator[tuple[str, str]]:
    """The image, and whether Ray runs in the container."""
    was, is_ = (one.argv[0] if one.argv else "" for one in (old, now))
    cluster = known.cluster
    if was != is_:
        version = re.fullmatch(rf"{re.escape(docker.OFFICIAL)}:v([0-9][\w.]{{0,40}})", was)
        official = version is not None and not cluster.docker.image
        yield ("serve.vllm_version", version[1]) if official and version else ("docker.image", was)
    held = [_parts(one)[0] == docker.HOLD for one in (old, now)]
    if held[0] != held[1]:
        yield "serve.executor", "mp" if held[0] else "ray"
        if not held[0] and cluster.docker.ray == "none":
            yield "docker.ray", "image"


def others(known: Known, found: Mapping[str, tuple[Spec, Spec]]) -> Iterator[tuple[str, str]]:
    """The flags of `docker run`; ``found``: by node what runs and what would be started."""
    rests: dict[str, tuple[str, ...]] = {}
    for name, (old, now) in found.items():
        words, would = _parts(old)[1], _parts(now)[1]
        yield from _own(known, name, spec.flags(words), spec.flags(would))
        node = next(node for node in known.nodes if node.name == name)
        given = (*known.cluster.docker.extra_flags, *known.cluster.entry(node).docker_flags)
        own = {"--ipc", "--log-opt", "-v", "--ulimit", "--gpus", *_FIELDS}
        rests[name] = tuple(adopt_nodes.others(words, would, given, own))
    settled = [name for name in known.facts.get("starts", {}) if name not in found]
    flags = adopt_nodes.Flags("docker.extra_flags", "docker_flags", known.cluster.docker.extra_flags)
    yield from adopt_nodes.spread(known, rests, flags, known.nodes, settled)


def _own(
    known: Known, name: str, was: Mapping[str, str], is_: Mapping[str, str]
) -> Iterator[tuple[str, str]]:
    """The flags that milepost makes of other fields."""
    if was.get("--ipc") != is_.get("--ipc"):
        yield "docker.ipc", was.get("--ipc", "")
    for flag, field in _FIELDS.items():
        if was.get(flag) != is_.get(flag) and (flag in was or flag == "--restart"):
            yield field, was.get(flag, "")
    for flag, field in (("--ulimit", "docker.ulimits"), ("--gpus", "docker.gpu_flags")):
        if was.get(flag) != is_.get(flag):
            values = was[flag].split(", ") if flag in was else []
            yield field, shlex.join(values if flag == "--ulimit" or not values else [flag, *values])
    if was.get("--log-opt") != is_.get("--log-opt"):
        yield "docker.log_size", was.get("--log-opt", "").removeprefix("max-size=")
    if was.get("-v") != is_.get("-v"):
        yield from _mounts(known, name, was.get("-v", "").split(", "))


def _mounts(known: Known, name: str, mounts: Sequence[str]) -> Iterator[tuple[str, str]]:
    """The node's folders, by where they are mounted."""
    cluster = known.cluster
    node = next(node for node in known.nodes if node.name == name)
    inside = {to: folder for folder, _, to in (one.rpartition(":") for one in mounts)}
    ends = {
        "docker.hf_home": (docker.HF_IN_CONTAINER, ""),
        "docker.compile_cache": (docker.COMPILED[0], f"/{docker.COMPILED[0].rpartition('/')[2]}"),
        "docker.log_home": (docker.log_inside(cluster, node), f"/{cluster.name}/{name}/container"),
    }
    for field, (to, end) in ends.items():
        folder = re.sub(r"^\$HOME(?=/|$)", "~", inside.get(to, ""))
        if folder or field != "docker.hf_home":
            yield field, folder.removesuffix(end)
