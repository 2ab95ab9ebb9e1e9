"""After a request has failed on a server that was ready: its log, its processes and the network, at once.

The answer of vLLM has neither the cause nor the node: "EngineCore encountered an issue".
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from wizard_steps.engine.step import Known
from wizard_steps.milestones import alive, fabric_mesh, hang, vllm
from wizard_steps.milestones.common import placed
from wizard_steps.milestones.replies import Reply
from wizard_steps.model import Check, Node, Result, Results, Round, Work
from wizard_steps.node import mesh, remote
from wizard_steps.node.place import SERVE

LOG = "recent"
#: Lines of vLLM's log that are read: a dying engine writes a few hundred.
_LINES = 400
#: A high port, as NCCL and Gloo take them; the others are in use while the server runs.
_PORTS = (fabric_mesh.PORTS[-1],)


#: vLLM over Ray, of workers that are gone (v1/executor/ray_executor_v2.py).
_DIED = re.compile(r"RayWorkerProc rank=\[([\d, ]{1,400})\] died unexpectedly")
#: curl's exit codes for a server that is gone or goes away: refused, silent, closed, reset.
_GONE = (7, 28, 52, 56)
#: What the engine's own process says before it ends by an error.
_CORE_SAID = re.compile(r"^\(EngineCore[^)\n]{0,60}\) ERROR ", re.MULTILINE)
_WITHOUT_WORDS = (
    "its process is gone, without an error of its own: it was killed, or crashed in compiled code"
)
_KERNEL = "was it the kernel, for memory? `sudo dmesg -T | grep -i 'killed process'` there"
_HINT = (
    "go back to serve and retry: milepost starts it again. A process that is killed (`kill -9`, or by the "
    "kernel for memory: `sudo dmesg`) writes no last line"
)


def engine_failed(chat: Result | None) -> bool:
    """Whether vLLM itself could not answer: an error of its own, nobody there, or silence until the limit."""
    if chat is None:
        return False
    if not chat.ok:
        return chat.reason == "timeout" or (chat.reason == "exit" and chat.code in _GONE)
    reply = Reply(chat.text)
    return reply.status == 500 and not reply.html and not reply.proxy


def looks(known: Known) -> Round:
    place = placed(known)
    work: list[Work] = [
        (node, place.run(node, remote.recent(known.cluster, node, SERVE, LOG, _LINES)))
        for node in place.serving(known.nodes, known.server)
    ]
    if len(known.nodes) > 1:
        work += fabric_mesh.work(known, _PORTS)
    return Round(work=(*work, *alive.looks(known)))


def checks(known: Known, done: Results) -> list[Check]:
    """Empty where nobody looked, and where nothing was found."""
    if not done.of(LOG):
        return []
    cut = []
    if any(mesh.ways(result) for result in done.of("mesh").values()):
        cut = [check for check in fabric_mesh.checks(known, done) if not check.ok]
    found = [*alive.dead(known, done), *cut]
    for node in known.nodes:
        found += _of_log(done.get(LOG, node), node)
    log = done.get(LOG, known.server)
    # Ray takes a node that it cannot reach for one whose workers have died.
    return found if cut or log is None or not log.ok else [*found, *_ranks_that_died(known, log)]


def _ranks_that_died(known: Known, log: Result) -> Iterator[Check]:
    """The executor names ranks whose process ended without an error; where each ran, its own lines tell."""
    at = {rank: node for (node, _), rank, _ in hang.ranks_in(known, known.server.name, log.text)}
    for rank in dict.fromkeys(map(int, re.findall(r"\d{1,7}", " ".join(_DIED.findall(log.text))))):
        yield Check(f"rank {rank}", False, _WITHOUT_WORDS, "running", at.get(rank, ""), _KERNEL)


def _of_log(log: Result | None, node: Node) -> list[Check]:
    """Whether vLLM's process is gone, and the first error it wrote."""
    if log is None or not log.ok:
        return []  # no log on this node, or no container to read it in
    first = vllm.first_error(log)
    said, hint = f"first error: {first}" if first else "", ""
    if "EngineDeadError" in first and not _CORE_SAID.search(log.text):
        said, hint = f"EngineCore: {_WITHOUT_WORDS}", _KERNEL
    if remote.ENDED in log.lines[:1]:
        last = next((line.strip() for line in reversed(log.lines[1:]) if line.strip()), "no output")
        said = f"vllm serve has ended; {said or f'its last line: {last[:300]}'}"
        return [Check("vLLM", False, said, "running", node.name, _HINT)]
    return [Check("vLLM", False, said, "no error", node.name, hint)] if said else []
