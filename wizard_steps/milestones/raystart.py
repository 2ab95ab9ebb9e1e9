"""What head and workers share: how Ray (or the container that waits for vLLM) is started, followed, found
again and judged. Where that is, the place knows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from wizard_steps.cluster import devices
from wizard_steps.diagnose.explain import advised
from wizard_steps.engine.step import Bundled, Known
from wizard_steps.facts.recommend import sockets
from wizard_steps.milestones import adopt, running, unstarted
from wizard_steps.milestones.common import Placed, failure, placed, port_taken
from wizard_steps.model import Check, Cmd, Node, Result, Results, Round
from wizard_steps.node import container, ray_token
from wizard_steps.node.place import RAY, Service
from wizard_steps.node.remote import Look, instance

STARTED = "Ray runtime started."
#: A worker that cannot reach its head tries for 823 s; the IP gate proved the way, so this is enough.
START_LIMIT = 120.0


_FOLDERS = (
    "root of a container is nobody on NFS, and an image's own user may not write there: put docker.log_home, "
    "docker.compile_cache and docker.hf_home on a local disk, or leave the first two empty"
)


class StartsRay(Placed):
    """What the two milestones say alike of what they run."""

    only_ray = ("bare-metal",)
    keys = ("launch", "start", "up")
    effects: Mapping[str, str] = {"token": "writes the cluster's Ray token, for this user alone"}
    bundled = (Bundled(("start",), "ray-start.txt", "what Ray printed when it was started"),)

    def for_script(self, known: Known, node: Node, key: str) -> str | None:
        return ray_token.by_hand(known.cluster, node) if key == "token" else None


def ended(line: str) -> bool:
    return STARTED in line


def base_flags(known: Known, node: Node) -> list[str]:
    """--block keeps a process that SIGTERM ends cleanly; `ray stop` would end every Ray on the machine."""
    return [
        f"--node-ip-address={known.ip(node)}",
        "--disable-usage-stats",
        "--log-style=pretty",
        "--log-color=false",
        "--block",
    ]


def own_flags(known: Known, node: Node) -> list[str]:
    """Of this node alone: its number of GPUs where not all of them are used, and its ray_flags."""
    return devices.ray_flags(known.cluster, node, known.devices(node))


def environment(known: Known, node: Node) -> dict[str, str]:
    """VLLM_HOST_IP keeps vLLM's workers on the chosen network. Ray's GPU masking is switched off because
    vLLM's Ray executor picks devices itself; Ray 2.60 still reads this variable. The cluster file's env
    goes last: it wins."""
    interface = str(known.facts.get("interfaces", {}).get(node.name, ""))
    exact = node.name in known.facts.get("exact_interfaces", ())
    names = {} if known.cluster.simulated else sockets(interface, exact)
    ray = {} if placed(known).without_ray else {"RAY_EXPERIMENTAL_NOSET_CUDA_VISIBLE_DEVICES": "1"}
    return {
        "VLLM_HOST_IP": known.ip(node),
        **ray,
        **names,
        **made(known, node),
        **devices.settings(known.cluster, node, known.devices(node)),
    }


def made(known: Known, node: Node) -> dict[str, str]:
    """What NCCL has to be told on this node, as the gate of the GPU network found."""
    found = known.facts.get("nccl_env", {}).get(node.name, {})
    return {str(name): str(value) for name, value in found.items()}


def service(known: Known, node: Node, argv: Sequence[str]) -> Service:
    """``argv`` as Ray of a node. A worker hangs on the start of the head that it joined."""
    of = "" if node.role == "head" else str(known.facts.get("starts", {}).get(known.head.name, ""))
    return Service(node, RAY, known.cluster.ray.port, tuple(argv), environment(known, node), of)


def starts(known: Known, done: Results, nodes: Sequence[Node]) -> dict[str, str]:
    """The id of each node's start of Ray: a fact for what hangs on it."""
    found = {str(name): str(value) for name, value in known.facts.get("starts", {}).items()}
    for node in nodes:
        launch = done.get("launch", node)
        now = instance(launch.text) if launch is not None else running.look_of(done, node).instance
        found.update({node.name: now} if now else {})
    return found


def taught(known: Known, done: Results, nodes: Sequence[Node]) -> dict[str, Any]:
    """Facts for what comes after: the starts, and what the kernel had killed in them before."""
    looks = [(node, done.get("look", node)) for node in nodes if done.get("launch", node) is None]
    killed = {n.name: k for n, look in looks if look is not None and (k := placed(known).killed(look.text))}
    names = {node.name for node in nodes}
    killed |= {name: k for name, k in known.facts.get("oom_kills", {}).items() if name not in names}
    return {"starts": starts(known, done, nodes), **({"oom_kills": killed} if killed else {})}


def rounds(known: Known, done: Results, make: adopt.Services) -> Round | None:
    """look, ask where ours differs from the file, end what is no good, start what is missing, follow the log
    (without Ray: see that the container runs), and measure the disks where that failed."""
    place, services = placed(known), make(known)
    if place.idle:
        return None
    if not done.has("look"):
        return Round(work=tuple((s.node, place.look(s)) for s in services))
    if done.has(_last(known)):
        failed = [s for s in services if (r := done.get(_last(known), s.node)) and _failed(known, r)]
        return unstarted.ask(known, done, failed)
    free = [s for s in services if blocked(known, done, s) is None]
    if question := running.question(known, done, make, [s.node for s in free]):
        return Round(questions=(question,))
    free = [s for s in free if not running.refused(known, done, s)]
    todo = [s for s in free if not running.keeps(known, done, s)]
    if not done.has("clear") and (left := [s for s in todo if running.look_of(done, s.node).there]):
        return Round(work=tuple((s.node, place.stop(s.node, RAY, key="clear")) for s in left))
    free, todo = ([s for s in some if _cleared(done, s.node)] for some in (free, todo))
    if place.wants_token and free and not done.has("token"):
        return _tokens(known, free, todo)
    todo = [s for s in todo if has_token(known, done, s.node)]
    if todo and not done.has("launch"):
        return Round(work=tuple((s.node, place.launch(s)) for s in todo))
    free = [s for s in free if has_token(known, done, s.node)]
    ready = [s for s in free if s not in todo or _ok(done.get("launch", s.node))]
    return Round(work=tuple((s.node, _follow(known, s)) for s in ready)) if ready else None


def _failed(known: Known, result: Result) -> bool:
    if placed(known).without_ray:
        return "running: true" not in result.text
    return result.reason in ("exit", "timeout")


def _last(known: Known) -> str:
    """The key of what is waited for after a start."""
    return "up" if placed(known).without_ray else "start"


def _follow(known: Known, service: Service) -> Cmd:
    place = placed(known)
    if place.without_ray:
        return container.up(known.cluster, service.node)
    return place.follow(service, "start", START_LIMIT, ended)


def _tokens(known: Known, free: Sequence[Service], todo: Sequence[Service]) -> Round:
    """The token onto the nodes that start; a Ray that runs keeps its own, which is only looked at."""
    cluster = known.cluster
    make = {s.node.name: ray_token.put if s in todo else ray_token.look for s in free}
    return Round(work=tuple((s.node, make[s.node.name](cluster, s.node)) for s in free))


def has_token(known: Known, done: Results, node: Node) -> bool:
    return not placed(known).wants_token or _ok(done.get("token", node))


def token_checks(known: Known, done: Results, nodes: Sequence[Node]) -> list[Check]:
    """Every node has the head's token, and nobody else on the machine can read it."""
    if not placed(known).wants_token:
        return []
    head = ray_token.hash_of(done.get("token", known.head)) or str(known.facts.get("ray_token", ""))
    found = [(node, done.get("token", node)) for node in nodes]
    return [ray_token.check(r, node, head) for node, r in found if r is None or r.reason != "dry"]


def by_hand(known: Known, nodes: Sequence[Node]) -> list[Check]:
    """The run_cluster.sh lines that would do the same, for people who prefer them, and what the script has no
    way to pass on. Never a failure."""
    lines = [(n, placed(known).by_hand(n, environment(known, n), known.head_ip)) for n in nodes]
    return [Check("run_cluster.sh", True, line, _same(known, n), n.name) for n, line in lines if line]


def _same(known: Known, node: Node) -> str:
    ray = known.cluster.ray
    flags = [*(ray.head_flags if node.role == "head" else ray.worker_flags), *own_flags(known, node)]
    if node.role == "head":
        dashboard = {"host": (ray.dashboard_host, "127.0.0.1"), "port": (ray.dashboard_port, 8265)}
        flags += [f"--dashboard-{key}={now}" for key, (now, usual) in dashboard.items() if now != usual]
    left = ([" ".join(flags)] if flags else []) + (["the Ray token"] if placed(known).wants_token else [])
    return "the same by hand" + (f", but without {' and '.join(left)}" if left else "")


def leaves(known: Known, node: Node, what: str) -> str:
    """What keeps running there, in words; ``what`` names its Ray."""
    place = placed(known)
    if place.idle:
        return ""
    return " in ".join(filter(None, ["" if place.without_ray else what, place.holder(node)]))


def undo(known: Known, node: Node) -> list[Cmd]:
    """Ends our Ray on a node; the token goes as well."""
    stop = placed(known).stop(node, RAY)
    return [stop, ray_token.forget(known.cluster, node)] if ray_token.wanted(known.cluster) else [stop]


def blocked(known: Known, done: Results, service: Service) -> Check | None:
    """Why nothing may be started on this node: no answer, or something there that is not ours."""
    node, place = service.node, placed(known)
    result = done.get("look", node)
    if result is None or not result.ok:
        return place.named(failure(result, node))
    obstacle = place.obstacle(service, result)
    if obstacle is not None or place.without_ray:
        return obstacle
    if node.role != "head":
        return None
    end = "end that Ray yourself (`ray stop` ends every Ray of your user on that machine)"
    known_ray = bool(Look(result.text).others)
    return port_taken(known, result, service.port, "ray.port", end if known_ray else "end it")


def judge(known: Known, done: Results, services: Sequence[Service]) -> list[Check]:
    checks = [_one(known, done, service) for service in services]
    free = [s for s in services if not blocked(known, done, s) and not running.refused(known, done, s)]
    return [
        *checks,
        *running.written(known, done, services),
        *token_checks(known, done, [s.node for s in free]),
    ]


def _one(known: Known, done: Results, service: Service) -> Check:
    node, place = service.node, placed(known)
    problem, launch = blocked(known, done, service), done.get("launch", node)
    if problem is not None:
        return problem
    kind = "container" if place.without_ray else "Ray"
    if running.refused(known, done, service) and (differs := running.check(known, done, service, kind)):
        return differs
    if not _cleared(done, node):
        return failure(done.get("clear", node), node)
    if not has_token(known, done, node):
        return failure(done.get("token", node), node)
    if launch is not None and not launch.ok:
        return place.named(failure(launch, node, advised(launch.text)))
    check = _up(known, done, node) if place.without_ray else _started(known, done, node)
    same = running.check(known, done, service, check.name) if check.ok else None
    return same or check


def _up(known: Known, done: Results, node: Node) -> Check:
    """The container that waits for vLLM."""
    result = done.get("up", node)
    if result is not None and result.ok and "running: true" in result.text:
        return _good(known, done, node, "container", "running")
    hint = f"{placed(known).log_of(node, RAY)} says why its first process ended"
    if gone := unstarted.gone(known, done, node):
        return Check("container", False, gone, "running", node.name, hint)
    found = result.lines[-1] if result is not None and result.lines else failure(result, node).found
    return Check("container", False, found, "running", node.name, hint)


def _started(known: Known, done: Results, node: Node) -> Check:
    result = done.get("start", node)
    if result is not None and result.reason == "stopped":
        return _good(known, done, node, "Ray", STARTED)
    found = failure(result, node).found
    if result is not None and result.reason == "exit":
        found = f"`ray start` has ended: {unstarted.last_words(result)}"
        found = "; ".join(filter(None, [found, unstarted.gone(known, done, node)]))
    hint = unstarted.full_disk(done, node) or f"its log: {placed(known).log_of(node, RAY)}"
    return Check("Ray", False, found, STARTED, node.name, hint)


def _good(known: Known, done: Results, node: Node, name: str, wanted: str) -> Check:
    """Started; what had become of an earlier start is told with it: somebody, or the kernel, ended it."""
    look = done.get("look", node)
    before = placed(known).before(node, look.text) if look is not None else ""
    how = "restarted" if done.get("clear", node) else "started"
    text = f"{how}; before that, {before}. Its last log: {placed(known).kept_log(node)}" if before else how
    launch = done.get("launch", node)
    beside = placed(known).beside(node, launch.text) if launch is not None else ""
    hint = _FOLDERS if beside else ""
    text += f"; {beside}" if beside else ""
    return Check(name, True, text, wanted, node.name, hint, warning=bool(before or beside))


def _cleared(done: Results, node: Node) -> bool:
    result = done.get("clear", node)
    return result is None or _ok(result)


def _ok(result: Result | None) -> bool:
    return result is not None and (result.ok or result.reason == "dry")
