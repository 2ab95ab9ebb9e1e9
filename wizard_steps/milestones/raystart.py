"""What head and workers share: how `ray start` is launched, followed, found again and judged."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from wizard_steps.cluster import devices
from wizard_steps.engine.step import Known
from wizard_steps.milestones.common import failure
from wizard_steps.model import Check, Cmd, Node, Result, Results, Round
from wizard_steps.node import ray_token, remote
from wizard_steps.node.remote import Look

STARTED = "Ray runtime started."
ROLE = "ray"
#: A worker that cannot reach its head tries for 823 s; the IP gate proved the way, so this is enough.
START_LIMIT = 120.0


#: Below this many MiB a file system counts as full. Ray only says that its node timed out.
FULL = 64
SPACE = Cmd(
    key="space",
    text='df -Pk /tmp "$HOME" /dev/shm 2>/dev/null\nexit 0\n',
    quiet=True,
    timeout=20,
    show="df -k /tmp ~ /dev/shm",
)


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
    interface = known.facts.get("interfaces", {}).get(node.name, "")
    names = {"NCCL_SOCKET_IFNAME": interface, "GLOO_SOCKET_IFNAME": interface} if interface else {}
    if known.cluster.simulated:
        names = {}
    return {
        "VLLM_HOST_IP": known.ip(node),
        "RAY_EXPERIMENTAL_NOSET_CUDA_VISIBLE_DEVICES": "1",
        **names,
        **devices.settings(known.cluster, node, known.devices(node)),
    }


def rounds(known: Known, done: Results, nodes: Sequence[Node], argv: Mapping[str, list[str]]) -> Round | None:
    """look, start where it is not ours already, follow the log, and measure the disks where that failed."""
    cluster = known.cluster
    if not done.has("look"):
        work = [(n, remote.look(cluster, n, ROLE, cluster.ray.port)) for n in nodes]
        return Round(work=tuple(work))
    if done.has("start"):
        failed = [n for n in nodes if (r := done.get("start", n)) and r.reason in ("exit", "timeout")]
        return None if done.has("space") or not failed else Round(work=tuple((n, SPACE) for n in failed))
    free = [node for node in nodes if blocked(known, done, node) is None]
    todo = [node for node in free if not Look(_text(done, node)).leader]
    if wants_token(known) and free and not done.has("token"):
        return tokens(known, free, todo)
    todo = [node for node in todo if has_token(known, done, node)]
    if todo and not done.has("launch"):
        setup = ray_token.setup(cluster)
        envs = {n.name: environment(known, n) for n in todo}
        work = [(n, remote.launch(cluster, n, ROLE, argv[n.name], envs[n.name], setup=setup)) for n in todo]
        return Round(work=tuple(work))
    free = [node for node in free if has_token(known, done, node)]
    ready = [n for n in free if n not in todo or _ok(done.get("launch", n))]
    return Round(work=tuple((n, follow(known)) for n in ready)) if ready else None


def wants_token(known: Known) -> bool:
    """Not where vLLM runs without Ray."""
    cluster = known.cluster
    plain = known.facts.get("executor", "") == "mp" or (
        cluster.path == "docker" and cluster.docker.ray == "none"
    )
    return ray_token.wanted(cluster) and not plain


def tokens(known: Known, nodes: Sequence[Node], todo: Sequence[Node]) -> Round:
    """The token onto the nodes that start; a Ray that runs keeps its own, which is only looked at."""
    put, look = ray_token.put(known.cluster), ray_token.look(known.cluster)
    return Round(work=tuple((node, put if node in todo else look) for node in nodes))


def has_token(known: Known, done: Results, node: Node) -> bool:
    return not wants_token(known) or _ok(done.get("token", node))


def token_checks(known: Known, done: Results, nodes: Sequence[Node]) -> list[Check]:
    """Every node has the head's token, and nobody else on the machine can read it."""
    if not wants_token(known):
        return []
    head = ray_token.hash_of(done.get("token", known.head)) or str(known.facts.get("ray_token", ""))
    found = [(node, done.get("token", node)) for node in nodes]
    return [ray_token.check(r, node, head) for node, r in found if r is None or r.reason != "dry"]


def undo(known: Known, node: Node) -> list[Cmd]:
    """Ends our Ray on a node; the token goes as well."""
    stop = remote.stop(known.cluster, node, ROLE)
    return [stop, ray_token.forget(known.cluster)] if ray_token.wanted(known.cluster) else [stop]


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
        elif not has_token(known, done, node):
            checks.append(failure(done.get("token", node), node))
        elif launch is not None and not launch.ok:
            checks.append(failure(launch, node))
        else:
            checks.append(_started(done, node))
    return checks + token_checks(known, done, [n for n in nodes if blocked(known, done, n) is None])


def _started(done: Results, node: Node) -> Check:
    result = done.get("start", node)
    if result is not None and result.reason == "stopped":
        found = "already running, and ours" if Look(_text(done, node)).leader else "started"
        return Check("Ray", True, found, STARTED, node.name)
    found = failure(result, node).found
    if result is not None and result.reason == "exit":
        found = f"`ray start` has ended: {_last_words(result)}"
    return Check(
        "Ray", False, found, STARTED, node.name, _full_disk(done.get("space", node)) or _hint(result)
    )


def _last_words(result: Result) -> str:
    """The last line that names an error; frames of a traceback and blank lines name none."""
    lines = [line.strip() for line in result.lines if line.strip()]
    errors = [line for line in lines if re.match(r"[\w.]*(Error|Exception)\b.*: ", line)]
    return next(reversed(errors or lines), "it said nothing")


def _full_disk(space: Result | None) -> str:
    """Words for a file system of the node that has no room left, or nothing."""
    for line in space.lines if space else []:
        words = line.split()
        if len(words) >= 6 and words[3].isdigit() and int(words[3]) < FULL * 1024:
            room = f"{int(words[3]) // 1024} MiB"
            return (
                f"No space left on device: {words[5]} has {room} free. Ray keeps its session in /tmp/ray, "
                "its objects in /dev/shm; free some, or move it (--temp-dir in ray.worker_flags, head_flags)"
            )
    return ""


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
