"""Ranks of vLLM that all wait for each other and never meet: then it is the way between them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from wizard_steps.engine.step import Known
from wizard_steps.milestones import hang, vllm
from wizard_steps.model import Check, Node, Result, Results
from wizard_steps.node import meeting, stalls
from wizard_steps.node.lines import plain

#: Times that the logs are read where some ranks wait for those of a node that is slower to start; the last
#: time until all have met or the limit is over.
LOOKS = 8
SUMMARY = "the ranks of vLLM cannot reach each other"
#: Where a rank waits for the others (torch/distributed/rendezvous.py), as py-spy prints it.
_AT_THE_MEETING = re.compile(r"\(.{0,200}rendezvous\.py")
#: What a worker of vLLM is called under Ray.
_WORKER = "ray::RayWorker"


def over_or_waits(line: str) -> bool:
    """Whether a log need not be read on, for now."""
    return meeting.WAITS in line or vllm.over(line)


def waits(log: Result) -> bool:
    """Whether the last that a log says is that its ranks wait for others."""
    return log.reason == "stopped" and bool(meeting.where(log.text)) and not any(map(vllm.over, log.lines))


def looks(done: Results, key: str) -> int:
    """Times that logs were read until ranks waited."""
    names = [one.node.name for one in done.items if one.key == key]
    return max(map(names.count, names), default=0)


def without_ray(known: Known, done: Results) -> list[Check]:
    """By the log of each node, where all of them say so."""
    found = [(node, result) for node in known.nodes if (result := done.get("joined", node)) is not None]
    if len(found) < len(known.nodes) or not all(meeting.where(result.text) for _, result in found):
        return []
    return [
        _check(known, node, f"node rank {vllm.rank(known, node)}", meeting.where(result.text))
        for node, result in found
    ]


def over_ray(known: Known, done: Results) -> list[Check]:
    """By the one log that there is, and the stacks of the workers on all nodes, where all could be read."""
    log, said = done.get("log", known.server), done.of("stall")
    if log is None or not meeting.where(log.text) or not said:
        return []
    ranks = {name: stalls.read(result.text) for name, result in said.items()}
    workers = {name: [r for r in found if r.name.startswith(_WORKER)] for name, found in ranks.items()}
    each = [one for found in workers.values() for one in found]
    if len(each) < 2 or not all(_AT_THE_MEETING.search(one.frame) for one in each):
        return []
    return list(_by_node(known, workers, meeting.where(log.text), hang.worker_ranks(known, done)))


def _by_node(
    known: Known, workers: dict[str, list[stalls.Stall]], at: str, ranks: Mapping[tuple[str, int], str]
) -> Iterator[Check]:
    for node in known.nodes:
        if found := workers.get(node.name):
            of = {one.pid: ranks.get((node.name, one.pid), "") for one in found}
            pids = ", ".join(f"{pid}, {rank}" if rank else f"{pid}" for pid, rank in of.items())
            what = f"its worker (process {pids})" if len(found) == 1 else f"its workers (processes {pids})"
            yield _check(known, node, what, at)


def _check(known: Known, node: Node, who: str, at: str) -> Check:
    hint = (
        "is TCP open from every node to this address, and on random ports? Is it the right address of "
        f"{known.server.name} (`ip addr`), and do NCCL_SOCKET_IFNAME and GLOO_SOCKET_IFNAME fit it?"
    )
    verb = "wait" if who.startswith("its workers") else "waits"
    said = f"{who} {verb} for the others at {plain(at)}, as every rank does"
    return Check("rank", False, said, "all ranks meet", node.name, hint)
