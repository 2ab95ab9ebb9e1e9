"""What of a kit is where, whether it fits the cluster and the nodes, and what the gate says of it. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from weakref import WeakKeyDictionary

from wizard_steps.engine.step import Known
from wizard_steps.facts.host import NETWORK_DISKS
from wizard_steps.facts.needs import older
from wizard_steps.milestones.common import failure, placed
from wizard_steps.milestones.weights_need import asks_hub
from wizard_steps.milestones.weights_ways import without_source
from wizard_steps.milestones.weights_words import size
from wizard_steps.model import WIZARD, Check, Node, Result, Results, Verdict, counted
from wizard_steps.node import docker, weights
from wizard_steps.node import kit as kits
from wizard_steps.node.kit import Kit, KitFile, KitSeen
from wizard_steps.node.places import OnHost

_PACK = "pack a kit for this cluster file: `milepost pack FILE -o kit/`"
_HINTS = {
    "source": "retry: what has arrived is kept, and the copy continues from there",
    "space": "free some disk there; what has arrived is kept",
    "rights": "give this user the right to write there",
    "corrupt": "check the kit (sha256sum -c SHA256SUMS in its folder), then this node's disk; retry",
    "differs": "remove the named file on this node, and it is copied again",
    "port": "end who has the port, or edit weights.port",
    "disk": "look at this disk (`sudo dmesg`); what has arrived is kept",
}


def host(known: Known) -> OnHost:
    """A kit lies on the hosts, on both paths."""
    return OnHost(known.cluster, known.facts)


_SEEN: WeakKeyDictionary[Results, dict[str, KitSeen | None]] = WeakKeyDictionary()


def seen(done: Results, node: Node) -> KitSeen | None:
    """What the last look at a node said. Each question below asks: it is read once."""
    views = _SEEN.setdefault(done, {})
    if node.name not in views:
        views[node.name] = kits.seen(done.get("disk", node))
    return views[node.name]


def first(known: Known, done: Results, kit: Kit) -> Node:
    """The node that gets it over SSH: the one that has most of it, else the head."""
    nodes = sorted(known.nodes, key=lambda node: node != known.head)
    return min(nodes, key=lambda node: sum(f.size for f in _lacks(done, kit, node)))


def others(known: Known, done: Results, kit: Kit) -> list[Node]:
    """The nodes that copy it from there, in the order of the chain: one of those that share a file system."""
    source = first(known, done, kit)
    groups, found = {_shared(done, source)} - {""}, []
    for node in known.nodes:
        group = _shared(done, node)
        if node != source and group not in groups and _lacks(done, kit, node):
            groups |= {group} - {""}
            found.append(node)
    return found


def missing(known: Known, done: Results, kit: Kit, node: Node) -> list[tuple[KitFile, int]]:
    """What has to come onto a node, each file with the bytes that are there already."""
    view = seen(done, node)
    cut = view.files.cut if view else {}
    return [(f, min(cut.get(f.name, 0), f.size)) for f in _lacks(done, kit, node)]


def lacking(known: Known, done: Results, kit: Kit) -> list[Node]:
    """The nodes where not every file is there and verified; one whose file system is another's too relies on
    what that one has verified."""
    right = {_shared(done, node) for node in known.nodes if not _lacks(done, kit, node)} - {""}
    return [n for n in known.nodes if _lacks(done, kit, n) and _shared(done, n) not in right]


def _lacks(done: Results, kit: Kit, node: Node) -> list[KitFile]:
    view = seen(done, node)
    have = view.files.files if view else {}
    return [f for f in kit.files if have.get(f.name) != (f.size, f.sha256)]


def unreached(known: Known, done: Results) -> list[Node]:
    """The nodes that no other reaches over the GPU network: they get it over SSH too."""
    if known.cluster.weights.copy != "auto":
        return []
    return without_source(done)


def _shared(done: Results, node: Node) -> str:
    view = seen(done, node)
    return f"{view.files.fs} {view.files.source}" if view and view.files.fs in NETWORK_DISKS else ""


def blocked(known: Known, done: Results, kit: Kit) -> list[Check]:
    """Why nothing is copied: the kit is for another cluster or other nodes, or there is no room."""
    found = [*_unfit(known, kit)]
    for node in known.nodes:
        view = seen(done, node)
        if view is None:
            found.append(failure(done.get("disk", node), node))
            continue
        found += [*_other_node(kit, node, view), *_room(known, done, kit, node, view)]
    return found


def _unfit(known: Known, kit: Kit) -> Iterator[Check]:
    cluster, name = known.cluster, WIZARD.name
    if placed(known).contained:
        wanted = docker.image_of(cluster)
        have = kit.base or kit.image
        if have != wanted:
            yield Check("image", False, have or "no image", wanted, name, _PACK)
        elif kit.base and not cluster.without_ray and kit.ray != cluster.ray.version:
            yield Check("ray", False, kit.ray, cluster.ray.version, name, _PACK)
        return
    ray = "" if cluster.without_ray else cluster.ray.version
    for what, have, want in (("vllm", kit.vllm, cluster.serve.vllm_version), ("ray", kit.ray, ray)):
        if want and have != want:
            yield Check(what, False, have or "no packages", want, name, _PACK)


def _other_node(kit: Kit, node: Node, view: KitSeen) -> Iterator[Check]:
    if kit.machine and view.machine != kit.machine:
        yield Check(
            "machine", False, f"{view.machine}; the kit is for {kit.machine}", kit.machine, node.name, _PACK
        )
    if kit.python and view.python != kit.python:
        text = f"python3 is {view.python or 'missing'}; the kit is for {kit.python}"
        yield Check("python", False, text, kit.python, node.name, f"{_PACK} --python {view.python}")
    if kit.glibc and (not view.glibc or older(view.glibc, kit.glibc)):
        text = f"glibc {view.glibc or 'is missing'}; the kit's packages may need {kit.glibc}"
        yield Check("glibc", False, text, kit.glibc, node.name, f"{_PACK} --glibc {view.glibc}")


def _room(known: Known, done: Results, kit: Kit, node: Node, view: KitSeen) -> Iterator[Check]:
    left = sum(f.size - at for f, at in missing(known, done, kit, node))
    if left and not view.files.writable:
        hint = _HINTS["rights"]
        yield Check("rights", False, f"may not write in {view.files.at}", view.files.folder, node.name, hint)
    if view.files.free < left:
        text = f"{size(view.files.free)} free in {view.files.at}, {size(left)} have to come"
        yield Check("disk", False, text, size(left), node.name, "free some")


def verdict(known: Known, done: Results) -> Verdict:
    here = kits.here(done.get("kit", WIZARD))
    if here is None:
        return Verdict(False, "the kit cannot be read", (_unread(known, done),))
    kit = here.kit
    if checks := blocked(known, done, kit):
        return Verdict(False, "nothing was copied", tuple(checks))
    keys = ("upload", "begin", "share", "fetch", "copy", "upload-2", "place")
    failed = [r for key in keys for r in done.of(key).values() if not _good(key, r)]
    failed = [r for r in failed if r.key != "copy" or done.get("upload-2", r.node) is None]
    if failed:
        return Verdict(False, "the kit is not on every node", tuple(_failed(r) for r in failed))
    if wrong := lacking(known, done, kit):
        checks = [_incomplete(done, kit, node) for node in wrong]
        return Verdict(False, "the kit is not on every node", tuple(checks))
    text = f"{counted(len(kit.files), 'file')}, {size(kit.size)}, each verified by SHA-256"
    checks = [Check("kit", True, text, node=node.name) for node in known.nodes]
    checks += _model(known, kit)
    where = kits.folder(known.cluster, kit)
    count = counted(len(known.nodes), "node")
    facts = {"kit": {"folder": where, "image": kit.image, "packages": bool(kit.vllm)}}
    return Verdict(True, f"{size(kit.size)} in {where} on {count}, verified", tuple(checks), facts)


def _model(known: Known, kit: Kit) -> Iterator[Check]:
    """Warnings where the kit's model is another one, or vLLM would still ask the hub for it."""
    model, wanted = kit.model, known.cluster.serve.model
    if model is None:
        return
    if model.repo != wanted:
        text = f"the kit holds {model.repo}: the next gates look for {wanted} elsewhere"
        yield Check("model", True, text, wanted, WIZARD.name, f"{_PACK} --model", warning=True)
    elif model.revision:
        yield from asks_hub(known)


def _incomplete(done: Results, kit: Kit, node: Node) -> Check:
    lacks = _lacks(done, kit, node)
    text = f"{counted(len(lacks), 'file')} missing or not verified, first {lacks[0].name}"
    return Check("kit", False, text, "every file, verified", node.name)


def _unread(known: Known, done: Results) -> Check:
    result = done.get("kit", WIZARD)
    if result is None or not result.ok:
        return failure(result, WIZARD, _PACK)
    line = next((x for x in result.lines if x.startswith(kits.MARK)), kits.MARK)
    try:
        kits.parse(line.removeprefix(kits.MARK))
        said = "not read"
    except ValueError as error:
        said = str(error)[:300]
    return Check("kit", False, said, known.cluster.install.kit, WIZARD.name, _PACK)


def _good(key: str, result: Result) -> bool:
    return weights.complete(result) if key in ("fetch", "copy") else result.ok or result.reason == "dry"


def _failed(result: Result) -> Check:
    kind, words = weights.failed(result)
    if not words:
        return failure(result, result.node, _HINTS["source"] if result.reason == "lost" else "")
    return Check(
        kind if kind in _HINTS else "kit", False, words, node=result.node.name, hint=_HINTS.get(kind, "")
    )
