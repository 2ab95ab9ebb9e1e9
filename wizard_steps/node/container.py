"""A node's container of ours: looked at, started, followed, entered, removed.

What somebody did to it is told as that: stopped, killed by the kernel for memory, removed, started again. Its
last words and its state are in the recording before it is removed, and its logs on the node.
"""

from __future__ import annotations

import re
import shlex

from msgspec.structs import replace

from wizard_steps.cluster.file import Cluster
from wizard_steps.model import Cmd, Node, Result
from wizard_steps.node.container_state import LISTENS
from wizard_steps.node.docker import (
    LABEL,
    RAY_IN_CONTAINER,
    container,
    docker,
    log_folder,
    log_inside,
    own_folders,
    spec_of,
)
from wizard_steps.node.place import ALIVE
from wizard_steps.node.program import program
from wizard_steps.node.remote import OF_CLUSTER, state_dir

#: Label with the spec (see spec.py) that a container was started with.
STARTED = "milepost.started"
#: Sessions of Ray that stay on the node's disk: this one's and some of before. Ray rotates the logs in one.
SESSIONS = 5
#: What stands before the state of a container, for the recording, when it is removed.
BEFORE_REMOVAL = "state before removal: "
#: Lines of the log of a container that has ended, in the recording.
LAST = 40
#: What ``launch`` prints of a mounted folder that the container's user may not write.
READ_ONLY = "not writable in the container: "
_NO_RAYLET = "grep -qsE '(^|/)[r]aylet/raylet' /proc/[0-9]*/cmdline || echo 'raylet: none'"
_UNITS = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
#: Bytes after which a log of ours begins anew where the cluster file sets no size.
_LOG_SIZE = 1 << 40


def _inspect(cluster: Cluster, node: Node, form: str) -> str:
    """sh text: one value of our container; blanks become underscores."""
    it, name = docker(cluster), shlex.quote(container(cluster, node))
    return f"$({it} container inspect -f {shlex.quote(form)} {name} 2>/dev/null | tr ' ' _)"


def _instance(cluster: Cluster, node: Node) -> str:
    """sh text: the id of this start of the container: one that was started again is another."""
    return _inspect(cluster, node, "{{.Id}}@{{.State.StartedAt}}")


def _ours(cluster: Cluster, node: Node) -> str:
    """Words of `docker ps` for this node's containers of ours, whatever they are called now."""
    marks = (f"{LABEL}={cluster.name}", f"milepost.node={container(cluster, node)}")
    return " ".join(f"--filter {shlex.quote('label=' + mark)}" for mark in marks)


def _since(cluster: Cluster, node: Node) -> str:
    """sh text: $since, a flag of `docker logs` for what was said since this start of the container: what an
    earlier life of it had printed proves nothing of this one."""
    it, name = docker(cluster), shlex.quote(container(cluster, node))
    at = shlex.quote("{{.State.StartedAt}}")
    return (
        f"s=$({it} container inspect -f {at} {name} 2>/dev/null | sed 's/ [A-Z][A-Za-z]*$//')\n"
        # podman notes its start when it has returned: on a busy machine the first lines are older than that.
        's=$(date -d "$s" +%s 2>/dev/null) && since="--since $((s - 2))" || since=\n'
    )


def launch(cluster: Cluster, node: Node, line: str, show: str) -> Cmd:
    """Start the container of ``line`` (see docker.run_line); one of ours that has ended is removed first."""
    name, it = shlex.quote(container(cluster, node)), docker(cluster)
    state = shlex.quote('{{index .Config.Labels "milepost.cluster"}} {{.State.Running}}')
    folders = own_folders(cluster, node)
    inside = " ".join(shlex.quote(folder) for folder in folders.values())
    look = (
        f"for d in {inside}; do\n"
        'f=$(mktemp "$d/.milepost-XXXXXX" 2>/dev/null) && rm -f "$f" || '
        f'echo "{READ_ONLY}$d for $(id -un 2>/dev/null || id -u)"; done\n'
        f"cd {RAY_IN_CONTAINER} && ls -dt session_2* 2>/dev/null | tail -n +{SESSIONS + 1} | "
        'while read -r s; do rm -rf "$s"; done'
    )
    text = (
        f"state=$({it} container inspect -f {state} {name} 2>/dev/null)\n"
        f'if [ "$state" = {shlex.quote(cluster.name + " false")} ]; then\n'
        f"ids={name}\n{_keep_logs(cluster, node)}{it} rm {name} >/dev/null; fi\n"
        f"{_folders(cluster, node)}"
        f"id=$({line}) || exit 1\n"
        f'echo "started container {name} $(echo "$id" | tail -n 1 | cut -c1-12)"\n'
        f'echo "instance: {_instance(cluster, node)}"\n'
        f"{it} exec {name} /bin/sh -c {shlex.quote(look)} 2>/dev/null\nexit 0\n"
    )
    # Docker makes a mounted folder that is missing as root, and podman refuses it.
    made = f"mkdir -p {' '.join(folders)}\n{show}" if show else ""
    return Cmd("launch", text, mutates=True, timeout=120, show=made)


def _folders(cluster: Cluster, node: Node) -> str:
    """sh text: makes the mounted folders as the SSH user; the engine would make them as root. Logs are nobody
    else's business."""
    private = " ".join(name for name, inside in own_folders(cluster, node).items() if ".cache" not in inside)
    others = " ".join(name for name, inside in own_folders(cluster, node).items() if ".cache" in inside)
    logs = f"(umask 077; mkdir -p {private}) || exit 1\n" if private else ""
    return f"mkdir -p {others} || exit 1\n{logs}"


def also_in_docker_logs(cluster: Cluster, role: str) -> str:
    """sh text before a process in the container: what it prints goes to its log, and from there to
    `docker logs` too, where an operator looks first. A log that has grown to docker.log_size begins anew."""
    text = cluster.docker.log_size
    size = int(text[:-1]) * _UNITS[text[-1]] if text[-1:] in _UNITS else int(text or _LOG_SIZE)
    log = shlex.quote(f"{role}.log")
    return (
        # Appending: after the log was emptied, a file position of before would leave a hole in it.
        f"exec >> {log} 2>&1\nchmod a+r {log}\nme=$(exec sh -c 'echo $PPID')\n"
        f'[ ! -w /proc/1/fd/1 ] || tail -n +1 -s 0.5 --pid="$me" -F {log} > /proc/1/fd/1 2>/dev/null &\n'
        f'( while sleep 20 && kill -0 "$me"; do [ "$(wc -c < {log})" -lt {size} ] || '
        f"{{ cp {log} {log}.1 && : > {log}; }}; done ) >/dev/null 2>&1 &\n"
    )


def look(
    cluster: Cluster, node: Node, line: str, port: int, key: str = "look", then: str = "", killed: int = 0
) -> Cmd:
    """What is there already, in the words of remote.look: our container, and who listens on ``port``.

    ``line``: the `docker run` of today; empty where any container of ours will do. ``ALIVE`` as key: it was
    started in this walk, so that none is one too few. ``then``: the start that the walk has seen, ``killed``:
    how many processes the kernel had killed in it before.
    """
    missing = "gone" if key == ALIVE else "none"
    name, it = shlex.quote(container(cluster, node)), docker(cluster)
    form = shlex.quote(
        '{{index .Config.Labels "milepost.cluster"}} {{index .Config.Labels "milepost.spec"}} '
        "{{.State.Status}} {{.Id}} {{.State.ExitCode}} {{.State.OOMKilled}} {{.Image}}"
    )
    started = shlex.quote(f'{{{{index .Config.Labels "{STARTED}"}}}}')
    wanted, spec = shlex.quote(cluster.name), spec_of(line)
    kept = f"{_ours(cluster, node)} --filter label=milepost.spec"
    renamed = f"$({it} ps {kept} --format '{{{{.Names}}}}' | head -n 1)"
    told = f"echo container {name} was started again"
    again = f'[ -z "$i" ] || [ "$i" = {shlex.quote(then)} ] || {told}\n' if then else ""
    word = "oom-kills" if key == ALIVE else "killed-before"
    counted = f'if [ "$3" = running ]; then\n{_oom_kills(cluster, node, word, killed)}fi\n'
    text = (
        f"{it} ps -q >/dev/null || exit 1\n"
        f"left_by_ray() {{\n{_since(cluster, node)}"
        f"{it} logs $since {name} 2>/dev/null | grep -q 'Ray runtime started' && "
        f"{it} exec {name} /bin/sh -c {shlex.quote(_NO_RAYLET)} 2>/dev/null | grep -q 'raylet: none'\n}}\n"
        "seconds() { date -d \"$(echo \"$1\" | tr _ ' ' | sed 's/ [A-Z][A-Za-z]*$//')\" +%s 2>/dev/null; }\n"
        f"i=; set -- $({it} container inspect -f {form} {name} 2>/dev/null)\n"
        f"if [ $# -eq 0 ]; then r={renamed}\n"
        f'  if [ -n "$r" ]; then echo "container: renamed to $r"; else echo "container: {missing}"; fi\n'
        f"  echo container {name}\n"
        f'elif [ $# -ne 7 ] || [ "$1" != {wanted} ]; then echo "container: not ours"\n'
        'elif [ "$3" = paused ]; then echo "ours: $4"; echo "container: paused"\n'
        'elif [ "$3" != running ]; then case $3 in\n'
        "  created | configured | initialized) echo 'container: never ran' ;;\n"
        '  restarting) echo "ours: $4"; echo "container: restarted after exit code $5" ;;\n'
        '  *) echo "container: ended with exit code $5" ;; esac\n'
        f'  echo "oom-killed: $6"; echo container {name}\n'
        f'  echo "ended: {_inspect(cluster, node, "{{.State.FinishedAt}}")}"\n'
        f"{_oom_kills(cluster, node, 'ended-for-memory')}"
        f"  {it} logs --tail {LAST} {name} 2>&1 | LC_ALL=C tr -c '\\n -~' '?' | sed 's/^/log: /'\n"
        # `ray start --block` stays when somebody runs `ray stop`: the container runs on without it.
        "elif left_by_ray; then\n"
        '  echo "ours: $4"; echo "container: runs without Ray"\n'
        f"else s=$({it} container inspect -f {started} {name}); case $s in '{{'*) ;; *) s=;; esac\n"
        f'  if [ -z "$s" ] && [ -n "{spec}" ] && [ "$2" != "{spec}" ]; then '
        'echo "ours: $4"; echo "container: other settings"\n'
        '  else echo "ours: $4"; echo "leader: $4"; echo "container: running"; echo "image-id: $7"\n'
        f'  i={_instance(cluster, node)}; echo "instance: $i"; printf "spec: %s\\n" "$s"\n'
        f"  made={_inspect(cluster, node, '{{.Created}}')}; at=${{i#*@}}\n"
        # What an engine was slow to start is no second start.
        '  a=$(seconds "$made") && b=$(seconds "$at") && [ $((b - a)) -gt 120 ] && '
        'echo "again: $at, made at $made"; fi; fi\n'
        f"{again}{counted}"
        f"hex=$(printf '%04X' {int(port)})\n"
        'if cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | grep -q ":$hex [0-9A-F]*:0000 0A "; '
        f"then echo 'port {int(port)}: listening'; else echo 'port {int(port)}: free'; fi\n"
        f"{beside(cluster, node, port)}exit 0\n"
    )
    return Cmd(key, text, quiet=True, timeout=40, show=f"{it} container inspect {name}")


def _oom_kills(cluster: Cluster, node: Node, word: str, before: int = 0) -> str:
    """sh text: what the kernel has killed in a container, since it was ``before``."""
    it, name = docker(cluster), shlex.quote(container(cluster, node))
    form = shlex.quote("{{.Id}} {{.State.Pid}} {{.HostConfig.Memory}}")
    asked = f"set -- $({it} container inspect -f {form} {name} 2>/dev/null); id=$1 pid=$2 limit=$3"
    asked += f" word={word} before={int(before)}"
    return f"( {asked}\n{program('oom.sh')})\n"


def beside(cluster: Cluster, node: Node, port: int) -> str:
    """sh text: who listens on ``port``; the other containers on the host's network or with that port
    published, and the cluster that milepost started one for. One of them may be the stranger on the port.
    podman has no filter for them."""
    it, name = docker(cluster), shlex.quote(container(cluster, node))
    form = shlex.quote(
        # Without `range`: podman 4.3 then ends no line.
        "{{.HostConfig.NetworkMode}} {{.Id}} {{json .NetworkSettings.Ports}} {{.Name}} "
        f'{{{{with .Config.Labels}}}}{{{{index . "{LABEL}"}}}}{{{{end}}}}'
    )
    return (
        f"port={int(port)}\n{program('holder.sh')}"
        f"ids=$({it} ps -q 2>/dev/null)\n"
        f'[ -z "$ids" ] || {it} container inspect -f {form} $ids 2>/dev/null | '
        "while read -r net id ports c of; do published=\n"
        f'case $ports in *\'"HostPort":"{int(port)}"\'*) published=yes;; esac\n'
        f'case $net$published in host* | *yes) ;; *) continue;; esac; [ "${{c#/}}" != {name} ] || continue\n'
        f"case $of in '' | '<no value>') of= ;; *) of=\"{OF_CLUSTER}$of\";; esac\n"
        f'[ -z "$published" ] && {{ [ -z "$holder" ] || ! grep -qs "$id" "/proc/$holder/cgroup"; }} || '
        f'c="$c{LISTENS}{int(port)}"\n'
        "printf 'beside: %s%s\\n' \"${c#/}\" \"$of\"; done | LC_ALL=C tr -c '\\n -~' '?' | cut -c1-300\n"
    )


def logs(cluster: Cluster, node: Node, key: str, timeout: float, stop: object) -> Cmd:
    """The container's log since this start of it, until ``stop`` says so or the container has ended."""
    it, name = docker(cluster), shlex.quote(container(cluster, node))
    text = f"{_since(cluster, node)}exec {it} logs $since -f {name}\n"
    show = f"{it} logs -f {name}"
    return Cmd(key, text, timeout=timeout, stop=stop, show=show)  # type: ignore[arg-type]


def up(cluster: Cluster, node: Node) -> Cmd:
    """Two looks a moment apart: a container whose first process fails is gone after a blink."""
    name, it = container(cluster, node), docker(cluster)
    line = f"{it} container inspect -f 'container: {{{{.Name}}}} running: {{{{.State.Running}}}}' {name}"

    def running(result: Result) -> bool:
        return result.ok and "running: true" in result.text

    return Cmd("up", f"exec {line}\n", timeout=20, every=1.0, settle=2.0, until=running, show=line)


def inside(cluster: Cluster, node: Node, cmd: Cmd) -> Cmd:
    """``cmd`` run by a shell in the node's container. Standard input, and so every secret, goes along."""
    name = shlex.quote(container(cluster, node))
    line = f"{docker(cluster)} exec -i {name} /bin/sh -c"
    before = tuple(_shown(cluster, node, replace(cmd, show=one)) for one in cmd.formerly)
    text = f"exec {line} {shlex.quote(cmd.text)}\n"
    return replace(cmd, text=text, show=_shown(cluster, node, cmd), formerly=before)


def _shown(cluster: Cluster, node: Node, cmd: Cmd) -> str:
    """What a person could paste; words in brackets describe and are no command."""
    plain = cmd.show or cmd.text
    if plain.startswith("("):
        return f"(in {container(cluster, node)}) {plain}"
    env = "env " if re.match(r"\w+=", plain) else ""
    line = f"{docker(cluster)} exec {shlex.quote(container(cluster, node))}"
    # `~` and other signs would be the host's; pipes would end in its shell.
    if re.search(r"[~$;|&<>]", re.sub(r"'[^']*'", "", plain)):
        return f"{line} sh -c {shlex.quote(plain)}"
    return f"{line} {env}{plain}".strip()


def inside_if_running(cluster: Cluster, node: Node, cmd: Cmd) -> Cmd:
    """The same, for tidying up: a container that does not run has nothing inside that could be ended."""
    name, it = shlex.quote(container(cluster, node)), docker(cluster)
    wrapped = inside(cluster, node, cmd)
    test = f"$({it} container inspect -f '{{{{.State.Running}}}}' {name} 2>/dev/null)"
    text = f'if [ "{test}" != true ]; then echo "nothing of ours runs"; exit 0; fi\n{wrapped.text}'
    return replace(wrapped, text=text)


def _keep_logs(cluster: Cluster, node: Node) -> str:
    """sh text: what the containers $ids said, and their state, go to the node's own log folder and to the
    recording: removing them loses it."""
    it, d = docker(cluster), state_dir(cluster, node)
    inner = shlex.quote(f"{log_inside(cluster, node)}/serve.log")
    # A mounted log is on the node already.
    copy = "" if log_folder(cluster, node) else f"{it} cp $id:{inner} {d}/serve.log >/dev/null 2>&1; "
    return (
        f"mkdir -p {d}; for id in $ids; do {it} logs $id > {d}/container.log 2>&1\n"
        f"{it} container inspect $id > {d}/container.json 2>&1\n"
        f"{it} container inspect -f '{{{{json .State}}}}' $id 2>/dev/null | cut -c1-2000 | "
        f"sed 's/^/{BEFORE_REMOVAL}/'\n{copy}done\n"
    )


def remove(cluster: Cluster, node: Node, key: str = "stop") -> Cmd:
    """Stop and remove this node's containers of ours, found by label alone."""
    it = docker(cluster)
    filters = _ours(cluster, node)
    text = (
        f"ids=$({it} ps -aq {filters}) || exit 1\n"
        'if [ -z "$ids" ]; then echo "nothing of ours runs"; exit 0; fi\n'
        f"{it} stop -t 15 $ids >/dev/null\n{_keep_logs(cluster, node)}{it} rm -f $ids >/dev/null\n"
        f"left=$({it} ps -aq {filters}) || exit 1\n"
        'if [ -n "$left" ]; then echo "still there:" $left; exit 1; fi\n'
        'echo "removed" $(echo "$ids" | wc -w) "container(s)"\n'
    )
    show = f"{it} stop $({it} ps -q {filters}); {it} rm $({it} ps -aq {filters})"
    return Cmd(key, text, mutates=True, timeout=60, quiet=True, show=show)
