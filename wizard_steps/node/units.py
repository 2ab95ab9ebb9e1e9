"""systemd units for what milepost starts: how they are written, looked at, started and removed (their text:
unit_script.py). A login as root gets system units, any other one user units (with lingering).
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from wizard_steps.cluster.file import Cluster
from wizard_steps.model import Cmd, Node
from wizard_steps.node.place import RAY, SERVE
from wizard_steps.node.remote import SERVER_SECRETS, UNIT_STOPS, service_name, state_dir
from wizard_steps.node.unit_script import MARK, Unit, script_text, spec_of, unit_text

#: sh text: where this login's units are, and its systemctl. The lab's nodes have a folder of their own, and a
#: stand-in for systemctl.
_HERE = (
    'if [ "$(id -u)" = 0 ]; then u=/etc/systemd/system; m=--system; t=multi-user.target; '
    "else u=${XDG_CONFIG_HOME:-$HOME/.config}/systemd/user; m=--user; t=default.target; "
    "XDG_RUNTIME_DIR=${XDG_RUNTIME_DIR:-/run/user/$(id -u)}; export XDG_RUNTIME_DIR; fi\n"
    "u=${MILEPOST_UNITS:-$u}\n"
)


#: sh text: whether this user's services start at boot.
_LINGERS = '[ -e "/var/lib/systemd/linger/$(id -un)" ]'
_LIFE = '[ -s life ] || { echo "$d/life is not there: nothing was started here by a walk"; exit 1; }\n'


def look(cluster: Cluster, node: Node) -> Cmd:
    """Whether systemd runs the machine, who logs in, and which units of the cluster are there."""
    # No star within quotes: the name alone is quoted.
    pattern = "*".join(map(shlex.quote, service_name(cluster, node, "@").split("@")))
    text = (
        _HERE
        + 'echo "uid: $(id -u)"; echo "init: $(cat /proc/1/comm 2>/dev/null)"\n'
        + '[ -d /run/systemd/system ] || [ -n "$MILEPOST_UNITS" ] && echo systemd: yes || echo systemd: no\n'
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
        ":\n" if units[0].attended else _LIFE,
        '(umask 022; mkdir -p "$u") || exit 1\n',
        f'[ $m = --system ] || {_LINGERS} || {{ loginctl enable-linger "$(id -un)" && : > lingering; }} || '
        'echo "lingering: not switched on"\n',
        # That starts the user's own systemd where no login has: it needs a moment.
        "i=0; until systemctl $m show -p Version >/dev/null 2>&1 || [ $i -ge 100 ]; do i=$((i+1)); "
        "sleep 0.2; done\n",
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
            f"printf '%s\\n' {shlex.quote(spec_of(unit).line())} > {unit.role}.unit.spec || exit 1\n",
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
    """`systemctl VERB` of a node's units (start, stop, restart). Somebody asked for it, so it counts as no
    repetition of a start that failed: nothing waits longer for it."""
    files = " ".join(shlex.quote(service_name(cluster, node, role)) for role in roles)
    text = (
        f"{_HERE}rm -f {state_dir(cluster, node)}/*.tries\n"
        f"systemctl $m reset-failed {files} 2>/dev/null; systemctl $m {verb} {files} 2>&1\n"
    )
    shown = f"systemctl {verb} {files}"
    return Cmd(key, text, mutates=True, timeout=UNIT_STOPS + 60.0, show=shown)


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
    return Cmd("units", text, mutates=True, timeout=2 * UNIT_STOPS + 20.0, quiet=True, show=show)


def remove(cluster: Cluster, node: Node) -> Cmd:
    """Stops, disables and removes what ``write`` wrote, and nothing else."""
    each = (
        'systemctl $m disable --now "$b" 2>&1; systemctl $m reset-failed "$b" 2>/dev/null; '
        'rm -f "$f" && echo "removed $f"'
    )
    tidy = (
        f"cd {state_dir(cluster, node)} 2>/dev/null && "
        "rm -f secrets mtu *.unit.sh *.unit.spec *.tries *.unit.log*\n"
        "[ $none = yes ] || systemctl $m daemon-reload\n"
        # Where it was switched on for these, and no other cluster's need it.
        '[ ! -e lingering ] || ls "$u"/milepost-* >/dev/null 2>&1 || '
        '{ loginctl disable-linger "$(id -un)" && rm -f lingering && echo "lingering is off again"; }\n'
    )
    text = _each(cluster, node, each).removesuffix("exit $rc\n") + tidy + "exit $rc\n"
    return Cmd("disable", text, mutates=True, timeout=2 * UNIT_STOPS + 20.0, quiet=True,
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
