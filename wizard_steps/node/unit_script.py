"""The text of a systemd unit for what milepost starts, and of the script that it runs.

The script waits for what has to be there (engine, address, GPUs, the head, all GPUs of Ray), keeps the
identity and the logs of a start by the wizard (see ``remote``), and then becomes the program, or starts it in
its container and watches it. A start that fails is tried again after a growing pause, and six times in an
hour at most: a broken model must not keep a machine busy.
"""

from __future__ import annotations

import shlex

from msgspec import Struct

from wizard_steps.cluster.file import Cluster
from wizard_steps.model import Node
from wizard_steps.node.place import SERVE, Attended, Service
from wizard_steps.node.ray_token import setup
from wizard_steps.node.remote import SERVER_SECRETS, UNIT_STOPS, environment, identity, service_name
from wizard_steps.node.spec import Spec

#: Starts in an hour, and seconds before the first repetition; each further one waits longer.
CAP, PAUSE = 6, 15
#: Seconds that a script waits for the address, the head and Ray's GPUs.
_ADDRESS, _HEAD = 120, 900
MARK = "Written by milepost"


class Unit(Struct, frozen=True):
    """``needs_gpus``: GPUs that nvidia-smi must list first; ``head``: HOST:PORT that must answer first;
    ``ray_gpus``: GPUs that Ray must have first. 0 and "" where nothing is waited for. ``attended``: the
    program lives in a container, which the script starts and watches."""

    service: Service
    title: str
    needs_gpus: int = 0
    ip: str = ""
    head: str = ""
    ray_gpus: int = 0
    after: str = ""
    attended: Attended | None = None

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
        *(["After=docker.service podman.service"] if unit.attended else []),
        *([f"Wants={before}", f"After={before}", f"PartOf={before}"] if before else []),
        "StartLimitIntervalSec=3600",
        f"StartLimitBurst={CAP}",
        "",
        "[Service]",
        "Type=exec",
        f'ExecStart=/bin/sh "{_percent(script)}"',
        *([f'ExecStop=/bin/sh "{_percent(script)}" stop'] if unit.attended else []),
        # vLLM ends with 0 when it has lost a worker: every end but one that was asked for is a failure.
        "Restart=always",
        f"RestartSec={PAUSE}",
        f"TimeoutStopSec={UNIT_STOPS}",
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


def spec_of(unit: Unit) -> Spec:
    """Without the start it hangs on: that is another one after each boot."""
    return Spec(unit.service.argv, unit.service.env)


def script_text(cluster: Cluster, unit: Unit) -> str:
    """POSIX sh. On a host its log is the role's own, so that walks and `milepost top` read it as ever; in a
    container the program writes that one itself."""
    role, held = unit.role, unit.attended
    ident = identity(cluster, unit.node, role)
    log = f"{role}.unit.log" if held else f"{role}.log"
    return "\n".join(
        [
            "#!/bin/sh",
            f"# {MARK} for {ident}: what its unit runs. `milepost disable` removes it.",
            'umask 077; cd "$(dirname "$0")" || exit 78',
            "PATH=$PATH:/usr/lib/wsl/lib:/usr/local/cuda/bin; export PATH",
            *([f"end() {{ (\n{held.stop}) }}", '[ "$1" != stop ] || { end; exit; }'] if held else []),
            f"if [ -s {log} ]; then mv -f {log} {log}.1; fi",
            f"exec > {log} 2>&1 < /dev/null",
            'fail() { echo "milepost: $*"; exit 75; }',
            # A start within half an hour of the last one counts as a repetition.
            f'n=0; if [ -n "$(find {role}.tries -mmin -30 2>/dev/null)" ]; then n=$(cat {role}.tries); fi',
            "case $n in ''|*[!0-9]*) n=0;; esac",
            f'echo $((n+1)) > {role}.tries; [ "$n" -lt 2 ] || sleep $(( n * {PAUSE} ))',
            *_waits(cluster, unit),
            *(_attend(unit, held) if held else _become(cluster, unit)),
            "",
        ]
    )


def _become(cluster: Cluster, unit: Unit) -> list[str]:
    """The script becomes the program."""
    role, service = unit.role, unit.service
    ident = identity(cluster, unit.node, role)
    own = {**service.env, "MILEPOST_ID": ident, "SPT_NOENV": "1", "PYTHONUNBUFFERED": "1"}
    kept = shlex.quote(spec_of(unit).line())
    return [
        _SECRETS if role == SERVE else ":",
        setup(cluster, unit.node).strip() or ":",
        '[ -s life ] || fail "$PWD/life is not there: walk again"',
        'export "$(cat life)"',
        f"printf '%s\\n%s\\n' \"$(cat /proc/sys/kernel/random/uuid)\" {kept} > {role}.start",
        f"echo $$ > {role}.pid",
        f"exec env {environment(own)} {shlex.join(service.argv)}",
    ]


def _attend(unit: Unit, held: Attended) -> list[str]:
    """Starts it in its container, and lasts as long as it does."""
    secrets = "secrets" if unit.role == SERVE else "/dev/null"
    return [
        "end",
        f"in=/dev/null; [ ! -r {secrets} ] || in={secrets}",
        f"(\n{held.start}) < $in || fail 'it was not started'",
        held.lasts.rstrip(),
        "fail 'it has ended'",
    ]


def _waits(cluster: Cluster, unit: Unit) -> list[str]:
    held = unit.attended
    python = "python3" if held else shlex.quote(f"{cluster.venv}/bin/python")
    lines = [_until(held.engine, _ADDRESS, "the container engine does not answer")] if held else []
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
        own = f"{setup(cluster, unit.node)}{ray} status --address={address}\n"
        status = held.status if held else own
        count = f"( {status}) 2>/dev/null | sed -n 's|.*/\\([0-9]*\\)[.0-9]* GPU.*|\\1|p'"
        test = f'[ "$( {count} | head -n 1 | grep . || echo 0)" -ge {unit.ray_gpus} ]'
        lines.append(_until(test, _HEAD, f"Ray does not have {unit.ray_gpus} GPUs"))
    return lines


def _until(test: str, limit: int, why: str) -> str:
    return (
        f"i=0; until {test}; do i=$((i+1)); [ $i -lt {limit // 3} ] || "
        f"fail {shlex.quote(f'{why} after {limit} s')}; sleep 3; done"
    )
