"""fabric: prove the way between the nodes before Ray needs it: TCP, then a real all_reduce."""

from __future__ import annotations

from collections.abc import Mapping

from wizard_steps.engine.step import Known
from wizard_steps.milestones import (
    fabric_facts,
    fabric_inside,
    fabric_links,
    fabric_mesh,
    fabric_pairs,
    fabric_rdma,
    fabric_tools,
    fabric_transport,
    hang,
    raystart,
)
from wizard_steps.milestones.common import Placed, everywhere, placed
from wizard_steps.model import Check, Cmd, Node, Results, Round, Verdict, Work
from wizard_steps.node import collective
from wizard_steps.node.lines import fields
from wizard_steps.node.place import RAY, SERVE, Service
from wizard_steps.node.remote import Look
from wizard_steps.node.spec import Spec, stale


class FabricStep(Placed):
    id = "fabric"
    bare: Mapping[str, str] = {
        "torch": "torch: planned\ncuda: 1\ngpus: 1",
        "mesh": "planned -> planned planned:1 open, 0 ms",
    }
    title = "Prove the GPU network"
    short = "GPU network"
    keys = ("mesh", "allreduce", "inside", "pair-*", "perf-*", "nccltests")
    formerly = (("docker_fabric", {}),)

    def rounds(self, known: Known, done: Results) -> Round | None:
        place = placed(known)
        if not done.has("look"):
            # Without Ray on hosts it is vLLM itself that may hold GPUs and network.
            role, port = (SERVE, known.cluster.master_port) if place.idle else (RAY, known.cluster.ray.port)
            looks = everywhere(known.nodes, lambda n: place.look(Service(n, role, port)))
            torch = collective.look(place.python, place.kind)
            trials = everywhere(known.nodes, lambda n: place.trial(n, torch)).work
            ways = everywhere(known.nodes, lambda n: place.trial(n, fabric_facts.LINKS)).work
            return Round(work=looks.work + trials + ways)
        if _all_run(known, done):
            return None
        if len(known.nodes) > 1 and not done.has("mesh"):
            return Round(work=tuple(fabric_mesh.work(known)))
        if not all(check.ok for check in fabric_mesh.checks(known, done)):
            return None
        if not done.has("jumbo") and (large := _jumbo(known, done)):
            return Round(work=tuple(large))
        if _backend(known, done) is None:
            return None
        if not done.has("allreduce"):
            return Round(work=tuple(_all(known, done)))
        if _backend(known, done) == "nccl":
            found = fabric_facts.all_links(known, done)
            if not done.has(fabric_inside.KEY) and (inside := _inside(known, done, found)):
                return Round(work=tuple(inside))
            if (more := fabric_tools.rounds(known, done, found)) is not None:
                return more
        return _next_pairs(known, done)

    def judge(self, known: Known, done: Results) -> Verdict:
        running = _running(known, done)
        if _all_run(known, done):
            found = "not proved again: " + placed(known).in_use.format(", ".join(running))
            check = Check("all_reduce", True, found, warning=True)
            return Verdict(True, found, (check,), _told_nccl(known, done))
        checks = [*fabric_mesh.checks(known, done), *fabric_links.jumbo_checks(known, done)]
        facts: dict[str, object] = {}
        if all(check.ok for check in checks):
            missing = _missing_torch(known, done)
            more, facts = ([missing], {}) if missing else _proved(known, done)
            checks += more
        failed = [check for check in checks if not check.ok]
        if failed:
            names = list(dict.fromkeys(check.name for check in failed))
            few = ", ".join(names[:4]) + (" ..." if len(names) > 4 else "")
            return Verdict(False, f"the nodes cannot work together yet: {few}", tuple(checks))
        said = {"fabric": facts} if facts else {}
        return Verdict(True, checks[-1].found, tuple(checks), {**said, **_told_nccl(known, done)})


def _missing_torch(known: Known, done: Results) -> Check | None:
    """Some without torch is a fault; nobody with torch means that there is nothing to prove it with."""
    missing, place = _missing(known, done), placed(known)
    if not missing:
        return None
    some = len(missing) < len(known.nodes)
    found = f"not proved: no torch in {place.torch_of} on {', '.join(missing)}"
    hint = f"go back to {place.torch_step}: the other nodes have it" if some else ""
    node = missing[0] if some else ""
    return Check("all_reduce", not some, found, node=node, hint=hint, warning=not some)


def _all_run(known: Known, done: Results) -> bool:
    """Where one node is new, the network is proved again: with it, it is another one."""
    return len(_running(known, done)) == len(known.nodes)


def _running(known: Known, done: Results) -> list[str]:
    """What hangs on a head that was started anew is started anew as well, after this."""
    looks = {n: Look(r.text) for n in known.nodes if (r := done.get("look", n)) and r.ok}
    known_head = known.head in looks and not placed(known).idle
    now = Spec(of=looks[known.head].instance if known_head else "")
    return [n.name for n, look in looks.items() if look.ours and not (look.spec and stale(look.spec, now))]


def _jumbo(known: Known, done: Results) -> list[Work]:
    commands = [(node, fabric_links.jumbo(known, done, node)) for node in known.workers]
    return [(node, placed(known).trial(node, cmd)) for node, cmd in commands if cmd is not None]


# ---- all_reduce


def _torch(known: Known, done: Results) -> dict[str, dict[str, str]]:
    return {n.name: fields(r.text) if (r := done.get("torch", n)) and r.ok else {} for n in known.nodes}


def _missing(known: Known, done: Results) -> list[str]:
    return [name for name, said in _torch(known, done).items() if said.get("torch", "missing") == "missing"]


def _backend(known: Known, done: Results) -> str | None:
    """nccl, gloo, or None where no all_reduce is possible: no torch, unlike nodes, one node of one rank."""
    if _missing(known, done):
        return None
    cuda = _cuda(known, done).values()
    if any(cuda) and not all(cuda):
        return None
    backend = "nccl" if all(cuda) else "gloo"
    world = sum(rank.procs for rank in collective.ranks(known.nodes, backend))
    return backend if world > 1 else None


def _cuda(known: Known, done: Results) -> dict[str, bool]:
    """Whether torch sees GPUs, on each node that brings some; what a head without GPUs has is no matter."""
    torch = _torch(known, done)
    return {n.name: torch[n.name].get("cuda", "0") != "0" for n in known.nodes if n.gpus}


def _members(known: Known, done: Results) -> tuple[Node, ...]:
    """The nodes of the all_reduce, that of rank 0 first."""
    backend = _backend(known, done) or "gloo"
    return tuple(one.node for one in collective.ranks((known.head, *known.workers), backend))


def _settings(known: Known, done: Results) -> dict[str, dict[str, str]]:
    """What NCCL has to be told, by node; nothing where the nodes have no GPUs."""
    torch = _torch(known, done)
    versions = {name: said.get("torch", "") for name, said in torch.items() if said.get("cuda", "0") != "0"}
    found = fabric_facts.all_links(known, done)
    return fabric_rdma.settings(known, found, versions) if versions and len(known.nodes) > 1 else {}


def _told_nccl(known: Known, done: Results) -> dict[str, object]:
    made = _settings(known, done)
    return {"nccl_env": made} if made else {}


def _run(
    known: Known, done: Results, nodes: tuple[Node, ...], backend: str, key: str, port: int
) -> list[Work]:
    ranks = collective.ranks(nodes, backend)
    world = sum(rank.procs for rank in ranks)
    master, made = known.ip(ranks[0].node), _settings(known, done)

    def one(rank: collective.Rank) -> Cmd:
        place = placed(known)
        env = {**made.get(rank.node.name, {}), **raystart.environment(known, rank.node)}
        cmd = collective.command(place.python, rank, world, master, backend, env, key, port)
        return place.trial(rank.node, cmd)

    return [(rank.node, one(rank)) for rank in ranks]


def _all(known: Known, done: Results) -> list[Work]:
    nodes = (known.head, *known.workers)
    backend = _backend(known, done) or "gloo"
    return _run(known, done, nodes, backend, "allreduce", collective.PORT)


def _inside(known: Known, done: Results, found: Mapping[str, fabric_facts.Links]) -> list[Work]:
    """Each node by itself, where all of them together worked."""
    nodes = fabric_inside.nodes(known, found) if len(known.nodes) > 1 and not _failed(known, done) else []
    return [one for n in nodes for one in _run(known, done, (n,), "nccl", fabric_inside.KEY, collective.PORT)]


def _failed(known: Known, done: Results) -> list[Node]:
    return [n for n in _members(known, done) if collective.told(done.get("allreduce", n)).problem]


def _next_pairs(known: Known, done: Results) -> Round | None:
    """After all together failed or were slow: the head with each worker; where those work, the workers."""
    members = _members(known, done)
    if len(members) < 3 or not (_failed(known, done) or _slow(known, done)):
        return None
    if any(not check.ok for check in _hangs(known, done)):
        return None
    nodes = (known.head, *known.workers)
    tried = [pair for pair in fabric_pairs.pairs(known) if done.has(fabric_pairs.key(pair))]
    with_head = [pair for pair in tried if pair[0] == 0]
    broken = [pair for pair in with_head if fabric_pairs.problem(nodes, pair, done)]
    left = [
        pair
        for pair in fabric_pairs.pairs(known)
        if pair not in tried and (pair[0] == 0 or not broken) and nodes[pair[0]] in members
    ]
    # The head's own pairs first: they tell whether the others need a look at all.
    batch = [pair for pair in left if (pair[0] == 0) == (left[0][0] == 0)][: fabric_pairs.AT_ONCE]
    work: list[Work] = []
    for place, (a, b) in enumerate(batch):
        two = (nodes[a], nodes[b])
        backend = _backend(known, done) or "gloo"
        work += _run(known, done, two, backend, fabric_pairs.key((a, b)), collective.PORT + 1 + place)
    return Round(work=tuple(work)) if work else None


def _slow(known: Known, done: Results) -> bool:
    check = _speed(known, done)
    return check is not None and check.state != "ok"


def _speed(known: Known, done: Results) -> Check | None:
    found = fabric_facts.all_links(known, done)
    gbytes = fabric_facts.rank_0(known, done).gbytes
    backend = _backend(known, done)
    if backend == "nccl":
        return fabric_links.speed(known, done, found, gbytes)
    return fabric_links.speed_on_cpu(known, found, gbytes) if backend == "gloo" else None


def _proved(known: Known, done: Results) -> tuple[list[Check], dict[str, object]]:
    cuda = _cuda(known, done)
    without = [name for name, seen in cuda.items() if not seen]
    if without and len(without) < len(cuda):
        hint = "CUDA must work on every node: look at nvidia-smi and the driver there"
        return [
            Check("CUDA", False, f"torch sees no GPU on {', '.join(without)}", node=without[0], hint=hint)
        ], {}
    backend = _backend(known, done)
    if backend is None:
        return [Check("all_reduce", True, "one node with one rank: there is nothing to reduce with")], {}
    if _failed(known, done):
        return _broken(known, done), {}
    first = fabric_facts.rank_0(known, done)
    found = fabric_facts.all_links(known, done)
    checks = [*fabric_transport.transport(known, done, found)]
    if backend == "nccl":
        checks += fabric_rdma.checks(known, found, _settings(known, done))
        checks += fabric_inside.checks(known, done, found)
        checks += fabric_tools.checks(known, done, found)
    if (speed := _speed(known, done)) is not None:
        checks += [speed, *(fabric_pairs.slow_pair(known, done) if speed.state != "ok" else [])]
    kind = "one process a node on CPU" if backend == "gloo" else "one process a GPU"
    checks.append(Check("all_reduce", True, f"{first.speed} ({kind})"))
    most, _ = fabric_links.rate(known, done, found)
    facts = {"backend": backend, "bus_gbytes": first.gbytes, "network": first.network}
    return checks, {**facts, "link_gbytes": round(most, 2)} if most else facts


def _hangs(known: Known, done: Results) -> list[Check]:
    """Which rank the others waited for, where one stands out: no pair has to be tried then."""
    if not _failed(known, done):
        return []
    said = {name: result.text for name, result in done.of("allreduce").items()}
    ranks = collective.ranks((known.head, *known.workers), _backend(known, done) or "gloo")
    owners = {rank.first + i: rank.node.name for rank in ranks for i in range(rank.procs)}
    what = "the all_reduce"
    return hang.absent(known, said, owners, what) or hang.checks(known, said, what)


def _broken(known: Known, done: Results) -> list[Check]:
    nodes = (known.head, *known.workers)
    hangs = _hangs(known, done)
    problems = {n.name: collective.told(done.get("allreduce", n)).problem for n in _failed(known, done)}
    where, what = next(iter(problems.items()))
    tried = [pair for pair in fabric_pairs.pairs(known) if done.has(fabric_pairs.key(pair))]
    pairs = [(pair, text) for pair in tried if (text := fabric_pairs.problem(nodes, pair, done))]
    checks = [
        Check(
            f"pair {nodes[a].name} - {nodes[b].name}",
            False,
            text,
            "an all_reduce of these two",
            nodes[b].name,
        )
        for (a, b), text in pairs
    ]
    members = _members(known, done)
    if len(members) == 2:
        return [*hangs, Check(f"pair {members[0].name} - {members[1].name}", False, what, "", where)]
    alone = "" if pairs or not tried else f"; {len(tried)} pairs work alone, only all together fail"
    return [
        *hangs,
        Check("all_reduce", False, f"{what}{alone}", "the right sum on every rank", where),
        *checks,
    ]
