"""`vllm serve` over the Ray cluster: on the head or, if that has no GPU, on the first node with GPUs.

vLLM waits up to 30 minutes for GPUs it will never get, saying so after 10 s: that first line is the end
here. A vLLM that waits ignores SIGINT and SIGTERM, so it is ended with SIGKILL.
"""

from __future__ import annotations

from wizard_steps.cluster.api import base_url
from wizard_steps.engine.step import Known
from wizard_steps.milestones import alive, apart, hang, model, rank_places, running, vllm
from wizard_steps.milestones.common import failure, placed, port_taken
from wizard_steps.milestones.vllm import NO_PLACE, READY
from wizard_steps.model import Check, Node, Result, Results, Round, Together, Verdict
from wizard_steps.node import ras
from wizard_steps.node.place import ALIVE, SERVE, Service
from wizard_steps.node.remote import Look


def services(known: Known) -> list[Service]:
    """vLLM on the node that serves, as it would be started."""
    return [vllm.service(known, known.server)]


def rounds(known: Known, done: Results) -> Round | None:
    head, place, service = known.server, placed(known), vllm.service(known, known.server)
    if not done.has("look"):
        return Round(work=((head, place.look(service)), *model.work(known)))
    if _blocked(known, done) or done.has("stop"):
        return None
    if question := running.question(known, done, services, [head]):
        return Round(questions=(question,))
    if running.refused(known, done, service):
        return None
    keep = running.keeps(known, done, service)
    if not keep and _look(done, head).there and not done.has("clear"):
        return Round(work=((head, place.stop(head, SERVE, key="clear", grace=5)),))
    if (clear := done.get("clear", head)) is not None and not clear.ok and clear.reason != "dry":
        return None
    if not keep and not done.has("launch"):
        return Round(work=((head, place.launch(service)),))
    started = done.get("launch", head)
    if started is not None and not started.ok and started.reason != "dry":
        return Round(work=alive.looks(known)) if place.contained and not done.has(ALIVE) else None
    log = done.get("log", head)
    if log is None or (apart.waits(log) and _goes_on(known, done)):
        return _until_ready(known, done)
    if vllm.ready(log):
        return rank_places.rounds(known, done)
    if log.reason in ("lost", "cancelled") and not _stopped(done):
        return None  # only the line to it broke; vLLM may be fine, and the next walk finds it
    if (vllm.hangs(log) or _stopped(done) or apart.waits(log)) and not _asked(done, log):
        return hang.ask(known)
    return Round(work=((head, place.stop(head, SERVE, grace=5)), *alive.looks(known)))


def _until_ready(known: Known, done: Results) -> Round:
    """The log of all ranks, which is on one node; beside it, the nodes that would not say there that a worker
    of theirs is stopped."""
    place, head, limit = placed(known), known.server, float(known.cluster.serve.ready_timeout)
    stop = vllm.over if apart.looks(done, "log") == apart.LOOKS - 1 else apart.over_or_waits
    service = vllm.service(known, head)
    follow = place.follow(service, "log", limit, stop, vllm.health(known), quiet=True)
    others = [node for node in known.nodes if node.gpus and node != head]
    beside = [(n, place.run(n, ras.unstopped(place.python, place.mine(n), limit))) for n in others]
    together = Together(lambda result: ras.STALLED in result.text, lead=head.name)
    return Round(work=((head, follow), *beside), together=together)


def _stopped(done: Results) -> bool:
    return any(ras.STALLED in one.text for one in done.of("stopped").values())


def _asked(done: Results, log: Result) -> bool:
    """Whether the nodes were asked who hangs, since this log was read."""
    return any(one.started >= log.ended for one in done.of("stall").values())


def _goes_on(known: Known, done: Results) -> bool:
    """Whether ranks wait for some that are only slow: the log is read on then."""
    log = done.get("log", known.server)
    return log is not None and _asked(done, log) and not apart.over_ray(known, done)


def judge(known: Known, done: Results) -> Verdict:
    head = known.server
    problems = _blocked(known, done)
    if problems:
        return Verdict(False, "nothing was started", tuple(problems))
    service = vllm.service(known, head)
    if running.refused(known, done, service) and (differs := running.check(known, done, service, "vLLM")):
        return Verdict(False, "vLLM runs with other values than the cluster file has", (differs,))
    if (clear := done.get("clear", head)) is not None and not clear.ok:
        return Verdict(False, "the vLLM that runs could not be ended", (failure(clear, head),))
    launch, log = done.get("launch", head), done.get("log", head)
    if launch is not None and not launch.ok:
        ends = (*alive.dead(known, done), failure(launch, head))
        return Verdict(False, "vllm serve could not be started", ends)
    if vllm.ready(log):
        url = f"{base_url(known.cluster, known.ip(known.server))}/v1"
        again = "restarted" if done.get("clear", head) else "started"
        check = running.check(known, done, service, "vLLM") or Check("vLLM", True, again, READY, head.name)
        found = [check, *rank_places.checks(known, done), *running.written(known, done, [service])]
        if not all(one.ok for one in found):
            return Verdict(False, "vLLM serves, but not every node takes part", tuple(found))
        facts = {"url": url, **running.kept_by(done, [service])}
        return Verdict(True, f"vLLM serves {known.cluster.serve.name} at {url}", tuple(found), facts)
    if never := apart.over_ray(known, done):
        return Verdict(False, apart.SUMMARY, (*alive.dead(known, done), *never))
    named = hang.of_start(known, done)
    told = _stopped(done) and not all(check.ok for check in named)
    why = [] if told else [_why(known, log)]
    checks = [*alive.dead(known, done), *named, *why, *_gone(done, head)]
    return Verdict(False, "vLLM did not become ready", tuple(checks))


def _look(done: Results, node: Node) -> Look:
    result = done.get("look", node)
    return Look(result.text if result else "")


def _blocked(known: Known, done: Results) -> list[Check]:
    head, serve = known.server, known.cluster.serve
    result = done.get("look", head)
    if result is None or not result.ok:
        return [failure(result, head)]
    taken = port_taken(known, result, serve.port, "serve.port")
    return [*([taken] if taken else []), *model.checks(known, done)]


def _why(known: Known, log: Result | None) -> Check:
    if log is None:
        return failure(log, known.server)
    serve = known.cluster.serve
    if log.reason == "lost":
        hint = "what was started keeps running without the wizard: retry, and its log is followed again"
        return Check("connection", False, failure(log, known.server).found, READY, known.server.name, hint)
    waiting = next((line for line in log.lines if NO_PLACE in line), None)
    if waiting is not None:
        return Check(
            "placement",
            False,
            f"Ray cannot place the workers: {waiting.strip()[:300]}",
            _free_gpus(known, waiting),
            known.server.name,
            "lower TP or PP, or free GPUs that another job holds (ray status shows them)",
        )
    first = vllm.first_error(log)
    limit = f"not ready within {serve.ready_timeout} s; " if log.reason == "timeout" else ""
    found = f"{limit}first error: {first}" if first else f"{limit}{failure(log, known.server).found}"
    return Check("vLLM", False, found, READY, known.server.name, "the first error is the cause, not the last")


def _free_gpus(known: Known, waiting: str) -> str:
    """What vLLM asked Ray for: read from its own line, for extra flags can change TP and PP."""
    serve = known.cluster.serve
    asked = waiting.count("'GPU':") or serve.world_size
    if asked == serve.world_size:
        if serve.data_parallel > 1:
            return f"{serve.split} = {serve.total_ranks} free GPUs"
        return f"TP x PP = {serve.tensor_parallel} x {serve.pipeline_parallel} = {asked} free GPUs"
    return f"{asked} free GPUs; the cluster has {known.cluster.total_gpus}"


def _gone(done: Results, node: Node) -> list[Check]:
    stop = done.get("stop", node)
    if stop is None or stop.ok:
        return []
    return [
        Check("cleaned up", False, stop.lines[-1] if stop.lines else stop.reason, "vLLM ended", node.name)
    ]
