"""perftest between pairs of nodes and nccl-tests inside each node, where they are installed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from wizard_steps.engine.step import Known
from wizard_steps.milestones import raystart
from wizard_steps.milestones.common import placed
from wizard_steps.milestones.fabric_facts import Links, pairs_of, rate_of
from wizard_steps.model import Check, Cmd, Node, Results, Round, Work
from wizard_steps.node import perftest
from wizard_steps.node.perftest import PerftestPort

Pair = tuple[int, int]
Found = Mapping[str, Links]


def waves(count: int) -> list[list[Pair]]:
    """Pairs of places in (head, workers...) that do not share a node; the odd one out then with the head."""
    first = [(place, place + 1) for place in range(0, count - 1, 2)]
    return [first, [(0, count - 1)]] if count % 2 and count > 1 else [first]


def rounds(known: Known, done: Results, found: Found) -> Round | None:
    """nccl-tests, then each wave; None where nothing is left or nothing is installed."""
    nodes = (known.head, *known.workers)
    if not done.has("nccltests") and (inside := list(_inside(known, found))):
        return Round(work=tuple(inside))
    for wave in waves(len(nodes)):
        if any(done.has(_key(pair)) for pair in wave):
            continue
        if work := [one for a, b in wave for one in _pair(known, found, (a, b))]:
            return Round(work=tuple(work))
    return None


def _key(pair: Pair) -> str:
    return f"perf-{pair[0]}-{pair[1]}"


def _inside(known: Known, found: Found) -> Iterator[Work]:
    for node in known.nodes:
        here = found.get(node.name)
        path = here.tools.get("all_reduce_perf", "") if here is not None else ""
        if path and node.gpus > 1:
            cmd = perftest.inside(path, node.gpus, raystart.environment(known, node))
            yield node, placed(known).trial(node, cmd)


def _pair(known: Known, found: Found, pair: Pair) -> Iterator[Work]:
    nodes = (known.head, *known.workers)
    a, b = nodes[pair[0]], nodes[pair[1]]
    left, right = found.get(a.name), found.get(b.name)
    if left is None or right is None or known.cluster.simulated:
        return
    if not all("ib_write_bw" in one.tools and one.verbs for one in (left, right)):
        return
    latency = all("ib_send_lat" in one.tools for one in (left, right))
    rails = list(pairs_of(left, right))
    if not rails:
        return
    mine = [PerftestPort(port.device, left.gid(port.device)) for port, _ in rails]
    its = [PerftestPort(port.device, right.gid(port.device)) for _, port in rails]
    server: Cmd = perftest.command(_key(pair), mine, latency)
    client: Cmd = perftest.command(_key(pair), its, latency, known.ip(a))
    yield a, placed(known).trial(a, server)
    yield b, placed(known).trial(b, client)


def checks(known: Known, done: Results, found: Found) -> Iterator[Check]:
    """What the tools measured; a tool that did not run is said and shuts nothing."""
    nodes = (known.head, *known.workers)
    for pair in (pair for wave in waves(len(nodes)) for pair in wave):
        result = done.get(_key(pair), nodes[pair[1]])
        if result is not None and result.reason != "dry":
            yield _between(known, nodes[pair[0]], nodes[pair[1]], result.text, found)
    for node in known.nodes:
        result = done.get("nccltests", node)
        if result is not None and result.reason != "dry":
            yield _within(node, result.text, found)


def _between(known: Known, a: Node, b: Node, text: str, found: Found) -> Check:
    name, limits = f"RDMA {a.name} - {b.name}", known.cluster.fabric
    rates = {port.device: rate_of(port) for port in found[b.name].rdma} if b.name in found else {}
    rows = [(rate, rates.get(rate.device, 0.0)) for rate in perftest.read(text)]
    missing = [rate for rate, _ in rows if not rate.gbit]
    if not rows or missing:
        why = next((rate.problem for rate in missing if rate.problem), "no result")
        hint = (
            "run ib_write_bw by hand between these two: TCP works, their RDMA cards may not reach each other"
        )
        if re.search(r"(?i)detect device|find the Infiniband", why):
            hint = "perftest finds no device: is rdma-core there, with the card's provider (`ibv_devices`)?"
        said = f"ib_write_bw did not run: {why}"
        return Check(name, True, said, "a bandwidth", b.name, hint, warning=True)
    said = "; ".join(
        f"{rate.device}: ib_write_bw {rate.gbit:.1f} of {most:g} Gbit/s"
        + (f" ({rate.gbit / most:.2f})" if most else "")
        + (f", ib_send_lat {rate.usec:.2f} us" if rate.usec else "")
        for rate, most in rows
    )
    share = min((rate.gbit / most for rate, most in rows if most), default=1.0)
    if share >= limits.warn_below:
        return Check(name, True, said, node=b.name)
    hint = "the card, its PCIe slot (`lspci -vv`, LnkSta), the cable or the switch: NCCL is not involved"
    accepted = share >= limits.fail_below or "slow" in limits.accept
    wanted = f"at least {limits.warn_below:g} of the link's rate"
    return Check(name, accepted, said, wanted, b.name, hint, warning=accepted)


def _within(node: Node, text: str, found: Found) -> Check:
    name, one = "nccl-tests", perftest.read_inside(text)
    if one.problem:
        return Check(name, True, f"all_reduce_perf did not run: {one.problem}", "", node.name, warning=True)
    if one.wrong:
        hint = "a GPU, NVLink or PCIe corrupts data: `nvidia-smi nvlink -e`, `sudo dmesg | grep -i xid`"
        return Check(name, False, f"{one.wrong} wrong values", "the right sum", node.name, hint)
    most = found[node.name].nvlink if node.name in found else 0.0
    beside = f" of {most:.2f} GB/s (NVLink, one direction): {one.gbytes / most:.2f}" if most else ""
    said = f"all_reduce_perf over {node.gpus} GPUs: bus bandwidth {one.gbytes:.2f} GB/s{beside}"
    return Check(name, True, said, node=node.name)
