"""vLLM without Ray: `vllm serve` on every node, `--headless` on all but the head. One replica (or each that
spans nodes) has a rank of --nnodes on every node; replicas that fit a node run there whole, as engines that
meet at the head. All have to come up together: the log of each node is read, and the first to fail is named.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from wizard_steps.cluster.api import base_url
from wizard_steps.engine.step import Known
from wizard_steps.milestones import alive, apart, hang, model, rank_places, running, vllm
from wizard_steps.milestones.common import failure, placed, port_taken
from wizard_steps.model import Check, Node, Result, Results, Round, Together, Verdict
from wizard_steps.node import meeting
from wizard_steps.node.place import RAY, SERVE, Service
from wizard_steps.node.ras import STALLED
from wizard_steps.node.remote import Look

#: Gloo, of a connection whose other end is gone.
_PEER = re.compile(r"[Cc]onnection (?:closed|reset) by peer \[(?:::ffff:)?([\d.]{7,15})\]")
#: Every rank prints this once all of them have met.
_JOINED = re.compile(r"rank \d+ in world size \d+")
#: Seconds for all ranks to meet, before weights are loaded: imports from a slow disk, and the configuration.
JOIN_LIMIT = 900.0


def joined(line: str) -> bool:
    return bool(_JOINED.search(line)) or vllm.over(line)


def _joined_or_waits(line: str) -> bool:
    return joined(line) or meeting.WAITS in line


def ranks(known: Known) -> list[Service]:
    """vLLM on every node, as it would be started."""
    return [vllm.service(known, node) for node in known.nodes]


def rounds(known: Known, done: Results) -> Round | None:
    """look, clear what is left of an incomplete set, launch all, wait until all met, then until ready."""
    place, limit = placed(known), float(known.cluster.serve.ready_timeout)
    services = ranks(known)
    if not done.has("look"):
        looks = tuple((s.node, place.look(s)) for s in services)
        return Round(work=(*looks, *model.work(known)))
    if _blocked(known, done) or done.has("stop"):
        return None
    if question := running.question(known, done, ranks, known.nodes):
        return Round(questions=(question,))
    if any(running.refused(known, done, s) for s in services):
        return None
    if (unused := _unused_ray(known)) and not done.has("ray"):
        return Round(work=tuple((node, place.stop(node, RAY, key="ray")) for node in unused))
    whole = all(running.keeps(known, done, s) for s in services)
    left = [node for node in known.nodes if _look(done, node).there]
    if not whole and left and not done.has("clear"):
        return Round(work=tuple((n, place.stop(n, SERVE, key="clear", grace=5)) for n in left))
    if not whole and not done.has("launch"):
        return Round(work=tuple((s.node, place.launch(s)) for s in services))
    if any(not r.ok and r.reason != "dry" for r in done.of("launch").values()):
        return _stop(known)
    if _reads_on(known, done):
        meet = min(JOIN_LIMIT, limit)
        stop = joined if apart.looks(done, "joined") == apart.LOOKS - 1 else _joined_or_waits
        follow = tuple((s.node, place.follow(s, "joined", meet, stop, quiet=True)) for s in services)
        return Round(follow, together=Together(lambda result: not _joined_by(result)))
    if not done.has("mp-log") and all(_has_joined(done, node) for node in known.nodes):
        return _until_ready(known, services, limit)
    log = done.get("mp-log", known.server)
    if vllm.ready(log):
        return rank_places.rounds(known, done)
    if log is not None and log.reason == "lost":
        return None
    waited = [one for node in known.nodes if (one := _last(done, node)) is not None]
    # A rank that has ended says why itself.
    hung = any(map(vllm.hangs, waited)) and not any(one.reason == "exit" for one in waited)
    if hung and not done.has("stall"):
        return hang.ask(known)
    return _stop(known)


def _unused_ray(known: Known) -> list[Node]:
    """Where this walk has found or started a Ray of ours, before serve.executor was changed at this gate."""
    starts = known.facts.get("starts", {}) if placed(known).idle else {}
    return [node for node in known.nodes if node.name in starts]


def _until_ready(known: Known, services: Sequence[Service], limit: float) -> Round:
    """The head's log until it is ready; those of the others until the head's is done or they end."""
    place, beside = placed(known), vllm.health(known)
    head = next(s for s in services if s.node == known.server)
    others = tuple(
        (s.node, place.follow(s, "mp-log", limit, vllm.broken, quiet=True))
        for s in services
        if s.node != known.server
    )
    work = ((head.node, place.follow(head, "mp-log", limit, vllm.over, beside, quiet=True)), *others)
    failed = lambda result: not vllm.ready(result) and result.reason != "cancelled"  # noqa: E731
    return Round(work, together=Together(failed, lead=known.server.name))


def _stop(known: Known) -> Round:
    stops = tuple((n, placed(known).stop(n, SERVE, grace=5)) for n in known.nodes)
    return Round(work=(*stops, *alive.looks(known)))


def _look(done: Results, node: Node) -> Look:
    result = done.get("look", node)
    return Look(result.text if result else "")


def _reads_on(known: Known, done: Results) -> bool:
    """Before the first look, and where some ranks wait for others that have not come to the meeting yet."""
    if not done.has("joined"):
        return True
    last = done.of("joined").values()
    waiting = [meeting.where(one.text) for one in last]
    going = all(one.reason in ("stopped", "cancelled") for one in last)
    broken = any(vllm.broken(line) for one in last for line in one.lines)
    return (
        any(waiting)
        and not all(waiting)
        and going
        and not broken
        and apart.looks(done, "joined") < apart.LOOKS
    )


def _has_joined(done: Results, node: Node) -> bool:
    result = done.get("joined", node)
    return result is not None and _joined_by(result)


def _joined_by(result: Result) -> bool:
    return result.reason == "stopped" and bool(_JOINED.search(result.text))


def _blocked(known: Known, done: Results) -> list[Check]:
    checks = []
    for node in known.nodes:
        result = done.get("look", node)
        if result is None or not result.ok:
            hint = "does its container run? go back to the containers" if placed(known).contained else ""
            checks.append(failure(result, node, hint))
        elif node.role == "head":
            taken = port_taken(known, result, known.cluster.serve.port, "serve.port")
            checks += [taken] if taken else []
    return checks + model.checks(known, done)


def judge(known: Known, done: Results) -> Verdict:
    problems = _blocked(known, done)
    if problems:
        return Verdict(False, "nothing was started", tuple(problems))
    services = ranks(known)
    if any(running.refused(known, done, s) for s in services):
        differs = [c for s in services if (c := running.check(known, done, s, "rank")) is not None]
        return Verdict(False, "vLLM runs with other values than the cluster file has", tuple(differs))
    launches = [failure(r, r.node) for r in done.of("launch").values() if not r.ok]
    if launches:
        return Verdict(False, "vllm serve could not be started", tuple(launches))
    log, it = done.get("mp-log", known.server), known.cluster.serve
    if vllm.ready(log):
        url = f"{base_url(known.cluster, known.ip(known.server))}/v1"
        checks = [_rank_check(known, done, node) for node in known.nodes]
        same = [running.check(known, done, s, "vLLM") for s in services] if not done.has("launch") else []
        found = [check for check in same if check is not None]
        checks += found or [Check("vLLM", True, "started", vllm.READY, known.server.name)]
        checks += [
            Check(
                "Ray",
                r.ok,
                "ended: without Ray nothing uses it" if r.ok else failure(r, r.node).found,
                node=name,
            )
            for name, r in done.of("ray").items()
        ]
        checks += [*rank_places.checks(known, done), *running.written(known, done, services)]
        if not all(check.ok for check in checks):
            return Verdict(False, "vLLM serves, but not every node takes part", tuple(checks))
        facts = {"url": url, **running.kept_by(done, services)}
        return Verdict(True, f"vLLM serves {it.name} at {url}, without Ray", tuple(checks), facts)
    if not done.has("mp-log") and (never := apart.without_ray(known, done)):
        return Verdict(False, apart.SUMMARY, tuple(never))
    hung = hang.of_start(known, done)
    culprit = next((check.node for check in hung if not check.ok and check.node), "")
    first = next((node for node in known.nodes if node.name == culprit), None) or _first(known, done)
    ordered = sorted(known.nodes, key=lambda node: node != first)
    checks = [
        *alive.dead(known, done),
        *hung,
        *(_rank_check(known, done, node, first) for node in ordered if node.name != culprit),
    ]
    how = "holds up the start" if culprit else "failed first"
    summary = f"vLLM did not become ready: {first.name} {how}" if first else "vLLM did not become ready"
    return Verdict(False, summary, tuple(checks))


def _first(known: Known, done: Results) -> Node | None:
    """Whose log ended first without what was waited for, or whom that one lost: a killed process says
    nothing, and its peer ends first. None where none ended before the limit, or only the line to it broke."""
    ends = [
        (result.ended, node)
        for node in known.nodes
        if (result := _last(done, node)) is not None and _failed(known, node, result)
    ]
    first = min(ends, key=lambda end: end[0], default=(0.0, None))[1]
    return first if first is None else _lost(known, done, first) or first


def _lost(known: Known, done: Results, node: Node) -> Node | None:
    """The other node whose process was gone when this one failed, by the word of Gloo."""
    result = _last(done, node)
    told = _PEER.search(vllm.first_error(result)) if result is not None else None
    if told is None or told[1] == known.ip(node):
        return None
    return next((other for other in known.nodes if known.ip(other) == told[1]), None)


def _last(done: Results, node: Node) -> Result | None:
    return done.get("mp-log", node) or done.get("joined", node)


def _failed(known: Known, node: Node, result: Result) -> bool:
    if result.reason not in ("exit", "stopped"):
        return False
    if result.key == "mp-log":
        return not vllm.ready(result)
    return not _joined_by(result) and not (result.reason == "stopped" and meeting.where(result.text))


def _rank_check(known: Known, done: Results, node: Node, first: Node | None = None) -> Check:
    share, rank = vllm.dealt(known).of(node), vllm.rank(known, node)
    inside = vllm.dealt(known).kind == "inside" and share is not None
    it = known.cluster.serve
    what = f"node rank {rank}"
    wanted = f"in a world of {it.world_size} ranks"
    if inside and share is not None:
        what = _numbers(share.first, share.count)
        wanted = f"started, of {it.data_parallel} replicas"
    result = _last(done, node)
    if result is None:
        return failure(result, node)
    waits = STALLED in result.text or not _failed(known, node, result)
    if node != first and _has_joined(done, node) and waits:
        also = " and waits; it was ended with the others" if first is not None else ""
        return Check(
            "rank", True, f"{what} {'has started' if inside else 'has joined'}{also}", wanted, node.name
        )
    return _why(known, result, node, what, wanted, first)


def _numbers(first: int, count: int) -> str:
    return f"replica {first}" if count == 1 else f"replicas {first} to {first + count - 1}"


def _why(known: Known, result: Result, node: Node, what: str, wanted: str, first: Node | None) -> Check:
    """The first to fail with its own first error; of the others, what they were doing."""
    error = vllm.first_error(result)
    found = f"first error: {error}" if error else failure(result, node).found
    if node == first:
        if result.reason == "cancelled":
            found = "a process of it ended: the other ranks lost their connection to it"
        elif STALLED in result.text:
            found = "a process of it does not answer, and its log is silent"
        elif result.key == "mp-log" and node != known.server and not error:
            last = result.lines[-1] if result.lines else ""
            found = f"its process ended after it had joined; last line: {last}"
        hint = f"this one failed first; its full log: {placed(known).log_of(node, SERVE)}"
        return Check("rank", False, f"{what}: {found}", wanted, node.name, hint)
    if first is not None:
        return Check("rank", False, f"{what}: ended after {first.name} had failed", wanted, node.name)
    hint = (
        "no rank has failed by itself, so they cannot reach each other: the port where they meet "
        f"({known.cluster.meeting_port}), then random ports; NCCL and Gloo interface"
    )
    return Check("rank", False, f"{what}: {found}", wanted, node.name, hint)
