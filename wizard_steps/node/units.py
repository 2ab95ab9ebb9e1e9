"""systemd units for what milepost starts on a host: their text, the script they run; how they are written,
started and removed. A login as root gets system units, any other one user units (with lingering).

The script waits for what has to be there (address, GPUs, the head, all GPUs of Ray), keeps the identity and
the logs of a start by the wizard (see ``remote``), and then becomes the program. A start that fails is tried
again after a growing pause, and six times in an hour at most: a broken model must not keep a machine busy.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from msgspec import Struct

from wizard_steps.cluster.file import Cluster
from wizard_steps.model import Cmd, Node
from wizard_steps.node.place import RAY, SERVE, Service
from wizard_steps.node.ray_token import setup
from wizard_steps.node.remote import SERVER_SECRETS, environment, identity, service_name, state_dir
from wizard_steps.node.spec import Spec

#: Starts in an hour, and seconds before the first repetition; each further one waits longer.
CAP, PAUSE = 6, 15
#: Seconds that a script waits for the address, the head and Ray's GPUs.
_ADDRESS, _HEAD = 120, 900
#: Seconds a service gets to end by itself.
_STOP = 60
MARK = "Written by milepost"


class Unit(Struct, frozen=True):
    """``needs_gpus``: GPUs that nvidia-smi must list first; ``head``: HOST:PORT that must answer first;
    ``ray_gpus``: GPUs that Ray must have first. 0 and "" where nothing is waited for."""

    service: Service
    title: str
    needs_gpus: int = 0
    ip: str = ""
    head: str = ""
    ray_gpus: int = 0
    after: str = ""

    @property
    def node(self) -> Node:
        return self.service.node

    @property
    def role(self) -> str:
        return self.service.role


def unit_text(cluster: Cluster, unit: Unit) -> str:
    """The unit; @HOME@ and @TARGET@ are filled in on the node, which knows them."""
    before = service_name(cluster, unit.node, unit.after) if unit.after else ""
    script = f"@HOME@/.milepost/{cluster.name}/{unit.node.name}/{unit.role}.unit.sh"
    lines = [
        f"# {MARK}: `milepost disable` removes it.",
        "[Unit]",
        f"Description=milepost {cluster.name}: {unit.title}",
        "Wants=network-online.target",
        "After=network-online.target remote-fs.target",
        "After=nvidia-persistenced.service nvidia-fabricmanager.service",
        *([f"Wants={before}", f"After={before}", f"PartOf={before}"] if before else []),
        "StartLimitIntervalSec=3600",
        f"StartLimitBurst={CAP}",
        "",
        "[Service]",
        "Type=exec",
        f'ExecStart=/bin/sh "{_percent(script)}"',
        "Restart=on-failure",
        f"RestartSec={PAUSE}",
        f"TimeoutStopSec={_STOP}",
        "LimitNOFILE=65536",
        "LimitMEMLOCK=infinity",
        "",
        "[Install]",
        "WantedBy=@TARGET@",
    ]
    return "\n".join(lines) + "\n"


def _percent(text: str) -> str:
    return text.replace("%", "%%").replace("$", "$$").replace("\\", "\\\\").replace('"', '\\"')


#: Everybody's code on a Ray inherits its environment: only the server gets them.
_SECRETS = (
    "if [ -r secrets ]; then while IFS= read -r line; do case $line in "
    + "|".join(f"{one}=*" for one in SERVER_SECRETS)
    + ') export "$line";; esac; done < secrets; fi'
)


def _spec(unit: Unit) -> Spec:
    """Without the start it hangs on: that is another one after each boot."""
    return Spec(unit.service.argv, unit.service.env)


def script_text(cluster: Cluster, unit: Unit) -> str:
    """POSIX sh. Its log is the role's own, so that walks and `milepost top` read it as ever."""
    role, service = unit.role, unit.service
    ident = identity(cluster, unit.node, role)
    own = {**service.env, "MILEPOST_ID": ident, "SPT_NOENV": "1", "PYTHONUNBUFFERED": "1"}
    kept = shlex.quote(_spec(unit).line())
    return "\n".join(
        [
            "#!/bin/sh",
            f"# {MARK} for {ident}: what its unit runs. `milepost disable` removes it.",
            'umask 077; cd "$(dirname "$0")" || exit 78',
            "PATH=$PATH:/usr/lib/wsl/lib:/usr/local/cuda/bin; export PATH",
            f"if [ -s {role}.log ]; then mv -f {role}.log {role}.log.1; fi",
            f"exec > {role}.log 2>&1 < /dev/null",
            'fail() { echo "milepost: $*"; exit 75; }',
            # A start within half an hour of the last one counts as a repetition.
            f'n=0; if [ -n "$(find {role}.tries -mmin -30 2>/dev/null)" ]; then n=$(cat {role}.tries); fi',
            "case $n in ''|*[!0-9]*) n=0;; esac",
            f'echo $((n+1)) > {role}.tries; [ "$n" -lt 2 ] || sleep $(( n * {PAUSE} ))',
            *_waits(cluster, unit),
            _SECRETS if role == SERVE else ":",
            setup(cluster, unit.node).strip() or ":",
            '[ -s life ] || fail "$PWD/life is not there: walk again"',
            'export "$(cat life)"',
            f"printf '%s\\n%s\\n' \"$(cat /proc/sys/kernel/random/uuid)\" {kept} > {role}.start",
            f"echo $$ > {role}.pid",
            f"exec env {environment(own)} {shlex.join(service.argv)}",
            "",
        ]
    )


def _waits(cluster: Cluster, unit: Unit) -> list[str]:
    python = shlex.quote(f"{cluster.venv}/bin/python")
    lines = []
    if unit.ip:
        test = f"ip -o addr show 2>/dev/null | grep -qF {shlex.quote(f' {unit.ip}/')}"
        lines.append(_until(test, _ADDRESS, f"no interface has {unit.ip}"))
        lines.append(
            'if [ -s mtu ]; then read -r dev mtu < mtu; now=$(cat "/sys/class/net/${dev%@*}/mtu"); '
            '[ "$now" = "$mtu" ] || fail "MTU of $dev is $now, and was $mtu"; fi'
        )
    if unit.needs_gpus:
        test = f'[ "$(nvidia-smi -L 2>/dev/null | grep -c "^GPU ")" -ge {unit.needs_gpus} ]'
        lines.append(_until(test, _ADDRESS, f"nvidia-smi does not list {unit.needs_gpus} GPUs"))
    if unit.head:
        host, _, port = unit.head.rpartition(":")
        ask = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 3).close()"
        test = f"{python} -I -c {shlex.quote(ask)} {shlex.quote(host)} {port} 2>/dev/null"
        lines.append(_until(test, _HEAD, f"the head does not answer at {unit.head}"))
    if unit.ray_gpus:
        ray = shlex.quote(f"{cluster.venv}/bin/ray")
        address = shlex.quote(unit.service.env.get("RAY_ADDRESS", "auto"))
        lines.append(setup(cluster, unit.node).strip() or ":")
        count = (
            f"{ray} status --address={address} 2>/dev/null | sed -n 's|.*/\\([0-9]*\\)[.0-9]* GPU.*|\\1|p'"
        )
        test = f'[ "$({count} | head -n 1 | grep . || echo 0)" -ge {unit.ray_gpus} ]'
        lines.append(_until(test, _HEAD, f"Ray does not have {unit.ray_gpus} GPUs"))
    return lines


def _until(test: str, limit: int, why: str) -> str:
    return (
        f"i=0; until {test}; do i=$((i+1)); [ $i -lt {limit // 3} ] || "
        f"fail {shlex.quote(f'{why} after {limit} s')}; sleep 3; done"
    )


#: sh text: where this login's units are, and its systemctl.
_HERE = (
    'if [ "$(id -u)" = 0 ]; then u=/etc/systemd/system; m=--system; t=multi-user.target; '
    "else u=${XDG_CONFIG_HOME:-$HOME/.config}/systemd/user; m=--user; t=default.target; "
    "XDG_RUNTIME_DIR=${XDG_RUNTIME_DIR:-/run/user/$(id -u)}; export XDG_RUNTIME_DIR; fi\n"
)


def look(cluster: Cluster, node: Node) -> Cmd:
    """Whether systemd runs the machine, who logs in, and which units of the cluster are there."""
    pattern = shlex.quote(service_name(cluster, node, "@")).replace("@", "'*'")
    text = (
        _HERE
        + 'echo "uid: $(id -u)"; echo "init: $(cat /proc/1/comm 2>/dev/null)"\n'
        + "[ -d /run/systemd/system ] && echo systemd: yes || echo systemd: no\n"
        + 'echo "linger: $(loginctl show-user "$(id -un)" -p Linger --value 2>/dev/null || echo unknown)"\n'
        + 'echo "manager: $(systemctl $m is-system-running 2>&1 | head -n 1)"\n'
        + f'for f in "$u"/{pattern}; do [ -e "$f" ] && echo "unit: ${{f##*/}}"; done\nexit 0\n'
    )
    return Cmd("look", text, quiet=True, timeout=30, show="(does systemd run this machine?)")


def write(cluster: Cluster, units: Sequence[Unit]) -> Cmd:
    """Writes a node's units, scripts and secrets, has systemd check them, and enables them. A file of that
    name that milepost did not write is kept, and the command fails. ``show`` is the text of the units."""
    node = units[0].node
    lines = [
        "umask 077\n",
        's=; while IFS= read -r line; do case $line in *=*) s="$s$line\n";; esac; done\n',
        _HERE,
        f'd={state_dir(cluster, node)}\nmkdir -p "$d" && cd "$d" || exit 1\n',
        # The file itself, not a link somebody left.
        'rm -f secrets; [ -z "$s" ] || { printf %s "$s" > secrets && chmod 600 secrets; } || exit 1\n',
        '[ -s life ] || { echo "$d/life is not there: nothing was started here by a walk"; exit 1; }\n',
        '(umask 022; mkdir -p "$u") || exit 1\n',
        '[ $m = --system ] || loginctl enable-linger "$(id -un)" || echo "lingering: not switched on"\n',
        # What the scripts compare at every start.
        f"dev=$(ip -o addr show | grep -F {shlex.quote(f' {units[0].ip}/')} | awk 'NR == 1 {{print $2}}')\n",
        '[ -z "$dev" ] || echo "$dev $(cat "/sys/class/net/${dev%@*}/mtu")" > mtu\n',
        "h=$(printf %s \"$HOME\" | sed 's/[&|\\\\]/\\\\&/g')\n",
    ]
    for unit in units:
        file = service_name(cluster, node, unit.role)
        script = shlex.quote(script_text(cluster, unit))
        body = shlex.quote(unit_text(cluster, unit))
        lines += [
            f"printf %s {script} > {unit.role}.unit.sh || exit 1\n",
            f"printf '%s\\n' {shlex.quote(_spec(unit).line())} > {unit.role}.unit.spec || exit 1\n",
            f'f="$u"/{shlex.quote(file)}\n',
            f'[ ! -e "$f" ] || grep -q {shlex.quote(MARK)} "$f" || '
            '{ echo "$f is there and milepost did not write it"; exit 1; }\n',
            f"rm -f {unit.role}.tries; (umask 022; printf %s {body} | "
            'sed "s|@HOME@|$h|g; s|@TARGET@|$t|g" > "$f") || exit 1\n',
            'echo "wrote $f"\n',
            'systemd-analyze $m verify "$f" 2>&1 | grep -F "${f##*/}" | sed "s/^/verify: /"\n',
        ]
    files = " ".join(shlex.quote(service_name(cluster, node, unit.role)) for unit in units)
    lines.append(
        f"systemctl $m daemon-reload && systemctl $m enable {files} 2>&1 || exit 1\necho enabled: {files}\n"
    )
    shown = "\n".join(
        f"(write {service_name(cluster, node, unit.role)})\n{unit_text(cluster, unit)}" for unit in units
    )
    secrets = SERVER_SECRETS if any(unit.role == SERVE for unit in units) else ()
    return Cmd("write", "".join(lines), mutates=True, timeout=60, show=shown, secrets=secrets)


def act(cluster: Cluster, node: Node, verb: str, roles: Sequence[str], key: str) -> Cmd:
    """`systemctl VERB` of a node's units (start, stop, restart)."""
    files = " ".join(shlex.quote(service_name(cluster, node, role)) for role in roles)
    text = f"{_HERE}systemctl $m reset-failed {files} 2>/dev/null; systemctl $m {verb} {files} 2>&1\n"
    shown = f"systemctl {verb} {files}"
    return Cmd(key, text, mutates=True, timeout=_STOP + 60.0, show=shown)


def state(cluster: Cluster, units: Sequence[Unit]) -> Cmd:
    """What became of a node's units: one ``ROLE: STATE, STARTS; LAST LINE`` each."""
    node = units[0].node
    lines = [_HERE, f"cd {state_dir(cluster, node)} || exit 1\n"]
    for unit in units:
        asked = f"systemctl $m show -p %s --value {shlex.quote(service_name(cluster, node, unit.role))}"
        values = ", ".join(
            f"{word}$({asked % name})" for name, word in (("ActiveState", ""), ("NRestarts", "restarts "))
        )
        last = f"$(tail -n 1 {unit.role}.log 2>/dev/null | tr -d '\\000-\\037' | cut -c1-200)"
        lines.append(f'echo "{unit.role}: {values}; last line: {last}"\n')
    return Cmd("state", "".join(lines), timeout=30, quiet=True, show="systemctl status 'milepost-*'")


def stop_all(cluster: Cluster, node: Node) -> Cmd:
    """Stops the units of a node where there are any; they stay enabled. For `milepost down`."""
    text = _each(cluster, node, 'systemctl $m stop "$b" && echo "stopped $b; it stays enabled"')
    show = "(stop the units of this cluster)"
    return Cmd("units", text, mutates=True, timeout=2 * _STOP + 20.0, quiet=True, show=show)


def remove(cluster: Cluster, node: Node) -> Cmd:
    """Stops, disables and removes what ``write`` wrote, and nothing else."""
    each = (
        'systemctl $m disable --now "$b" 2>&1; systemctl $m reset-failed "$b" 2>/dev/null; '
        'rm -f "$f" && echo "removed $f"'
    )
    tidy = (
        f"cd {state_dir(cluster, node)} 2>/dev/null && rm -f secrets mtu *.unit.sh *.unit.spec *.tries\n"
        "[ $none = yes ] || systemctl $m daemon-reload\n"
    )
    text = _each(cluster, node, each).removesuffix("exit $rc\n") + tidy + "exit $rc\n"
    return Cmd("disable", text, mutates=True, timeout=2 * _STOP + 20.0, quiet=True,
               show="(stop, disable and remove the units of this cluster)")  # fmt: skip


def _each(cluster: Cluster, node: Node, what: str) -> str:
    """sh text that does ``what`` with every unit of ours on a node: serve first, for it hangs on Ray."""
    files = " ".join(f'"$u"/{shlex.quote(service_name(cluster, node, role))}' for role in (SERVE, RAY))
    return (
        f"{_HERE}rc=0; none=yes\n"
        f"for f in {files}; do\n"
        f'  grep -qs {shlex.quote(MARK)} "$f" || continue; b=${{f##*/}}; none=no\n'
        f"  {{ {what}; }} || rc=1\n"
        "done\n"
        '[ $none = no ] || echo "no units of this cluster"\n'
        "exit $rc\n"
    )
