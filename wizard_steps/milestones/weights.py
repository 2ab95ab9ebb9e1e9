"""weights: the model on every node before vLLM starts: fetched once, handed from node to node over the GPU
network, every file verified. What is there is left alone.

The fetch and the copies are processes of their own on the nodes: they go on without the wizard, and the next
walk finds them. `milepost down` ends them.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence

from msgspec.structs import replace

from wizard_steps.engine.step import Known
from wizard_steps.milestones import weights_need as need
from wizard_steps.milestones import weights_ways as ways
from wizard_steps.milestones.common import Placed, failure, placed, port_taken
from wizard_steps.milestones.weights_words import ask, fetch_failure, hub_failure, verdict_of
from wizard_steps.model import Check, Cmd, Node, Results, Round, Verdict, Work
from wizard_steps.node import weights
from wizard_steps.node.place import FETCH, SHARE, Service
from wizard_steps.node.remote import Look

_KEYS = {FETCH: "fetching", SHARE: "copying"}
_FOLLOWED = ("fetch", "copy", f"copy{ways.AGAIN}")
_BARE = (
    'weights-json: {"folder":"","commit":"","files":{},"free":1000000000000000,"inodes":-1,"fs":"",'
    '"source":"","at":"","writable":true,"parts":0,"orphans":0}'
)


class WeightsStep(Placed):
    id = "weights"
    title = "The model on every node"
    short = "weights"
    keys = ("begin", "disk", "hub", "fetch", "share", "launch", "copy", "share-2", "copy-2")
    owns = (r"weights\..*",)
    phases = ("fetching", "complete")
    effects: Mapping[str, str] = {
        "begin": "fetches the model, once, and verifies it",
        "share": "takes the model from the node before it and passes it on",
        "share-2": "takes the model through the wizard",
    }
    bare: Mapping[str, str] = {
        "disk": _BARE,
        "hub": 'weights-json: {"commit":"","files":{"MODEL":1},"rate":0,"endpoint":"the hub"}',
    }

    def rounds(self, known: Known, done: Results) -> Round | None:
        if need.skipped(known):
            return None
        if not done.has("disk"):
            return _look(known, done)
        if need.unread(known, done):
            return None
        first = need.origin(known, done)
        if need.source(known, done).repo and not done.has("hub"):
            cmd = weights.resolve(known.cluster, placed(known), first, need.source(known, done))
            return Round(work=((first, cmd),))
        if not _started(done):
            if hub_failure(known, done) or _settled(known, done) or _stopped(known, done):
                return None
            if need.blocked(known, done) or _ports(known, done):
                return None
            if question := ask(known, done):
                return Round(questions=(question,))
            if done.answers.get("fetch") in ("each", "stop"):
                return None
        return _run(known, done)

    def judge(self, known: Known, done: Results) -> Verdict:
        if reason := need.skipped(known):
            return Verdict(True, f"left to vLLM: {reason}", (Check("weights", True, reason),))
        if checks := need.unread(known, done):
            return Verdict(False, "the nodes could not be looked at", tuple(checks))
        if checks := hub_failure(known, done):
            return Verdict(False, "the model cannot be fetched", tuple(checks))
        failures = _failures(known, done)
        if failures:
            return Verdict(False, "the model is not on every node", tuple(failures))
        if not done.has("fetch") and not _settled(known, done):
            checks = [*need.blocked(known, done), *_ports(known, done)]
            if checks:
                return Verdict(False, "nothing was fetched", tuple(checks))
        return verdict_of(known, done, _settled(known, done))

    def for_script(self, known: Known, node: Node, key: str) -> str | None:
        """vLLM's own way, on every node by itself."""
        source, place = need.source(known, Results()), placed(known)
        if source.web or source.local or not source.repo:
            return None
        if key == "share" and node == need.origin(known, Results()):
            return ""
        line = shlex.join([place.program("hf"), "download", source.repo, "--revision", source.revision])
        return place.run(node, Cmd(key, line, show=line)).show

    def phase_of(self, line: str) -> str | None:
        if not line.startswith("weights: "):
            return None
        return "complete" if weights.over(line) else "fetching"

    def undo(self, known: Known) -> Sequence[Work]:
        place = placed(known)
        return [(n, place.stop(n, role, grace=5)) for n in known.nodes for role in (SHARE, FETCH)]


def _look(known: Known, done: Results) -> Round:
    place, source = placed(known), need.source(known, done)
    work: list[Work] = []
    for node in need.loading(known):
        work.append((node, weights.look(known.cluster, place, node, source)))
        if not done.has("disk"):
            work += [
                (node, place.look(Service(node, role, _port(known, role)), key))
                for role, key in _KEYS.items()
            ]
    return Round(work=tuple(work))


def _run(known: Known, done: Results) -> Round | None:
    """Launch what does not run, follow it, end what is left of it, look again."""
    place, first, others = placed(known), _first(known, done), _others(known, done)
    left = [n for n in need.loading(known) if _ours(done, SHARE, n)]
    running = bool(others) and set(left) >= {first, *others}
    if left and not running and not done.has("clear"):
        return Round(work=tuple((n, place.stop(n, SHARE, key="clear", grace=2)) for n in left))
    if not _ours(done, FETCH, first) and not done.has("begin"):
        web = need.source(known, done).web
        how = f"from {web}" if web else "with huggingface_hub"
        shown = f"(fetch {ways.what(known, done)} {how}, and verify it)"
        return Round(work=((first, replace(place.launch(_fetch(known, done)), key="begin", show=shown)),))
    if _bad(done, "begin"):
        return None
    by, fetching = ways.way(known), place.follow(_fetch(known, done), "fetch", weights.LONGEST, weights.over)
    if by == ways.RSYNC and not done.has("fetch"):
        return Round(work=((first, fetching),))
    if others and not running and not done.has("share") and _may_share(done):
        nodes = others if by == ways.RSYNC else (first, *others)
        work = [(n, ways.share(known, done, n, (first, *others), by, "share")) for n in nodes]
        return Round(work=tuple(work))
    if _bad(done, "share"):
        return _stop(known, done)
    if not done.has("fetch") or (others and not done.has("copy") and _may_share(done)):
        work = [] if done.has("fetch") else [(first, fetching)]
        work += [(n, ways.follow(known, n, first, by, "copy")) for n in others]
        return Round(work=tuple(work))
    if any(r.reason in ("lost", "cancelled") for key in _FOLLOWED for r in done.of(key).values()):
        return None  # only the line to it broke; the next walk finds what goes on there
    once_more = _stop(known, done) or _through_wizard(known, done, first)
    return once_more or (None if _again(known, done) else _look(known, done))


def _may_share(done: Results) -> bool:
    """Nothing is copied of what was not fetched."""
    return all(weights.complete(r) or r.reason == "dry" for r in done.of("fetch").values())


def _through_wizard(known: Known, done: Results, first: Node) -> Round | None:
    """For the nodes that no other reaches over the GPU network."""
    stopped = done.get("stop", first)
    others = ways.unreached(known, done) if stopped is not None and stopped.ok else []
    nodes, (share, copy, stop) = (first, *others), (f"{key}{ways.AGAIN}" for key in ("share", "copy", "stop"))
    if not others:
        return None
    if not done.has(share):
        work = [(n, ways.share(known, done, n, nodes, ways.WIZARD, share)) for n in nodes]
        return Round(work=tuple(work))
    if not _bad(done, share) and not done.has(copy):
        return Round(work=tuple((n, ways.follow(known, n, first, ways.WIZARD, copy)) for n in others))
    if not done.has(stop):
        return Round(work=tuple((n, placed(known).stop(n, SHARE, key=stop, grace=2)) for n in nodes))
    return None


def _bad(done: Results, key: str) -> list[Check]:
    """The starts that failed."""
    return [failure(r, r.node) for r in done.of(key).values() if not r.ok and r.reason != "dry"]


def _stop(known: Known, done: Results) -> Round | None:
    others = _others(known, done)
    if not others or done.has("stop"):
        return None
    nodes = (_first(known, done), *others)
    return Round(work=tuple((n, placed(known).stop(n, SHARE, grace=2)) for n in nodes))


def _again(known: Known, done: Results) -> bool:
    return len([r for r in done.items if r.key == "disk"]) > len(need.loading(known))


def _before(known: Known, done: Results) -> Results:
    """As it was at the first look: what was decided then holds to the end."""
    count, items = len(need.loading(known)), []
    for result in done.items:
        count -= result.key == "disk"
        if result.key != "disk" or count >= 0:
            items.append(result)
    return Results(items, done.answers)


def _first(known: Known, done: Results) -> Node:
    running = next((n for n in need.loading(known) if _ours(done, FETCH, n)), None)
    return running or need.origin(known, _before(known, done))


def _others(known: Known, done: Results) -> list[Node]:
    first = _first(known, done)
    return [node for node in need.targets(known, _before(known, done)) if node != first]


def _port(known: Known, role: str) -> int:
    return known.cluster.weights.port if role == SHARE else 0


def _ours(done: Results, role: str, node: Node) -> bool:
    result = done.get(_KEYS[role], node)
    return bool(result and Look(result.text).leader)


def _started(done: Results) -> bool:
    """A fetch runs already, or was launched in this attempt."""
    found = done.of(_KEYS[FETCH]).values()
    return done.has("begin") or any(Look(r.text).leader for r in found)


def _fetch(known: Known, done: Results) -> Service:
    first, source = _first(known, done), need.source(known, done)
    return weights.service(known.cluster, placed(known).program("python3"), first, FETCH, source, {})


def _settled(known: Known, done: Results) -> bool:
    return all(need.right(known, done, node) for node in need.loading(known))


def _stopped(known: Known, done: Results) -> bool:
    return known.cluster.weights.fetch == "each"


def _ports(known: Known, done: Results) -> list[Check]:
    """The port where files are handed on is somebody else's."""
    port, found = known.cluster.weights.port, list[Check]()
    others = need.targets(known, done)
    for node in (need.origin(known, done), *others) if others else ():
        look = done.get(_KEYS[SHARE], node)
        taken = port_taken(known, look, port, "weights.port") if look is not None else None
        found += [taken] if taken else []
    return found


def _failures(known: Known, done: Results) -> list[Check]:
    """What a launch, the fetch or a copy has failed of; of the two tries of a copy the last one counts."""
    found = [*_bad(done, "begin"), *_bad(done, "share"), *_bad(done, f"share{ways.AGAIN}")]
    copies = {**done.of("copy"), **done.of(f"copy{ways.AGAIN}")}
    results = (*done.of("fetch").values(), *copies.values())
    return found + [fetch_failure(r) for r in results if not weights.complete(r)]
