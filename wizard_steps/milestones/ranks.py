"""vLLM without Ray: `vllm serve --nnodes N --node-rank R --master-addr HEAD` on every node, `--headless` on
all but the head. The ranks of all nodes have to come up together; the first that fails is named.
"""

from __future__ import annotations

import re

from wizard_steps.engine.step import Known
from wizard_steps.milestones import alive, model, rank_places, running, vllm
from wizard_steps.milestones.common import failure, placed
from wizard_steps.model import Check, Node, Result, Results, Round, Verdict
from wizard_steps.node.place import SERVE
from wizard_steps.node.remote import Look

#: Every rank prints this once all of them have met.
_JOINED = re.compile(r"rank \d+ in world size \d+")
#: Seconds for all ranks to meet. Weights are loaded later; only imports and the configuration come before.
JOIN_LIMIT = 300.0


def joined(line: str) -> bool:
    return bool(_JOINED.search(line)) or vllm.over(line)


def rounds(known: Known, done: Results) -> Round | None:
    """look, clear what is left of an incomplete set, launch all, wait until all met, then until ready."""
    place, limit = placed(known), float(known.cluster.serve.ready_timeout)
    services = [vllm.service(known, node) for node in known.nodes]
    if not done.has("look"):
        looks = tuple((s.node, place.look(s)) for s in services)
        return Round(work=(*looks, *model.work(known)))
    if _blocked(known, done) or done.has("stop"):
        return None
    if question := running.question(known, done, services):
        return Round(questions=(question,))
    if any(running.refused(known, done, s) for s in services):
        return None
    whole = all(running.keeps(known, done, s) for s in services)
    left = [node for node in known.nodes if _look(done, node).ours]
    if not whole and left and not done.has("clear"):
        return Round(work=tuple((n, place.stop(n, SERVE, key="clear", grace=5)) for n in left))
    if not whole and not done.has("launch"):
        return Round(work=tuple((s.node, place.launch(s)) for s in services))
    if any(not r.ok and r.reason != "dry" for r in done.of("launch").values()):
        return _stop(known)
    if not done.has("joined"):
        meet = min(JOIN_LIMIT, limit)
        return Round(work=tuple((s.node, place.follow(s, "joined", meet, joined)) for s in services))
    if not done.has("mp-log") and all(_has_joined(done, node) for node in known.nodes):
        head = vllm.service(known, known.head)
        return Round(work=((known.head, place.follow(head, "mp-log", limit, vllm.over, vllm.health(known))),))
    log = done.get("mp-log", known.head)
    if vllm.ready(log):
        return rank_places.rounds(known, done)
    return None if (log is not None and log.reason == "lost") else _stop(known)


def _stop(known: Known) -> Round:
    stops = tuple((n, placed(known).stop(n, SERVE, grace=5)) for n in known.nodes)
    return Round(work=(*stops, *alive.looks(known)))


def _look(done: Results, node: Node) -> Look:
    result = done.get("look", node)
    return Look(result.text if result else "")


def _has_joined(done: Results, node: Node) -> bool:
    result = done.get("joined", node)
    return result is not None and result.reason == "stopped" and bool(_JOINED.search(result.text))


def _blocked(known: Known, done: Results) -> list[Check]:
    checks = []
    for node in known.nodes:
        result = done.get("look", node)
        look = _look(done, node)
        if result is None or not result.ok:
            hint = "does its container run? go back to the containers" if placed(known).contained else ""
            checks.append(failure(result, node, hint))
        elif node.role == "head" and look.listening and not look.ours:
            found = f"port {known.cluster.serve.port} is taken by a process milepost did not start"
            checks.append(Check("port", False, found, "a free port", node.name, "end it, or edit serve.port"))
    return checks + model.checks(known, done)


def judge(known: Known, done: Results) -> Verdict:
    problems = _blocked(known, done)
    if problems:
        return Verdict(False, "nothing was started", tuple(problems))
    services = [vllm.service(known, node) for node in known.nodes]
    if any(running.refused(known, done, s) for s in services):
        differs = [c for s in services if (c := running.check(known, done, s, "rank")) is not None]
        return Verdict(False, "vLLM runs with other values than the cluster file has", tuple(differs))
    launches = [failure(r, r.node) for r in done.of("launch").values() if not r.ok]
    if launches:
        return Verdict(False, "vllm serve could not be started", tuple(launches))
    checks = [*alive.dead(known, done), *(_rank_check(known, done, node) for node in known.nodes)]
    log = done.get("mp-log", known.head)
    it = known.cluster.serve
    if vllm.ready(log):
        url = f"http://{known.head_ip}:{it.port}/v1"
        same = [running.check(known, done, s, "vLLM") for s in services] if not done.has("launch") else []
        found = [check for check in same if check is not None]
        checks += found or [Check("vLLM", True, "started", vllm.READY, known.head.name)]
        checks += rank_places.checks(known, done)
        if not all(check.ok for check in checks):
            return Verdict(False, "vLLM serves, but not every node has a part in it", tuple(checks))
        return Verdict(True, f"vLLM serves {it.name} at {url}, without Ray", tuple(checks), {"url": url})
    if log is not None:
        checks.append(_why(log, known.head, vllm.READY))
    return Verdict(False, "vLLM did not become ready", tuple(checks))


def _rank_check(known: Known, done: Results, node: Node) -> Check:
    wanted = f"in a world of {known.cluster.serve.world_size} ranks"
    if _has_joined(done, node):
        return Check("rank", True, f"node rank {vllm.rank(known, node)} has joined", wanted, node.name)
    check = _why(done.get("joined", node), node, wanted)
    return Check("rank", False, check.found, wanted, node.name, check.hint)


def _why(result: Result | None, node: Node, wanted: str) -> Check:
    if result is None:
        return failure(result, node)
    first = vllm.first_error(result)
    found = f"first error: {first}" if first else failure(result, node).found
    hint = (
        "a rank that only waits is not the cause: look at the node that has an error of its own; "
        "if none has, the ranks cannot reach each other (serve.master_port, NCCL and Gloo interface)"
    )
    return Check("vLLM", False, found, wanted, node.name, hint)
