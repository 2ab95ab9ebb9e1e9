"""What head and workers share: how `ray start` is launched, followed, found again and judged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from wizard_steps import remote
from wizard_steps.milestones.common import failure
from wizard_steps.model import Check, Cmd, Node, Result, Results, Round
from wizard_steps.remote import Look
from wizard_steps.step import Known

STARTED = "Ray runtime started."
ROLE = "ray"
#: A worker that cannot reach its head tries for 823 s; the IP gate proved the way, so this is enough.
START_LIMIT = 120.0


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


def environment(known: Known, node: Node) -> dict[str, str]:
    """VLLM_HOST_IP keeps vLLM's workers on the chosen network. Ray's GPU masking is switched off because
    vLLM's Ray executor picks devices itself; Ray 2.60 still reads this variable. The cluster file's env
    goes last: it wins."""
    interface = known.facts.get("interfaces", {}).get(node.name, "")
    names = {"NCCL_SOCKET_IFNAME": interface, "GLOO_SOCKET_IFNAME": interface} if interface else {}
    if known.cluster.simulated:
        names = {}
    return {
        "VLLM_HOST_IP": known.ip(node),
        "RAY_EXPERIMENTAL_NOSET_CUDA_VISIBLE_DEVICES": "1",
        **names,
        **known.cluster.env,
    }


def rounds(known: Known, done: Results, nodes: Sequence[Node], argv: Mapping[str, list[str]]) -> Round | None:
    """look, start where it is not ours already, follow the log."""
    cluster = known.cluster
    if not done.has("look"):
        work = [(n, remote.look(cluster, n, ROLE, cluster.ray.port)) for n in nodes]
        return Round(work=tuple(work))
    if done.has("start"):
        return None
    free = [node for node in nodes if blocked(known, done, node) is None]
    todo = [node for node in free if not Look(_text(done, node)).leader]
    if todo and not done.has("launch"):
        work = [(n, remote.launch(cluster, n, ROLE, argv[n.name], environment(known, n))) for n in todo]
        return Round(work=tuple(work))
    ready = [n for n in free if n not in todo or _ok(done.get("launch", n))]
    return Round(work=tuple((n, follow(known)) for n in ready)) if ready else None


def follow(known: Known) -> Cmd:
    return remote.follow(known.cluster, ROLE, "start", START_LIMIT, ended)


def blocked(known: Known, done: Results, node: Node) -> Check | None:
    """Why nothing may be started on this node: no answer, or a Ray there that is not ours."""
    result = done.get("look", node)
    if result is None or not result.ok:
        return failure(result, node)
    look = Look(result.text)
    port = known.cluster.ray.port
    if node.role == "head" and look.listening and not look.ours:
        who = "; ".join(look.others) or "unknown: not visible to this user"
        return Check(
            "port",
            False,
            f"port {port} is taken by a process milepost did not start ({who})",
            "a free port",
            node.name,
            "end that Ray yourself (`ray stop` ends every Ray on that machine), or choose another ray.port",
        )
    return None


def judge(known: Known, done: Results, nodes: Sequence[Node]) -> list[Check]:
    checks = []
    for node in nodes:
        problem = blocked(known, done, node)
        launch = done.get("launch", node)
        if problem is not None:
            checks.append(problem)
        elif launch is not None and not launch.ok:
            checks.append(failure(launch, node))
        else:
            checks.append(_started(done, node))
    return checks


def _started(done: Results, node: Node) -> Check:
    result = done.get("start", node)
    if result is not None and result.reason == "stopped":
        found = "already running, and ours" if Look(_text(done, node)).leader else "started"
        return Check("Ray", True, found, STARTED, node.name)
    check = failure(result, node, _hint(result))
    return Check("Ray", False, check.found, STARTED, node.name, check.hint)


def _hint(result: Result | None) -> str:
    text = result.text if result else ""
    if "Version mismatch" in text:
        return "the same Ray and Python (patch version too) must be on every node: go back to install"
    if "InvalidAuthToken" in text or "authentication token" in text:
        return "the head wants a token: copy its ~/.ray/auth_token to this node (mode 0600)"
    if "already running" in text:
        return "another Ray is on this port: end it, or choose another ray.port"
    if "Failed to connect to GCS" in text:
        return "the head's port does not answer from here: firewall, wrong head IP, or the head has died"
    if "No such file" in text or "not found" in text:
        return "ray is not in the venv: go back to install"
    return "read the full log of this node"


def _text(done: Results, node: Node) -> str:
    result = done.get("look", node)
    return result.text if result else ""


def _ok(result: Result | None) -> bool:
    return result is not None and (result.ok or result.reason == "dry")
