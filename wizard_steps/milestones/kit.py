"""kit: what `milepost pack` made, from the wizard's machine onto every node, without internet.

One node gets it over SSH, the others take it from node to node over the GPU network, or over SSH as well
where that lets nothing through; every file is verified on every node.

What is cut off is kept: the next try goes on from there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec.structs import replace

from wizard_steps.engine.step import Known
from wizard_steps.milestones import kit_judge as judged
from wizard_steps.milestones.common import Placed, everywhere, placed
from wizard_steps.model import WIZARD, Cmd, Node, Results, Round, Verdict, Work
from wizard_steps.node import kit as kits
from wizard_steps.node import weights
from wizard_steps.node.kit import KitHere
from wizard_steps.node.place import FETCH, SHARE

_BARE = (
    'machine: x86_64\npython: \nglibc: \nweights-json: {"folder":"","commit":"","files":{},'
    '"free":1000000000000000,"inodes":-1,"fs":"","source":"","at":"","writable":true,"parts":0,"orphans":0}'
)


class KitStep(Placed):
    id = "kit"
    title = "The kit on every node"
    short = "kit"
    keys = ("kit", "disk", "upload", "clear", "begin", "share", "fetch", "copy", "place", "stop", "upload-2")
    owns = (r"install\.from",)
    phases = ("copying", "complete")
    effects: Mapping[str, str] = {
        "upload": "copies the kit to this node, over SSH",
        "upload-2": "copies the kit to this node, over SSH, where no other node reaches it",
        "begin": "verifies the kit",
        "share": "takes the kit from the node before and hands it on",
        "place": "puts the kit's model into the hub's cache",
    }
    bare: Mapping[str, str] = {"disk": _BARE}

    def rounds(self, known: Known, done: Results) -> Round | None:
        if not done.has("kit"):
            return Round(work=(kits.read(known.cluster),))
        here = kits.here(done.get("kit", WIZARD))
        if here is None:
            return None
        if not done.has("disk"):
            return _look(known, here)
        first, others = judged.first(known, done, here.kit), judged.others(known, done, here.kit)
        if judged.blocked(known, done, here.kit) or any(not r.ok for r in done.of("upload").values()):
            return None
        left = judged.missing(known, done, here.kit, first)
        by_ssh = known.cluster.weights.copy == "wizard"
        if (left or (by_ssh and others)) and not done.has("upload"):
            return _upload(known, done, here, (first, *others) if by_ssh else (first,), "upload")
        if others and not by_ssh and (next_round := _chain(known, done, here, first, others)):
            return next_round
        if (nodes := judged.unreached(known, done)) and not done.has("upload-2"):
            return _upload(known, done, here, nodes, "upload-2")
        if (left or others) and len(done.items) and not _again(known, done):
            return _look(known, here)
        wanted = here.kit.model and here.kit.model.repo == known.cluster.serve.model
        if wanted and not done.has("place") and not judged.lacking(known, done, here.kit):
            place = placed(known)
            return everywhere(
                known.nodes, lambda node: kits.place_model(known.cluster, place, node, here.kit)
            )
        return None

    def judge(self, known: Known, done: Results) -> Verdict:
        return judged.verdict(known, done)

    def phase_of(self, line: str) -> str | None:
        if not line.startswith(("weights: ", "kit: ")):
            return None
        return "complete" if "complete" in line else "copying"

    def undo(self, known: Known) -> Sequence[Work]:
        place = judged.host(known)
        return [(n, place.stop(n, role, grace=5)) for n in known.nodes for role in (SHARE, FETCH)]


def _upload(known: Known, done: Results, here: KitHere, nodes: Sequence[Node], key: str) -> Round:
    work: list[Work] = []
    for node in nodes:
        if left := judged.missing(known, done, here.kit, node):
            work.append((node, replace(kits.upload(known.cluster, node, here, left), key=key)))
    return Round(work=tuple(work))


def _look(known: Known, here: KitHere) -> Round:
    return everywhere(known.nodes, lambda node: kits.look(known.cluster, node, here.kit))


def _again(known: Known, done: Results) -> bool:
    return len([r for r in done.items if r.key == "disk"]) > len(known.nodes)


def _chain(known: Known, done: Results, here: KitHere, first: Node, others: Sequence[Node]) -> Round | None:
    """From node to node: what an earlier try left is ended, then all are started, followed and ended."""
    place, nodes, kit = judged.host(known), (first, *others), here.kit
    if not done.has("clear"):
        work = [(n, place.stop(n, role, key="clear", grace=2)) for n in nodes for role in (SHARE, FETCH)]
        return Round(work=tuple(work))
    begin = kits.service(known.cluster, first, FETCH, kit, {})
    if not done.has("begin"):
        show = "(verify the kit, and tell what of it may be handed on)"
        return Round(work=((first, replace(place.launch(begin), key="begin", show=show)),))
    if any(not r.ok for r in done.of("begin").values()):
        return None
    if not done.has("share"):
        return Round(work=tuple((n, _share(known, here, n, nodes)) for n in nodes))
    started = all(r.ok for r in done.of("share").values())
    if started and not done.has("fetch"):
        limit, over = weights.LONGEST, weights.over
        follow = [(first, place.follow(begin, "fetch", limit, over))]
        follow += [
            (n, place.follow(kits.service(known.cluster, n, SHARE, kit, {}), "copy", limit, over))
            for n in others
        ]
        return Round(work=tuple(follow))
    if not done.has("stop"):
        return Round(work=tuple((n, place.stop(n, SHARE, grace=2)) for n in nodes))
    return None


def _share(known: Known, here: KitHere, node: Node, chain: Sequence[Node]) -> Cmd:
    at = chain.index(node)
    more = weights.in_chain(at, [known.ip(one) for one in chain], known.cluster.weights.port)
    cmd = judged.host(known).launch(kits.service(known.cluster, node, SHARE, here.kit, more))
    what = f"take the kit from {chain[at - 1].name}, verify it" if at else "hand the kit to the next node"
    return replace(cmd, key="share", show=f"({what})")
