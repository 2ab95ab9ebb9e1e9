"""sh for the nodes: start a process that outlives the wizard, find it again, read its log, end it.

A process is ours when three things agree: it belongs to this very user, its environment holds
MILEPOST_ID=<cluster>/<node>/<role>, and MILEPOST_LIFE, a random word kept in the node's state folder (0600).
Children inherit both, so all of Ray and vLLM that a launch led to is found by identity, never by name.
(SPT_NOENV keeps setproctitle, which vLLM and Ray use, from writing over the environment that /proc shows.)
What carries the name and is not ours is told apart and left alone. Needs Linux and GNU grep.

The state folder is ~/.milepost/NAME/NODE: a home may be shared by all nodes. Beside each ROLE.pid lies
ROLE.start: the id of this start, and what it was started with (see spec.py).
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence

from wizard_steps.cluster.file import Cluster
from wizard_steps.model import Cmd, Node
from wizard_steps.node import spec
from wizard_steps.node.program import program
from wizard_steps.node.spec import Spec

#: Secrets a launched server may need; handed over on standard input.
SERVER_SECRETS = ("HF_TOKEN", "VLLM_API_KEY")
FETCH_SECRETS = ("HF_TOKEN", "MODELSCOPE_API_TOKEN")
#: The word without which no node is given a model by another; new for every walk.
COPY_TOKEN = "MILEPOST_COPY_TOKEN"
#: Secrets that a role is given; every other role gets SERVER_SECRETS. Everything that anybody runs on Ray
#: inherits its environment, and vLLM hands its own workers what they need (vllm/ray/ray_env.py: all of HF_
#: and VLLM_).
_SECRETS: Mapping[str, tuple[str, ...]] = {"ray": (), "fetch": FETCH_SECRETS, "share": (COPY_TOKEN,)}

#: Seconds that systemd gives a service of ours to end; its command gets some more.
UNIT_STOPS = 60

#: Before the name of another cluster that milepost started a process, or a container, for.
OF_CLUSTER = ", milepost's cluster "
#: What ``follow`` prints when what it tries beside the log has succeeded.
ANSWERS = "milepost: /health answers with 200"
#: What ``recent`` prints first where the process that wrote the log is gone.
ENDED = "milepost: the process has ended"


def identity(cluster: Cluster, node: Node, role: str) -> str:
    """What MILEPOST_ID says in the environment of the processes of a role on a node."""
    return f"{cluster.name}/{node.name}/{role}"


def cluster_dir(cluster: Cluster) -> str:
    """As sh text: the folder of a cluster on a node; on a shared home the same for all nodes."""
    return f'"$HOME"/.milepost/{shlex.quote(cluster.name)}'


def state_dir(cluster: Cluster, node: Node) -> str:
    """As sh text: the folder of this node's logs, pid files and secrets."""
    return f"{cluster_dir(cluster)}/{shlex.quote(node.name)}"


def _about(cluster: Cluster, node: Node, role: str, **more: int) -> str:
    """sh text that sets what the programs of scripts/ ask for."""
    wanted = shlex.quote(f"MILEPOST_ID={identity(cluster, node, role)}")
    numbers = "".join(f"{name}={value:d}; " for name, value in more.items())
    return f"d={state_dir(cluster, node)}; id={wanted}; role={shlex.quote(role)}; {numbers}\n"


def service_name(cluster: Cluster, node: Node, role: str) -> str:
    """The file name of a role's systemd unit. A home, and so the folder of user units, may be shared by all
    nodes."""
    return f"milepost-{cluster.name}-{re.sub('[^A-Za-z0-9._-]', '_', node.name)}-{role}.service"


def environment(values: Mapping[str, str]) -> str:
    """``K=V`` words for sh, quoted."""
    return " ".join(f"{name}={shlex.quote(value)}" for name, value in values.items())


def exports(values: Mapping[str, str]) -> str:
    """sh text that puts ``values`` into the environment of what follows."""
    return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in values.items())


def in_double_quotes(text: str) -> str:
    """``text`` for a place between double quotes, where shlex.quote protects nothing."""
    return re.sub(r'([\\"$`])', r"\\\1", text)


def launch(
    cluster: Cluster,
    node: Node,
    role: str,
    argv: Sequence[str],
    env: Mapping[str, str],
    key: str = "launch",
    setup: str = "",
    of: str = "",
) -> Cmd:
    """Start ``argv`` in a session of its own, output to <role>.log on the node. Returns at once.

    ``setup`` is sh text that runs before it; ``of`` says what it hangs on, see spec.py.
    """
    ident = identity(cluster, node, role)
    own = {**env, "MILEPOST_ID": ident, "SPT_NOENV": "1", "PYTHONUNBUFFERED": "1"}
    shown = f"{environment(env)} {shlex.join(argv)}".strip()
    kept = shlex.quote(Spec(tuple(argv), env, of).line())
    text = (
        f"{_about(cluster, node, role)}node={shlex.quote(node.name)}; spec={kept}\n"
        f"run() {{\n{setup}\n{exports(own)}exec setsid nohup {shlex.join(argv)}\n}}\n"
        f"{program('launch.sh')}"
    )
    secrets = _SECRETS.get(role, SERVER_SECRETS)
    return Cmd(key=key, text=text, mutates=True, timeout=30, show=shown, secrets=secrets)


def mine(cluster: Cluster, node: Node, *roles: str) -> str:
    """sh text that defines ``ours``: the processes of these roles on a node."""
    defined = f"{_about(cluster, node, roles[0])}{program('processes.sh')}"
    each = "".join(
        f"id={shlex.quote(f'MILEPOST_ID={identity(cluster, node, role)}')}; role={shlex.quote(role)}; "
        'for p in $(named); do mine "$p" && echo "$p"; done; '
        for role in roles
    )
    return f"{defined}ours() {{ {each} }}\n"


def follow(
    cluster: Cluster,
    node: Node,
    role: str,
    key: str,
    timeout: float,
    stop: object,
    beside: str = "",
    quiet: str = "",
) -> Cmd:
    """The role's log from its first line, until ``stop`` says so or its process is gone.

    ``beside`` is an sh command that is tried every few seconds meanwhile: when it succeeds, ANSWERS is
    printed among the lines. ``quiet`` is sh text that starts a watch on the log, see ``ras.watch``.
    """
    # It ends with the tail that takes this shell's place; a zombie, not yet collected, has no exe.
    watch = (
        f"( while sleep 2 && [ -e /proc/$$/exe ]; do if {beside}; then sleep 1; "
        f"echo {shlex.quote(ANSWERS)}; break; fi; done ) </dev/null 2>/dev/null &\n"
        if beside
        else ""
    )
    text = (
        f"cd {state_dir(cluster, node)} || exit 1\n"
        f"pid=$(cat {role}.pid) || exit 1\n"
        f"{watch}{quiet}"
        f'exec tail -n +1 -s 0.2 --pid="$pid" -F {role}.log 2>/dev/null\n'
    )
    return Cmd(
        key=key,
        text=text,
        timeout=timeout,
        stop=stop,  # type: ignore[arg-type]
        show=f"tail -F ~/.milepost/{cluster.name}/{role}.log",
    )


def recent(cluster: Cluster, node: Node, role: str, key: str, lines: int) -> Cmd:
    """The last lines of the role's log, as they are, and whether its process is gone."""
    text = (
        f"cd {state_dir(cluster, node)} || exit 1\n"
        f'[ ! -s {role}.pid ] || [ -e "/proc/$(cat {role}.pid)/exe" ] || echo {shlex.quote(ENDED)}\n'
        f"exec tail -n {lines} {role}.log\n"
    )
    show = f"tail -n {lines} ~/.milepost/{cluster.name}/{role}.log"
    return Cmd(key=key, text=text, timeout=30, show=show)


def look(cluster: Cluster, node: Node, role: str, port: int, key: str = "look") -> Cmd:
    """What is there already: our processes, who listens on ``port``, and Ray or vLLM that is not ours."""
    programs = "".join(program(name) for name in ("processes.sh", "holder.sh", "look.sh"))
    text = f"{_about(cluster, node, role, port=port)}{programs}"
    before = f"(is {role} there already? who holds {port}?)"
    # The roles that only fetch listen nowhere.
    shown = before if port else f"(does our {role} run here already?)"
    return Cmd(key=key, text=text, quiet=True, timeout=20, show=shown, formerly=() if port else (before,))


def stop(cluster: Cluster, node: Node, role: str, key: str = "stop", grace: int = 10) -> Cmd:
    """End every process of a role: TERM its leader, after ``grace`` seconds KILL what is left of ours."""
    text = f"{_about(cluster, node, role, grace=grace)}{program('processes.sh')}{program('stop.sh')}"
    return Cmd(
        key=key,
        text=text,
        mutates=True,
        timeout=grace + 35 + UNIT_STOPS,
        quiet=True,
        show=f"(end the processes milepost started as {identity(cluster, node, role)})",
    )


def look_at_service(cluster: Cluster, node: Node, role: str) -> str:
    """sh text: names the systemd service of a role whose program lives elsewhere, as ``look`` does."""
    asked = 's=$(service); [ -z "$s" ] || echo "service: $s"\n'
    return f"( {_about(cluster, node, role)}{program('processes.sh')}{asked})\n"


def stop_service(cluster: Cluster, node: Node, role: str) -> str:
    """sh text that has systemd stop the role's service, where there is one."""
    asked = 's=$(service); [ -z "$s" ] || asked stop "$s" 2>&1'
    return f"( {_about(cluster, node, role)}{program('processes.sh')}{asked}\n)\n"


def workers(cluster: Cluster, node: Node, role: str, key: str, whole: bool = False) -> Cmd:
    """vLLM's workers on a node, see scripts/workers.sh. ``whole``: whatever runs there counts."""
    about = f"{_about(cluster, node, role)}whole={'yes' if whole else 'no'}\n"
    text = f"{about}{program('processes.sh')}{program('workers.sh')}"
    show = "ps -eo args | grep -E '^(ray::RayWorker|VLLM::Worker)'"
    return Cmd(key=key, text=text, quiet=True, timeout=20, show=show)


class Look:
    """Reads what ``look`` printed. The first line of a name counts: ours come first."""

    def __init__(self, text: str) -> None:
        lines = text.splitlines()
        self.ours = _first(lines, "ours:").split()
        leader = _first(lines, "leader:")
        #: Never a pid that is not among ours.
        self.leader = leader if leader in self.ours else ""
        #: `ray start` runs on after its raylet has ended.
        self.left = bool(_first(lines, "left:"))
        self.listening = any(re.fullmatch(r"port \d+: listening", x) for x in lines)
        self.others = [x.removeprefix("other: ") for x in lines if x.startswith("other: ")]
        #: Who listens on the port, where the user may see it.
        self.holder = _first(lines, "holder:")
        self.kin = [x.removeprefix("kin: ") for x in lines if x.startswith("kin: ")]
        self.unseen = [x.removeprefix("unseen: ") for x in lines if x.startswith("unseen: ")]
        self.instance = instance(text) if self.leader else ""
        self.spec = spec.parse(_first(lines, "spec:")) if self.leader else None
        #: The systemd service that runs it or is about to start it, and what that service was written with.
        self.service = _first(lines, "service:")
        self.written = spec.parse(_first(lines, "written:"))
        #: Whether something has to end before a start.
        self.there = bool(self.ours or self.service)


def instance(text: str) -> str:
    """The id of a start, as ``look`` and ``launch`` print it."""
    return _first(text.splitlines(), "instance:")


def other_clusters(text: str) -> list[str]:
    """Clusters of milepost, other than ours, as a look printed them: the one whose process listens on the
    port, where that is known, else those that run on the node."""
    pid = re.escape(_first(text.splitlines(), "holder:").partition(" ")[0])
    found = re.findall(
        rf"^(?:other: {pid}{' ' if pid else ''}|beside: ).{{0,300}}{OF_CLUSTER}([A-Za-z0-9._-]{{1,63}})$",
        text,
        re.MULTILINE,
    )
    return list(dict.fromkeys(found))


def _first(lines: Sequence[str], name: str) -> str:
    return next((line.removeprefix(name).strip() for line in lines if line.startswith(name)), "")
