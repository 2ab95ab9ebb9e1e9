"""vLLM without Ray: `vllm serve --nnodes N --node-rank R --master-addr HEAD` on every node, `--headless` on
all but the head. The ranks of all nodes have to come up together; the first that fails is named.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from wizard_steps.engine.step import Known
from wizard_steps.milestones import raystart, serve
from wizard_steps.milestones.common import failure
from wizard_steps.model import Check, Cmd, Node, Result, Results, Round, Verdict, Work
from wizard_steps.node import remote
from wizard_steps.node.remote import Look

#: Every rank prints this once all of them have met.
_JOINED = re.compile(r"rank \d+ in world size \d+")
#: Seconds for all ranks to meet. Weights are loaded later; only imports and the configuration come before.
JOIN_LIMIT = 300.0


def joined(line: str) -> bool:
    return bool(_JOINED.search(line)) or serve.over(line)


def argv(known: Known, node: Node) -> list[str]:
    """One command for every node; only the rank and the front door differ."""
    cluster, it = known.cluster, known.cluster.serve
    words = [
        cluster.program("vllm"),
        "serve",
        it.model,
        f"--tensor-parallel-size={it.tensor_parallel}",
        f"--pipeline-parallel-size={it.pipeline_parallel}",
        "--distributed-executor-backend=mp",
        f"--nnodes={len(known.nodes)}",
        f"--node-rank={_rank(known, node)}",
        f"--master-addr={known.head_ip}",
        f"--master-port={cluster.docker.master_port}",
    ]
    if node.role == "head":
        words += [f"--host={it.host}", f"--port={it.port}"]
    else:
        words.append("--headless")
    if it.served_model_name:
        words.append(f"--served-model-name={it.served_model_name}")
    return [*words, *it.extra_flags]


def _rank(known: Known, node: Node) -> int:
    return 0 if node.role == "head" else 1 + known.workers.index(node)


def rounds(known: Known, done: Results) -> Round | None:
    """look, clear what is left of an incomplete set, launch all, wait until all met, then until ready."""
    cluster, role = known.cluster, serve.ROLE
    if not done.has("look"):
        return _all(known, lambda node: remote.look(cluster, node, role, _port(known, node)))
    if _blocked(known, done) or done.has("stop"):
        return None
    whole = all(_look(done, node).leader for node in known.nodes)
    left = [node for node in known.nodes if _look(done, node).ours]
    if not whole and left and not done.has("clear"):
        return Round(work=tuple((n, remote.stop(cluster, n, role, key="clear", grace=5)) for n in left))
    if not whole and not done.has("launch"):
        env = {node.name: raystart.environment(known, node) for node in known.nodes}
        return _all(known, lambda n: remote.launch(cluster, n, role, argv(known, n), env[n.name]))
    if any(not r.ok and r.reason != "dry" for r in done.of("launch").values()):
        return _stop(known)
    if not done.has("joined"):
        limit = min(JOIN_LIMIT, float(cluster.serve.ready_timeout))
        return _all(known, lambda node: remote.follow(cluster, role, "joined", limit, joined))
    if not done.has("mp-log") and all(_has_joined(done, node) for node in known.nodes):
        limit = float(cluster.serve.ready_timeout)
        return Round(work=((known.head, remote.follow(cluster, role, "mp-log", limit, serve.over)),))
    log = done.get("mp-log", known.head)
    return None if _ready(log) or (log is not None and log.reason == "lost") else _stop(known)


def _all(known: Known, make: Callable[[Node], Cmd]) -> Round:
    return Round(work=tuple((node, make(node)) for node in known.nodes))


def _stop(known: Known) -> Round:
    work: list[Work] = [(n, remote.stop(known.cluster, n, serve.ROLE, grace=5)) for n in known.nodes]
    return Round(work=tuple(work))


def _port(known: Known, node: Node) -> int:
    return known.cluster.serve.port if node.role == "head" else known.cluster.docker.master_port


def _look(done: Results, node: Node) -> Look:
    result = done.get("look", node)
    return Look(result.text if result else "")


def _has_joined(done: Results, node: Node) -> bool:
    result = done.get("joined", node)
    return result is not None and result.reason == "stopped" and bool(_JOINED.search(result.text))


def _ready(log: Result | None) -> bool:
    return log is not None and log.reason == "stopped" and serve.READY in log.text


def _blocked(known: Known, done: Results) -> list[Check]:
    checks = []
    for node in known.nodes:
        result = done.get("look", node)
        look = _look(done, node)
        if result is None or not result.ok:
            hint = "does its container run? go back to the containers"
            checks.append(failure(result, node, hint))
        elif node.role == "head" and look.listening and not look.ours:
            found = f"port {known.cluster.serve.port} is taken by a process milepost did not start"
            checks.append(Check("port", False, found, "a free port", node.name, "end it, or edit serve.port"))
    return checks


def judge(known: Known, done: Results) -> Verdict:
    problems = _blocked(known, done)
    if problems:
        return Verdict(False, "nothing was started", tuple(problems))
    launches = [failure(r, r.node) for r in done.of("launch").values() if not r.ok]
    if launches:
        return Verdict(False, "vllm serve could not be started", tuple(launches))
    checks = [_rank_check(known, done, node) for node in known.nodes]
    log = done.get("mp-log", known.head)
    it = known.cluster.serve
    if _ready(log):
        url = f"http://{known.head_ip}:{it.port}/v1"
        again = all(_look(done, node).leader for node in known.nodes)
        found = "already running, and ours" if again else "started"
        checks.append(Check("vLLM", True, found, serve.READY, known.head.name))
        return Verdict(True, f"vLLM serves {it.name} at {url}, without Ray", tuple(checks), {"url": url})
    if log is not None:
        checks.append(_why(log, known.head, serve.READY))
    return Verdict(False, "vLLM did not become ready", tuple(checks))


def _rank_check(known: Known, done: Results, node: Node) -> Check:
    wanted = f"in a world of {known.cluster.serve.world_size} ranks"
    if _has_joined(done, node):
        return Check("rank", True, f"node rank {_rank(known, node)} has joined", wanted, node.name)
    check = _why(done.get("joined", node), node, wanted)
    return Check("rank", False, check.found, wanted, node.name, check.hint)


def _why(result: Result | None, node: Node, wanted: str) -> Check:
    if result is None:
        return failure(result, node)
    first = serve.first_error(result)
    found = f"first error: {first}" if first else failure(result, node).found
    hint = (
        "a rank that only waits is not the cause: look at the node that has an error of its own; "
        "if none has, the ranks cannot reach each other (docker.master_port, NCCL and Gloo interface)"
    )
    return Check("vLLM", False, found, wanted, node.name, hint)
