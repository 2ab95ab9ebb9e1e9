"""What of the model is missing where: what a walk needs to know before it fetches. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import wraps
from typing import TypeVar
from weakref import WeakKeyDictionary

from msgspec import Struct

from wizard_steps.cluster.devices import environment
from wizard_steps.cluster.flags import parse, value
from wizard_steps.engine.step import Known
from wizard_steps.facts.host import NETWORK_DISKS
from wizard_steps.facts.model_script import is_path
from wizard_steps.facts.needs import older
from wizard_steps.milestones.common import failure, placed
from wizard_steps.model import Check, Node, Results
from wizard_steps.node import weights
from wizard_steps.node.weights import HubListing, WeightsSeen, WeightsSource

_T = TypeVar("_T")
#: Load formats for which vLLM reads the files of a repository or folder as they are.
_FILES = ("auto", "hf", "safetensors", "mistral", "pt", "fastsafetensors", "bitsandbytes", "instanttensor")
#: vLLM whose loader takes Mistral's consolidated files where a repository has them
#: (model_executor/model_loader/default_loader.py, read in this release).
_MISTRAL = "0.32"
#: Links, folders and records beside each file.
_INODES = 4


class Missing(Struct, frozen=True):
    """On one node. ``names``: files that have to be transferred. ``have``: bytes that need not come."""

    node: Node
    names: tuple[str, ...]
    size: int
    have: int


def flag(known: Known, name: str) -> str:
    """The value of a flag of vllm serve in the cluster file; "" where it is not there."""
    return value(parse(known.cluster.serve.extra_flags), f"--{name}")


def source(known: Known, done: Results) -> WeightsSource:
    serve = known.cluster.serve
    if is_path(serve.model):
        return WeightsSource(folder=serve.model, local=True)
    return WeightsSource(
        repo=serve.model,
        revision=flag(known, "revision") or "main",
        consolidated=flag(known, "load-format") == "mistral" or not older(serve.vllm_version, _MISTRAL),
        local=listed(done) is None and done.has("hub"),
        web=known.cluster.weights.address,
    )


def skipped(known: Known) -> str:
    """Why nothing is looked at; "" where it is."""
    serve, env = known.cluster.serve, environment(known.cluster, known.server)
    load, where = flag(known, "load-format"), flag(known, "download-dir")
    if known.cluster.simulated and not is_path(serve.model) and "HF_ENDPOINT" not in env:
        return "SIMULATED: the lab's vLLM loads no model"
    if "://" in serve.model or ":" in serve.model or serve.model.endswith(".gguf"):
        return f"{serve.model}: vLLM takes it from there by itself"
    if load and load not in _FILES:
        return f"--load-format {load}: vLLM does not load the model's files as they are"
    if where:
        return f"--download-dir {where}: vLLM downloads into that folder by itself, on every node"
    if env.get("VLLM_USE_MODELSCOPE", "").lower() in ("1", "true"):
        return "VLLM_USE_MODELSCOPE: vLLM downloads from ModelScope by itself, on every node"
    return ""


def loading(known: Known) -> tuple[Node, ...]:
    """The nodes that load a part of the model: those with GPUs, the server first."""
    others = [node for node in known.nodes if node.gpus and node != known.server]
    return (known.server, *others)


def _once(of: Callable[[Known, Results], _T]) -> Callable[[Known, Results], _T]:
    """Each node's questions below ask it again: answered once for an attempt."""
    answers: WeakKeyDictionary[Results, tuple[Known, _T]] = WeakKeyDictionary()

    @wraps(of)
    def asked(known: Known, done: Results) -> _T:
        kept = answers.get(done)
        if kept is None or kept[0] is not known:
            kept = answers[done] = (known, of(known, done))
        return kept[1]

    return asked


@_once
def seen(known: Known, done: Results) -> dict[str, WeightsSeen]:
    """By node, where a look could be read."""
    found = {node.name: weights.seen(done.get("disk", node)) for node in loading(known)}
    return {name: one for name, one in found.items() if one is not None}


def listed(done: Results) -> HubListing | None:
    return next((one for r in done.of("hub").values() if (one := weights.listed(r)) is not None), None)


@_once
def origin(known: Known, done: Results) -> Node:
    """The node that fetches: the file's, the one that has most of the model, or the server."""
    nodes, views = loading(known), seen(known, done)
    if named := known.cluster.weights.node:
        return next((node for node in known.nodes if node.name == named), known.server)
    return max(nodes, key=lambda node: views[node.name].size if node.name in views else -1)


@_once
def wanted(known: Known, done: Results) -> Mapping[str, int]:
    """Bytes by name: what the hub lists, else what the node that has most of it has."""
    if (hub := listed(done)) is not None:
        return hub.files
    view = seen(known, done).get(origin(known, done).name)
    return {name: size for name, (size, _) in view.files.items()} if view else {}


def missing(known: Known, done: Results, node: Node) -> Missing:
    """What has to come onto a node. Files that are there and not verified have not to come."""
    want, hub = wanted(known, done), listed(done)
    view = seen(known, done).get(node.name) or WeightsSeen()
    files = view.files if hub is None or not source(known, done).repo or view.commit == hub.commit else {}
    names = tuple(name for name, size in want.items() if files.get(name, (-1, ""))[0] != size)
    size = sum(want[name] for name in names)
    return Missing(node, names, size, min(size, view.parts))


def right(known: Known, done: Results, node: Node) -> bool:
    """Whether all of it is there, verified, and the same as on the node that fetches."""
    want, views = wanted(known, done), seen(known, done)
    view, first = views.get(node.name), views.get(origin(known, done).name)
    if view is None or first is None or not want or missing(known, done, node).names:
        return False
    return all(view.files[n][1] and view.files[n][1] == first.files.get(n, (0, ""))[1] for n in want)


def targets(known: Known, done: Results) -> list[Node]:
    """The nodes that copy, in the order of the chain: one of those that have a file system in common."""
    first = origin(known, done)
    groups, found = {shared(known, done, first)} - {""}, []
    for node in loading(known):
        group = shared(known, done, node)
        if node == first or group in groups or right(known, done, node):
            continue
        groups |= {group} - {""}
        found.append(node)
    return found


def shared(known: Known, done: Results, node: Node) -> str:
    """What names the folder on a file system that others may have too; "" on a disk of its own."""
    view = seen(known, done).get(node.name)
    return f"{view.fs} {view.source}" if view and view.fs in NETWORK_DISKS else ""


def blocked(known: Known, done: Results) -> list[Check]:
    """Nodes that have no room, or where this user may not write."""
    found = []
    for node in (origin(known, done), *targets(known, done)):
        view, need = seen(known, done).get(node.name), missing(known, done, node)
        if view is None or not need.names:
            continue
        still = need.size - need.have
        if not view.writable:
            hint = "give this user the right to write there, or set HF_HOME in [env] to a folder of its own"
            found.append(Check("rights", False, f"may not write in {view.at}", view.folder, node.name, hint))
        if view.free < still:
            text = f"{view.free / 1e9:.1f} GB free in {view.at}, {still / 1e9:.1f} GB have to be transferred"
            hint = "free some, or set HF_HOME in [env] (or in this node's env) to a larger disk"
            if view.orphans:
                hint = (
                    f"{view.orphans / 1e9:.1f} GB in {view.folder} are cut downloads (*.incomplete); {hint}"
                )
            found.append(Check("disk", False, text, f"{still / 1e9:.1f} GB", node.name, hint))
        if 0 <= view.inodes < len(need.names) * _INODES:
            text = f"{view.inodes} inodes are free in {view.at}"
            found.append(Check("inodes", False, text, f"{len(need.names) * _INODES}", node.name))
    return [*found, *_folders(known, done)]


def _folders(known: Known, done: Results) -> Iterator[Check]:
    """A model that is a folder: it must be somewhere, and nothing of a person's is written over."""
    model = source(known, done).folder
    want, first = wanted(known, done), origin(known, done)
    if not model or not seen(known, done):
        return
    if "config.json" not in want:
        hint = "put the model's folder there, or correct serve.model"
        yield Check("model", False, f"no config.json in {model} on any node", model, first.name, hint)
        return
    view = seen(known, done)
    for node in loading(known):
        mine = view[node.name].files if node.name in view else {}
        names = [n for n, size in want.items() if n in mine and mine[n][0] != size]
        names += [n for n in want if _other(mine.get(n), view[first.name].files.get(n))]
        if names:
            text = f"{model}/{names[0]} is not as on {first.name}"
            text += f" (and {len(names) - 1} more)" if len(names) > 1 else ""
            hint = "nothing is overwritten: remove the wrong copy, and it is copied again"
            yield Check("model", False, text, f"the same as on {first.name}", node.name, hint)
    bare = [n for n in loading(known) if missing(known, done, n).names and n != first]
    if bare and not placed(known).may_copy:
        text = f"{len(missing(known, done, bare[0]).names)} files of {model} are missing"
        hint = "copy the folder to the same path: into containers it is mounted read-only"
        yield Check("model", False, text, model, bare[0].name, hint)
    common = [n for n in loading(known) if shared(known, done, n)]
    if common and (alone := [n for n in bare if not shared(known, done, n)]):
        text = f"{model} is on {shared(known, done, common[0])} on {common[0].name}, and not mounted here"
        yield Check("mount", False, text, "the same file system", alone[0].name, "mount it here too")


def _other(mine: tuple[int, str] | None, first: tuple[int, str] | None) -> bool:
    """Both are verified, and differ."""
    return bool(mine and first and mine[1] and first[1] and mine[1] != first[1])


def unread(known: Known, done: Results) -> list[Check]:
    """The nodes whose look failed."""
    views = seen(known, done)
    return [failure(done.get("disk", node), node) for node in loading(known) if node.name not in views]


def asks_hub(known: Known) -> list[Check]:
    """A warning where vLLM would still ask the hub for a model that came from elsewhere."""
    alone = [n for n in known.nodes if environment(known.cluster, n).get("HF_HUB_OFFLINE", "") in ("", "0")]
    hint = 'set HF_HUB_OFFLINE = "1" in [env]'
    text = "vLLM will ask the hub what the revision means, and wait for it where there is no way out"
    return [Check("hub", True, text, node=alone[0].name, hint=hint, warning=True)] if alone else []


def mixed(known: Known, done: Results) -> list[Check]:
    """A warning where the cache is on a file system in common on some nodes only."""
    nodes: Sequence[Node] = loading(known)
    alone = [node for node in nodes if not shared(known, done, node)]
    if not alone or len(alone) == len(nodes) or source(known, done).folder:
        return []
    views, other = seen(known, done), next(node for node in nodes if node not in alone)
    at, with_ = views[alone[0].name].folder, shared(known, done, other)
    text = f"{at} is on this node's own disk; on {other.name} it is on {with_}"
    hint = "is the shared file system mounted here? set HF_HOME in [env] to the same folder on all"
    return [Check("mount", True, text, node=alone[0].name, hint=hint, warning=True)]
