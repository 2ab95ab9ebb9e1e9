"""ray_status: the cluster is whole: every node once, every GPU, and it stays so for a while.

A raylet that was killed is missed by Ray only after about 20 s, so a first good answer proves little.
`ray status` shows hashes; `ray list nodes` gives the addresses that tell one node from two.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from wizard_steps.engine.step import Bundled, Known
from wizard_steps.milestones.common import Placed, failure, placed
from wizard_steps.milestones.ray_totals import Totals, nodes_of
from wizard_steps.model import Check, Cmd, Node, Result, Results, Round, Verdict, counted
from wizard_steps.node.lines import plain
from wizard_steps.node.place import ALIVE, RAY, Service
from wizard_steps.node.remote import Look
from wizard_steps.node.spec import flags

#: How long the totals may take to become right, beside the settle time. They lag a join by about 5 s.
PATIENCE = 60.0


def status_command(known: Known) -> Cmd:
    cluster = known.cluster
    address = f"{known.head_ip}:{cluster.ray.port}"
    ray = shlex.quote(placed(known).program("ray"))
    nodes, gpus = len(known.nodes), cluster.total_gpus

    def whole(result: Result) -> bool:
        return result.ok and Totals(result.text).right(nodes, gpus)

    status = Cmd(
        key="status",
        text=f"{ray} status --address={shlex.quote(address)}",
        until=whole,
        every=3.0,
        settle=float(cluster.ray.settle),
        timeout=PATIENCE + cluster.ray.settle,
        show=f"ray status --address={address}",
    )
    return placed(known).run(known.head, status)


def list_command(known: Known, whole: bool = True) -> Cmd:
    """The nodes by address. When the totals are wrong already, the first answer will do."""
    cluster = known.cluster
    ray = shlex.quote(placed(known).program("ray"))
    host = (
        "127.0.0.1" if cluster.ray.dashboard_host in ("127.0.0.1", "0.0.0.0", "localhost") else known.head_ip
    )
    address = f"http://{host}:{cluster.ray.dashboard_port}"
    wanted = len(known.nodes)
    listed = Cmd(
        key="nodes",
        text=f"{ray} list nodes --limit=10000 --format=json --address={shlex.quote(address)}",
        until=(lambda result: result.ok and len(nodes_of(result.text)) >= wanted) if whole else None,
        every=2.0,
        timeout=30.0,
        quiet=True,
        show="ray list nodes --format=json",
    )
    return placed(known).run(known.head, listed)


def alive_command(known: Known, node: Node) -> Cmd:
    """Asks the node itself. Ray believes in a host that fell silent for a minute or more (its health checks
    have to time out), so a settle time shorter than that does not see it."""
    return placed(known).look(Service(node, RAY, known.cluster.ray.port), key=ALIVE)


class RayStatus(Placed):
    id = "ray_status"
    only_ray = ("bare-metal", "docker")
    title = "ray status matches reality"
    short = "ray status"
    keys = ("status",)
    owns = (r"ray\.settle",)
    bundled = (Bundled(("status",), "ray-status.txt", "the last `ray status` of the walk"),)
    formerly = (("docker_ray_status", {}),)

    def rounds(self, known: Known, done: Results) -> Round | None:
        if placed(known).without_ray:
            return None
        if not done.has("status"):
            return Round(work=((known.head, status_command(known)),))
        if not done.has("nodes"):
            status = done.get("status", known.head)
            whole = status is not None and Totals(status.text).nodes >= len(known.nodes)
            return Round(work=((known.head, list_command(known, whole)),))
        if not done.has(ALIVE):
            return Round(work=tuple((node, alive_command(known, node)) for node in known.nodes))
        return None

    def judge(self, known: Known, done: Results) -> Verdict:
        if placed(known).without_ray:
            return Verdict(True, "no Ray on this path: vLLM's ranks find each other in the next step")
        status = done.get("status", known.head)
        if status is None or (not status.ok and "node_" not in status.text):
            checks = [failure(status, known.head, "is the head still running? go back to head")]
            return Verdict(False, "Ray gives no status", tuple(checks))
        totals = Totals(status.text)
        checks = [*_totals(known, totals, status), *_addresses(known, done), *_alive(known, done)]
        checks += _in_use(known, totals)
        ok = all(check.ok for check in checks)
        settle = known.cluster.ray.settle
        gpus = f"{totals.gpus:g} GPU{'' if totals.gpus == 1 else 's'}"
        good = f"{counted(totals.nodes, 'node')}, {gpus}, stable for {settle} s"
        return Verdict(ok, good if ok else _differs(checks), tuple(checks))


def _differs(checks: Sequence[Check]) -> str:
    """The first node that is not right, where one is known: a total does not say where."""
    where = next((check for check in checks if not check.ok and check.node), None)
    if where is None:
        return "the cluster differs from the cluster file"
    return f"{where.node} differs from the cluster file: {where.name}: {where.found}"


def _totals(known: Known, totals: Totals, status: Result) -> list[Check]:
    wanted, gpus = len(known.nodes), known.cluster.total_gpus
    hiders = "CUDA_VISIBLE_DEVICES or --num-gpus"
    hiders = f"docker.gpu_flags, {hiders}" if placed(known).contained else hiders
    checks = [
        Check(
            "nodes",
            totals.nodes == wanted,
            str(totals.nodes),
            str(wanted),
            hint="too many: a worker was started twice; too few: see below which address is missing",
        )
    ]
    if gpus:
        checks.append(
            Check(
                "GPUs",
                totals.gpus == gpus,
                f"{totals.gpus:g}",
                str(gpus),
                hint=f"compare with nvidia-smi on each node; {hiders} may hide some",
            )
        )
    return [*checks, _stable(known, status, totals.right(wanted, gpus))]


def _stable(known: Known, status: Result, right: bool) -> Check:
    """``right``: whether the totals are, at the end."""
    settle = known.cluster.ray.settle
    long_enough = status.ended - status.started >= settle
    held = right and long_enough and status.reason in ("exit", "stopped")
    found = "held" if held else "did not hold" if right else "did not hold: the totals are not right now"
    hint = f"a node joined or left meanwhile: {_node_log(known)}; retry when it is back"
    wanted = f"unchanged for {settle} s"
    return Check("stable", held, found, wanted, hint=hint if right and not held else "")


def _node_log(known: Known) -> str:
    """Where the log of any worker is, by the first of them."""
    node = next(iter(known.workers), known.head)
    return f"read its log ({placed(known).log_of(node, RAY)} on {node.name})"


def _in_use(known: Known, totals: Totals) -> list[Check]:
    """GPUs that vLLM will not get, and others who wait for some. Only a warning: it may be our own vLLM."""
    checks = []
    if totals.used and not known.facts.get("serving"):
        found = f"{totals.used:g} of {totals.gpus:g} GPUs are in use"
        needs = f"{known.cluster.serve.total_ranks} free GPUs"
        hint = (
            "unless this cluster's own vLLM runs already, another job of this Ray holds them: "
            f"{placed(known).typed(known.head, 'ray list actors')} on the head"
        )
        checks.append(Check("free GPUs", True, found, needs, hint=hint, warning=True))
    if totals.waiting:
        listed = placed(known).typed(known.head, "ray list placement-groups")
        hint = f"a job that waits may take the GPUs before vLLM does: {listed} on the head"
        found = plain("; ".join(totals.waiting[:3]))
        checks.append(Check("waiting jobs", True, found, "none", hint=hint, warning=True))
    return checks


def _addresses(known: Known, done: Results) -> list[Check]:
    result = done.get("nodes", known.head)
    alive = nodes_of(result.text) if result else []
    if not alive:
        return [
            failure(result, known.head, "`ray list nodes` needs the dashboard: is ray[default] installed?")
        ]
    ips = [plain(str(node.get("node_ip"))[:64]) for node in alive]
    checks = []
    for node in known.nodes:
        ip = known.ip(node)
        count = ips.count(ip)
        hint = {
            0: f"nothing joined with this address: on {node.name}, read {placed(known).log_of(node, RAY)}",
            1: "",
        }.get(count, "Ray was started more than once on this machine, its GPUs count double: end one")
        checks.append(Check("address", count == 1, f"{ip} {count}x", f"{ip} once", node.name, hint))
    checks += _gpus_of(known, done, dict(zip(ips, alive, strict=True)), ips)
    strangers = sorted(set(ips) - {known.ip(node) for node in known.nodes})
    if strangers:
        found = f"unknown nodes {', '.join(strangers)}"
        hint = (
            "they are not in the cluster file: an old worker, one that uses another interface, or a node "
            "that was taken out of the file: put it back, and `milepost remove-node` ends its Ray first"
        )
        checks.append(Check("strangers", False, found, "none", hint=hint))
    return checks


def _gpus_of(
    known: Known, done: Results, listed: Mapping[str, Mapping[str, Any]], ips: Sequence[str]
) -> Iterator[Check]:
    """The nodes that brought more or fewer GPUs than the cluster file says; a total does not say where."""
    for node in known.nodes:
        ip = known.ip(node)
        total = listed.get(ip, {}).get("resources_total")
        count = total.get("GPU", 0) if isinstance(total, dict) else None
        if ips.count(ip) != 1 or not isinstance(count, int | float) or count == node.gpus:
            continue
        hint = (
            f"on {node.name}: what do CUDA_VISIBLE_DEVICES, --num-gpus and nvidia-smi say? End its Ray, mend "
            "that, and milepost starts it again"
        )
        found = f"Ray counts {count:g} on this node{_hidden_by(done, node, count)}"
        yield Check("GPUs", False, found, str(node.gpus), node.name, hint)


def _hidden_by(done: Results, node: Node, count: float) -> str:
    """What in its start made Ray count so many; nothing where that is not known."""
    result = done.get(ALIVE, node)
    started = Look(result.text).spec if result is not None and result.ok else None
    if started is None:
        return ""
    if flags(started.argv).get("--num-gpus") == f"{count:g}":
        return f": it was started with --num-gpus={count:g}"
    seen = started.env.get("CUDA_VISIBLE_DEVICES")
    return f": it was started with CUDA_VISIBLE_DEVICES={plain(seen[:64])}" if seen is not None else ""


def _alive(known: Known, done: Results) -> list[Check]:
    checks = []
    for node in known.nodes:
        result = done.get(ALIVE, node)
        if result is None:
            continue
        if not result.ok:
            found = failure(result, node).found
            hint = "the machine is off or unreachable; Ray notices a silent host only after a minute or more"
            checks.append(Check("answers", False, found, "an answer from the node itself", node.name, hint))
        elif not Look(result.text).leader:
            log = placed(known).last_log(node, result.text)
            hint = f"its log there: {log}. Go back, and milepost starts it again"
            found = placed(known).gone(node, result.text)
            checks.append(Check("own Ray", False, found, "running", node.name, hint))
    return checks
