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
from wizard_steps.node.spec import Spec

#: Secrets a launched server may need; handed over on standard input.
SERVER_SECRETS = ("HF_TOKEN", "VLLM_API_KEY")
#: The word without which no node is given a model by another; new for every walk.
COPY_TOKEN = "MILEPOST_COPY_TOKEN"
#: Secrets that a role is given; every other role gets SERVER_SECRETS. Everything that anybody runs on Ray
#: inherits its environment, and vLLM hands its own workers what they need (vllm/ray/ray_env.py: all of HF_
#: and VLLM_).
_SECRETS: Mapping[str, tuple[str, ...]] = {"ray": (), "fetch": ("HF_TOKEN",), "share": (COPY_TOKEN,)}
#: Ray and vLLM by their command lines. The brackets keep this very text, which is in the command line of the
#: shell that runs it, out.
_KINDS = "[r]aylet/raylet|[g]cs/gcs_server|bin/[v]llm.*serve|^[V]LLM::|^[r]ay::"


#: What ``follow`` prints when what it tries beside the log has succeeded.
ANSWERS = "milepost: /health answers with 200"


def identity(cluster: Cluster, node: Node, role: str) -> str:
    """What MILEPOST_ID says in the environment of the processes of a role on a node."""
    return f"{cluster.name}/{node.name}/{role}"


def cluster_dir(cluster: Cluster) -> str:
    """As sh text: the folder of a cluster on a node; on a shared home the same for all nodes."""
    return f'"$HOME"/.milepost/{shlex.quote(cluster.name)}'


def state_dir(cluster: Cluster, node: Node) -> str:
    """As sh text: the folder of this node's logs, pid files and secrets."""
    return f"{cluster_dir(cluster)}/{shlex.quote(node.name)}"


def _ours(cluster: Cluster, node: Node, role: str) -> str:
    """sh text that defines ``d``, the state folder; ``ours``, which prints the pids of a role's processes;
    ``kin``, which prints those that carry its name and are not ours; ``unseen``, which prints Ray and vLLM
    of others whose environment may not be read; and ``leader``, the pid of the one that was started."""
    wanted = shlex.quote(f"MILEPOST_ID={identity(cluster, node, role)}")
    return (
        f"d={state_dir(cluster, node)}; id={wanted}\n"
        'named() { grep -slzxF "$id" /proc/[0-9]*/environ | tr -dc "0-9\\n"; }\n'
        'mine() { [ -O "/proc/$1" ] && grep -qszxFf "$d/life" "/proc/$1/environ"; }\n'
        "ours() { for p in $(named); do mine $p && echo $p; done; }\n"
        "kin() { for p in $(named); do mine $p || [ ! -e /proc/$p ] || "
        'echo "$p of $(stat -c %U /proc/$p 2>/dev/null)"; done; }\n'
        f"unseen() {{ for c in $(grep -slE '{_KINDS}' /proc/[0-9]*/cmdline); do q=${{c%/cmdline}}; "
        '(: < "$q/environ") 2>/dev/null || '
        'echo "${q#/proc/} of $(stat -c %U $q 2>/dev/null)"; done; }\n'
        f'leader=$(cat "$d"/{role}.pid 2>/dev/null)\n'
    )


def environment(values: Mapping[str, str]) -> str:
    """``K=V`` words for sh, quoted."""
    return " ".join(f"{name}={shlex.quote(value)}" for name, value in values.items())


def command(argv: Sequence[str]) -> str:
    """``argv`` for sh, each word quoted."""
    return " ".join(shlex.quote(word) for word in argv)


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
    shown = f"{environment(env)} {command(argv)}".strip()
    kept = shlex.quote(Spec(tuple(argv), env, of).line())
    text = (
        "umask 077\n"
        'while IFS= read -r line; do case $line in *=*) export "${line%%=*}=${line#*=}";; esac; done\n'
        f"d={state_dir(cluster, node)}\n"
        'mkdir -p "$d" && cd "$d" || exit 1\n'
        "[ -s life ] || { echo \"MILEPOST_LIFE=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \\n')\" > life; }\n"
        f"if [ -s {role}.log ]; then mv -f {role}.log {role}.log.1; fi\n"
        # A process whose pid or log cannot be written could never be found or read again.
        f"echo writable 2>/dev/null > {role}.pid\n"
        f'[ -s life ] && [ -s {role}.pid ] || {{ echo "cannot write in $d:"; df -Pk "$d"; '
        'echo "No space left on device, or no permission"; exit 1; }\n'
        f"id=$(cat /proc/sys/kernel/random/uuid); printf '%s\\n%s\\n' \"$id\" {kept} > {role}.start\n"
        # Where a person looks first: one name whatever the node is called.
        f"ln -sf {shlex.quote(node.name)}/{role}.log ../{role}.log\n"
        'export "$(cat life)"\n'
        f"{setup}{environment(own)} setsid nohup {command(argv)} > {role}.log 2>&1 < /dev/null &\n"
        f"echo $! > {role}.pid\n"
        f'echo "started process $!, log $d/{role}.log"\necho "instance: $id"\n'
    )
    secrets = _SECRETS.get(role, SERVER_SECRETS)
    return Cmd(key=key, text=text, mutates=True, timeout=30, show=shown, quiet=True, secrets=secrets)


def follow(
    cluster: Cluster, node: Node, role: str, key: str, timeout: float, stop: object, beside: str = ""
) -> Cmd:
    """The role's log from its first line, until ``stop`` says so or its process is gone.

    ``beside`` is an sh command that is tried every few seconds meanwhile: when it succeeds, ANSWERS is
    printed among the lines.
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
        f"{watch}"
        f'exec tail -n +1 -s 0.2 --pid="$pid" -F {role}.log 2>/dev/null\n'
    )
    return Cmd(
        key=key,
        text=text,
        timeout=timeout,
        stop=stop,  # type: ignore[arg-type]
        show=f"tail -F ~/.milepost/{cluster.name}/{role}.log",
    )


def look(cluster: Cluster, node: Node, role: str, port: int, key: str = "look") -> Cmd:
    """What is there already: our processes, who listens on ``port``, and Ray or vLLM that is not ours.

    Other people choose their command lines: what is printed of them is one line of printable ASCII.
    """
    text = (
        _ours(cluster, node, role)
        + "echo ours: $(ours)\n"
        + 'if [ -n "$leader" ] && ours | grep -qx "$leader"; then echo "leader: $leader"\n'
        + f'  {{ read -r i; read -r s; }} < "$d"/{role}.start 2>/dev/null && '
        + '{ echo "instance: $i"; printf "spec: %s\\n" "$s"; }\nfi\n'
        + "kin | sed 's/^/kin: /'\n"
        + "unseen | sed 's/^/unseen: /'\n"
        + f"hex=$(printf '%04X' {int(port)})\n"
        + 'if cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | grep -q ":$hex [0-9A-F]*:0000 0A "; '
        + f"then echo 'port {int(port)}: listening'; else echo 'port {int(port)}: free'; fi\n"
        + f"for c in $(grep -slE '{_KINDS}' /proc/[0-9]*/cmdline); do\n"
        + "  p=${c#/proc/}; p=${p%/cmdline}\n"
        + '  [ -O "/proc/$p" ] && grep -qzs "^MILEPOST_ID=" "/proc/$p/environ" && continue\n'
        + "  echo \"other: $p $(head -c 4096 \"$c\" 2>/dev/null | tr '\\0' ' ' | LC_ALL=C tr -c ' -~' '?' "
        + '| cut -c1-160)"\n'
        + "done\n"
        + "exit 0\n"
    )
    return Cmd(
        key=key, text=text, quiet=True, timeout=20, show=f"(is {role} there already? who holds {port}?)"
    )


def stop(cluster: Cluster, node: Node, role: str, key: str = "stop", grace: int = 10) -> Cmd:
    """End every process of a role: TERM its leader, after ``grace`` seconds KILL what is left of ours.

    "nothing of ours runs" is said, and 0 returned, only where everything that could be could be looked into.
    """
    text = (
        _ours(cluster, node, role)
        + "all=$(ours); n=$(echo $all | wc -w)\n"
        + 'if [ "$n" -eq 0 ]; then k=$(kin); u=$(unseen)\n'
        + '  [ -n "$k$u" ] || { echo "nothing of ours runs"; exit 0; }\n'
        + '  echo "nothing that $(id -un) started here runs."\n'
        + '  [ -z "$k" ] || echo "$k" | sed "s/^/left alone, it carries our name but another user or start: '
        + 'process /"\n'
        + '  [ -z "$u" ] || echo "$(echo "$u" | wc -l) Ray or vLLM process(es) of other users that '
        + '$(id -un) may not look into: $(echo "$u" | head -n 3 | tr "\\n" ";")"\n'
        + "  exit 1; fi\n"
        + 'if echo "$all" | grep -qx "$leader"; then kill -TERM "$leader" 2>/dev/null; '
        + "else kill -TERM $all 2>/dev/null; fi\n"
        + f'i=0; while [ $i -lt {grace * 5} ] && [ -n "$(ours)" ]; do sleep 0.2; i=$((i+1)); done\n'
        + 'i=0; while [ $i -lt 25 ] && [ -n "$(ours)" ]; do kill -KILL $(ours) 2>/dev/null; '
        + "sleep 0.2; i=$((i+1)); done\n"
        + "left=$(ours)\n"
        + 'if [ -n "$left" ]; then echo "still there:" $left; exit 1; fi\n'
        + f'rm -f "$d"/{role}.pid "$d"/{role}.start\n'
        + 'echo "ended $n processes"\n'
        + 'k=$(kin); [ -z "$k" ] || { echo "left alone, it carries our name: process $k"; exit 1; }\n'
    )
    return Cmd(
        key=key,
        text=text,
        mutates=True,
        timeout=grace + 25,
        quiet=True,
        show=f"(end the processes milepost started as {identity(cluster, node, role)})",
    )


class Look:
    """Reads what ``look`` printed. The first line of a name counts: ours come first."""

    def __init__(self, text: str) -> None:
        lines = text.splitlines()
        self.ours = _first(lines, "ours:").split()
        leader = _first(lines, "leader:")
        #: Never a pid that is not among ours.
        self.leader = leader if leader in self.ours else ""
        self.listening = any(re.fullmatch(r"port \d+: listening", x) for x in lines)
        self.others = [x.removeprefix("other: ") for x in lines if x.startswith("other: ")]
        self.kin = [x.removeprefix("kin: ") for x in lines if x.startswith("kin: ")]
        self.unseen = [x.removeprefix("unseen: ") for x in lines if x.startswith("unseen: ")]
        self.instance = instance(text) if self.leader else ""
        self.spec = spec.parse(_first(lines, "spec:")) if self.leader else None


def instance(text: str) -> str:
    """The id of a start, as ``look`` and ``launch`` print it."""
    return _first(text.splitlines(), "instance:")


def _first(lines: Sequence[str], name: str) -> str:
    return next((line.removeprefix(name).strip() for line in lines if line.startswith(name)), "")
