"""After a request has failed on a server that was ready: its log, its processes and the network, at once.

The answer of vLLM has neither the cause nor the node: "EngineCore encountered an issue".
"""

from __future__ import annotations

from wizard_steps.engine.step import Known
from wizard_steps.milestones import alive, fabric_mesh, vllm
from wizard_steps.milestones.common import placed
from wizard_steps.milestones.replies import Reply
from wizard_steps.model import Check, Result, Results, Round, Work
from wizard_steps.node import mesh, remote
from wizard_steps.node.place import SERVE

LOG = "recent"
#: Lines of vLLM's log that are read: a dying engine writes a few hundred.
_LINES = 400
#: A high port, as NCCL and Gloo take them; the others are in use while the server runs.
_PORTS = (fabric_mesh.PORTS[-1],)


def engine_failed(chat: Result | None) -> bool:
    """Whether vLLM itself could not answer: an error of its own, or silence until the limit."""
    if chat is None:
        return False
    if not chat.ok:
        return "timed out" in chat.text or chat.reason == "timeout" or "Empty reply" in chat.text
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
    found = alive.dead(known, done)
    if any(mesh.ways(result) for result in done.of("mesh").values()):
        found += [check for check in fabric_mesh.checks(known, done) if not check.ok]
    for node in known.nodes:
        log = done.get(LOG, node)
        if log is not None and (first := vllm.first_error(log)):
            found.append(Check("vLLM", False, f"first error: {first}", "no error", node.name))
    return found
