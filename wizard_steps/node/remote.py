"""sh for the nodes: start a process that outlives the wizard, find it again, read its log, end it.

A process is ours when its environment holds MILEPOST_ID=<cluster>/<node>/<role>. Children inherit it, so
all of Ray and vLLM that a launch led to is found by identity, never by name. (SPT_NOENV keeps setproctitle,
which vLLM and Ray use, from writing over the environment that /proc shows.) Needs Linux and GNU grep.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence

from wizard_steps.cluster.file import Cluster
from wizard_steps.model import Cmd, Node

#: Secrets a launched server may need; handed over on standard input.
SERVER_SECRETS = ("HF_TOKEN", "VLLM_API_KEY")


#: What ``follow`` prints when what it tries beside the log has succeeded.
ANSWERS = "milepost: /health answers with 200"


def identity(cluster: Cluster, node: Node, role: str) -> str:
    """What MILEPOST_ID says in the environment of the processes of a role on a node."""
    return f"{cluster.name}/{node.name}/{role}"


def state_dir(cluster: Cluster) -> str:
    """As sh text: expands to the folder on the node that holds our logs and pid files."""
    return f'"$HOME"/.milepost/{shlex.quote(cluster.name)}'


def _ours(cluster: Cluster, node: Node, role: str) -> str:
    """sh text that defines ``ours``, which prints the pids of a role's processes, ``d``, the folder of their
    logs, and ``leader``, the pid of the one that was started."""
    wanted = shlex.quote(f"MILEPOST_ID={identity(cluster, node, role)}")
    return (
        f"ours() {{ grep -slzxF {wanted} /proc/[0-9]*/environ | tr -dc '0-9\\n'; }}\n"
        f"d={state_dir(cluster)}\n"
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
) -> Cmd:
    """Start ``argv`` in a session of its own, output to <role>.log on the node. Returns at once.

    ``setup`` is sh text that runs before it.
    """
    ident = identity(cluster, node, role)
    own = {**env, "MILEPOST_ID": ident, "SPT_NOENV": "1", "PYTHONUNBUFFERED": "1"}
    shown = f"{environment(env)} {command(argv)}".strip()
    text = (
        "umask 077\n"
        'while IFS= read -r line; do case $line in *=*) export "${line%%=*}=${line#*=}";; esac; done\n'
        f"d={state_dir(cluster)}\n"
        'mkdir -p "$d" && cd "$d" || exit 1\n'
        f"if [ -s {role}.log ]; then mv -f {role}.log {role}.log.1; fi\n"
        # A process whose pid or log cannot be written could never be found or read again.
        f"echo writable 2>/dev/null > {role}.pid\n"
        f'[ -s {role}.pid ] || {{ echo "cannot write in $d:"; df -Pk "$d"; '
        'echo "No space left on device, or no permission"; exit 1; }\n'
        f"{setup}{environment(own)} setsid nohup {command(argv)} > {role}.log 2>&1 < /dev/null &\n"
        f"echo $! > {role}.pid\n"
        f'echo "started process $!, log $d/{role}.log"\n'
    )
    return Cmd(key=key, text=text, mutates=True, timeout=30, show=shown, quiet=True, secrets=SERVER_SECRETS)


def follow(cluster: Cluster, role: str, key: str, timeout: float, stop: object, beside: str = "") -> Cmd:
    """The role's log from its first line, until ``stop`` says so or its process is gone.

    ``beside`` is an sh command that is tried every few seconds meanwhile: when it succeeds, ANSWERS is
    printed among the lines.
    """
    # What runs beside ends with the tail that takes this shell's place.
    watch = (
        f"( while sleep 2 && kill -0 $$ 2>/dev/null; do if {beside}; then sleep 1; "
        f"echo {shlex.quote(ANSWERS)}; break; fi; done ) </dev/null 2>/dev/null &\n"
        if beside
        else ""
    )
    text = (
        f"cd {state_dir(cluster)} || exit 1\n"
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
    """What is there already: our processes, who listens on ``port``, and Ray or vLLM that is not ours."""
    text = (
        _ours(cluster, node, role)
        + "echo ours: $(ours)\n"
        + 'if [ -n "$leader" ] && ours | grep -qx "$leader"; then echo "leader: $leader"; fi\n'
        + f"hex=$(printf '%04X' {int(port)})\n"
        + 'if cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | grep -q ":$hex [0-9A-F]*:0000 0A "; '
        + f"then echo 'port {int(port)}: listening'; else echo 'port {int(port)}: free'; fi\n"
        # The brackets keep this very text, which is in the command line of the shell that runs it, out.
        + "others='[r]aylet/raylet|[g]cs/gcs_server|bin/[v]llm.*serve'\n"
        + 'for c in $(grep -slE "$others" /proc/[0-9]*/cmdline); do\n'
        + "  p=${c#/proc/}; p=${p%/cmdline}\n"
        + '  grep -qzs "^MILEPOST_ID=" "/proc/$p/environ" && continue\n'
        + "  echo \"other: $p $(tr '\\0' ' ' < \"$c\" 2>/dev/null | cut -c1-160)\"\n"
        + "done\n"
        + "exit 0\n"
    )
    return Cmd(
        key=key, text=text, quiet=True, timeout=20, show=f"(is {role} there already? who holds {port}?)"
    )


def stop(cluster: Cluster, node: Node, role: str, key: str = "stop", grace: int = 10) -> Cmd:
    """End every process of a role: TERM its leader, after ``grace`` seconds KILL what is left of ours."""
    text = (
        _ours(cluster, node, role)
        + "all=$(ours); n=$(echo $all | wc -w)\n"
        + 'if [ "$n" -eq 0 ]; then echo "nothing of ours runs"; exit 0; fi\n'
        + 'if echo "$all" | grep -qx "$leader"; then kill -TERM "$leader" 2>/dev/null; '
        + "else kill -TERM $all 2>/dev/null; fi\n"
        + f'i=0; while [ $i -lt {grace * 5} ] && [ -n "$(ours)" ]; do sleep 0.2; i=$((i+1)); done\n'
        + 'i=0; while [ $i -lt 25 ] && [ -n "$(ours)" ]; do kill -KILL $(ours) 2>/dev/null; '
        + "sleep 0.2; i=$((i+1)); done\n"
        + "left=$(ours)\n"
        + 'if [ -n "$left" ]; then echo "still there:" $left; exit 1; fi\n'
        + f'rm -f "$d"/{role}.pid\n'
        + 'echo "ended $n processes"\n'
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
    """Reads what ``look`` printed."""

    def __init__(self, text: str) -> None:
        lines = text.splitlines()
        self.ours = next((x.split()[1:] for x in lines if x.startswith("ours:")), [])
        self.leader = next((x.split()[1] for x in lines if x.startswith("leader:")), "")
        self.listening = any(x.startswith("port ") and x.endswith(": listening") for x in lines)
        self.others = [x.removeprefix("other: ") for x in lines if x.startswith("other:")]
