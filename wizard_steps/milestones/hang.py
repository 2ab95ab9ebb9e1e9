"""Who hangs: the rank, its node and what the others wait for, from what all nodes said while it hung."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from msgspec.structs import replace

from wizard_steps.engine.step import Known
from wizard_steps.milestones import vllm
from wizard_steps.milestones.common import placed
from wizard_steps.model import Check, Results, Round
from wizard_steps.node import ras, stalls
from wizard_steps.node.lines import number, plain
from wizard_steps.node.ras import RasReport, Suspect
from wizard_steps.node.stalls import Stall

#: Ranks that are named.
_MOST = 4
_WANTED = "every rank takes part"
#: What is waited for when vLLM does not become ready.
START = "the start of vLLM"
#: What a worker says before it meets the others and once all have met, and the names before it:
#: ``(RayWorkerProc pid=7, ip=10.0.0.2)``.
_RANK = re.compile(
    r"^([^\n]{0,300})\b(?:rank (?P<met>\d{1,7}) in world size (?P<of>\d{1,7})"
    r"|world_size=(?P<size>\d{1,7}) rank=(?P<comes>\d{1,7}) local_rank=)",
    re.M,
)
#: What a worker is called under Ray and without it, and the most ranks of which one is told by what is left.
_WORKER, _RANKS = re.compile(r"ray::RayWorker|VLLM::Worker"), 4096
_WRITER = re.compile(r"\(\w{1,40} pid=(\d{1,10})(?:, ip=([\w.:]{1,64}))?\)")
#: What scripts/rank.py says as rank 0.
_ABSENT = re.compile(r"^rank 0: failed at .{1,40}: no sign of ranks? ([\d, ]{1,80})", re.M)


def checks(
    known: Known, said: Mapping[str, str], what: str, named: Mapping[tuple[str, int], str] | None = None
) -> list[Check]:
    """``said``: what each node printed; ``what`` the others wait for, such as "the all_reduce"; ``named``:
    the rank of a process, by node and pid, where its log has told it.

    Empty where no node was asked. The surest answer alone counts: a rank that NCCL does not reach, a process
    that is stopped, a rank that is behind in operations, then one in an earlier stage.
    """
    reports = {name: ras.report(text) for name, text in said.items()}
    ranks = {
        name: [_ranked(one, name, named or {}) for one in stalls.read(text)] for name, text in said.items()
    }
    if not any(ranks.values()) and not any(one.answered for one in reports.values()):
        return []
    for found in (
        _suspects(known, reports, ranks, what, sure=True),
        _stopped(ranks, what),
        _silent(ranks, what),
        _suspects(known, reports, ranks, what, sure=False),
        _earlier(ranks, what),
    ):
        if most := list(found)[:_MOST]:
            return most
    return _nobody(ranks, reports, what)


def _ranked(one: Stall, node: str, named: Mapping[tuple[str, int], str]) -> Stall:
    rank = named.get((node, one.pid), "")
    return replace(one, name=f"{rank} ({one.name})") if rank and rank != one.name else one


def absent(known: Known, said: Mapping[str, str], owners: Mapping[int, str], what: str) -> list[Check]:
    """Ranks that never came to where all of them meet, by the word of rank 0. ``owners``: node by rank."""
    told = next((row for text in said.values() if (row := _ABSENT.search(text))), None)
    ranks = [number(word) for word in told[1].replace(",", " ").split() if word.isdigit()] if told else []
    found = []
    stopped = {
        one.name: one for one in _stopped({name: stalls.read(text) for name, text in said.items()}, what)
    }
    for rank in [rank for rank in ranks if rank in owners][:_MOST]:
        node = owners[rank]
        if (known_cause := stopped.get(f"rank {rank}")) and known_cause.node == node:
            found.append(known_cause)
            continue
        own = re.search(rf"^rank {rank}: ((?:failed|no end|at) .{{1,300}})$", said.get(node, ""), re.M)
        why = f"; it says: {plain(own[1])}" if own else f"; {node} reported nothing"
        text = f"rank {rank} on {node} never came to rank 0 on {known.head.name}; {what} waits for it{why}"
        hint = f"is TCP open from {node} to {known.head_ip}, and is the node well (load, `sudo dmesg`)?"
        found.append(Check(f"rank {rank}", False, text, _WANTED, node, hint))
    return found


def ask(known: Known) -> Round:
    """All nodes with GPUs, while vLLM's processes still stand."""
    place = placed(known)
    nodes = [node for node in known.nodes if node.gpus]
    return Round(work=tuple((n, place.run(n, ras.processes(place.python, place.mine(n)))) for n in nodes))


def of_start(known: Known, done: Results) -> list[Check]:
    """Who hangs in a start of vLLM that came to no end, by what the nodes said when they were asked."""
    said = {name: result.text for name, result in done.of("stall").items()}
    said = said or {one.node.name: one.text for one in done.items if ras.STALLED in one.text}
    return checks(known, said, START, worker_ranks(known, done))


def worker_ranks(known: Known, done: Results) -> dict[tuple[str, int], str]:
    """The rank of each worker of vLLM by (node, pid), by the logs. Over Ray one log has all of them, but for
    lines that Ray leaves out as repeated: the one worker without a rank then has the one that is left."""
    said = list(_ranks(known, done))
    found = {worker: rank for worker, rank, _ in said}
    world = max((size for *_, size in said), default=0)
    workers = {
        (name, one.pid)
        for name, result in done.of("stall").items()
        for one in stalls.read(result.text)
        if _WORKER.match(one.name)
    }
    silent, left = workers - set(found), set(range(min(world, _RANKS))) - set(found.values())
    if len(workers) == world and len(silent) == len(left) == 1:
        found[silent.pop()] = left.pop()
    return {worker: f"rank {rank}" for worker, rank in found.items()}


def _ranks(known: Known, done: Results) -> Iterator[tuple[tuple[str, int], int, int]]:
    for key in vllm.LOGS:
        for name, result in done.of(key).items():
            yield from ranks_in(known, name, result.text)


def ranks_in(known: Known, name: str, log: str) -> Iterator[tuple[tuple[str, int], int, int]]:
    """The workers that a log of the node ``name`` tells of: (node, pid), rank and how many there are."""
    nodes = {known.ip(node): node.name for node in known.nodes}
    for said in _RANK.finditer(log):
        writers = _WRITER.findall(said[1])
        at = next((ip for _, ip in writers if ip), "")
        if writers:
            worker = (nodes.get(at, "") if at else name, number(writers[-1][0]))
            yield worker, number(said["met"] or said["comes"]), number(said["of"] or said["size"])


def _suspects(
    known: Known, reports: Mapping[str, RasReport], ranks: Mapping[str, list[Stall]], what: str, sure: bool
) -> Iterator[Check]:
    nodes = {known.ip(node): node.name for node in known.nodes}
    found = dict.fromkeys(one for report in reports.values() for one in report.suspects if one.sure is sure)
    numbered = any(one.rank >= 0 for one in found)
    told: set[tuple[int, int, str]] = set()
    for one in found:
        # Ranks of several communicators: the same process once.
        key = (one.pid, -1, one.address) if one.pid else (0, one.rank, one.address)
        if key in told or (one.rank < 0 and not one.pid and numbered):
            continue
        told.add(key)
        node = nodes.get(one.address, "")
        own = (stall for stall in ranks.get(node, ()) if stall.pid == one.pid and stall.gone)
        yield _named(one, node, next(own, None), what)


def _named(one: Suspect, node: str, own: Stall | None, what: str) -> Check:
    """``own``: what the node itself says of this process, where that is that it does not go on."""
    state = f" and {own.state}" if own else ""
    found = f"{one.words(node or one.address or 'an unknown node')}{state}; {what} waits for it"
    hint = "what does this process do instead? `py-spy dump --pid PID` on its node shows the line"
    if own:
        hint = _resume(own)
    elif one.sure:
        hint = (
            "is its node still there, and its network? `grep State /proc/PID/status` on it shows the process"
        )
    return Check(one.name, False, found, _WANTED, node, hint.replace("PID", str(one.pid or "PID")))


def _resume(one: Stall) -> str:
    if "stopped" in one.state:
        return f"who stopped it? `kill -CONT {one.pid}` resumes it"
    return "its own last lines say why; `sudo dmesg` shows whether the kernel killed it"


def _stopped(ranks: Mapping[str, list[Stall]], what: str) -> Iterator[Check]:
    for node, found in ranks.items():
        for one in found:
            if one.gone:
                text = f"{one.name} on {node}: process {one.pid} {one.state}; {what} waits for it"
                yield Check(one.name, False, text, _WANTED, node, _resume(one))


def _silent(ranks: Mapping[str, list[Stall]], what: str) -> Iterator[Check]:
    """A node that did not even say where its ranks are, while others did."""
    if not any(one.stage for found in ranks.values() for one in found):
        return
    for node, found in ranks.items():
        if not found:
            text = f"{node} reported nothing about its ranks; the other nodes wait for them in {what}"
            hint = "is the node itself healthy? log in, look at `sudo dmesg` and at the load"
            yield Check(f"ranks of {node}", False, text, _WANTED, node, hint)


def _earlier(ranks: Mapping[str, list[Stall]], what: str) -> Iterator[Check]:
    most = max((one.far for found in ranks.values() for one in found), default=0)
    for node, found in ranks.items():
        for one in found:
            if one.far < most:
                last = f" ({one.frame or one.last})" if one.frame or one.last else ""
                text = f"{one.name} on {node} is still at: {one.stage}{last}; the others wait in {what}"
                hint = "its node is the slow one: a slow disk or home, or a GPU that does not answer"
                yield Check(one.name, False, text, _WANTED, node, hint)


def _nobody(ranks: Mapping[str, list[Stall]], reports: Mapping[str, RasReport], what: str) -> list[Check]:
    """All ranks stand at the same place: it is the way between them."""
    count = sum(len(found) for found in ranks.values())
    answers = [report.said for report in reports.values() if report.answered]
    heard = f"; NCCL RAS says {answers[0]}" if answers else ""
    first = next((one for found in ranks.values() for one in found), None)
    at = f", at {first.frame}" if first is not None and first.frame else ""
    text = f"no rank is missing: all {count} wait in {what}{at}{heard}"
    hint = "so the path between the nodes is blocked: the MTU, a firewall, or the RDMA cards"
    if what == START:
        hint = "the last lines of its log, and `py-spy dump` on a process, say what they wait for"
    return [Check("ranks", True, text, _WANTED, hint=hint, warning=True)] if count else []
