"""What a log collector writes before each line: which node it came from."""

from __future__ import annotations

import re
from functools import cache

from wizard_steps.diagnose.nodes import ADDRESS, MACHINE, NAME, NO_THING, worthy

_ISO = r"20\d\d-[01]\d-[0-3]\d[T ][0-2]\d:[0-5]\d:[0-6]\d\S{0,20}"
#: How a message itself begins, behind what a collector put before it.
_BODY = (
    r"(?=\s*(?:\(\w|\[|\{|\"|<|Traceback|(?:DEBUG|INFO|WARNING|WARN|ERROR|FATAL|CRITICAL)\b|20\d\d-"
    r"|[IWEF]\d{4} |\w[\w.]*(?:Error|Exception)\b|NVRM|NCCL|ssh:|docker:|Error|error:|CUDA|ray\b|vllm\b|bash:"
    r"|[Ff]ailed|Permission denied|Test CUDA|No |Cannot|Could not|Unable"
    r"|File \"|raise |-?(?:ba|da|z)?sh: |/\S{1,100}/python[\d.]{0,5}: "
    r"|/\S{1,120}\.\w{1,4}:\d+: |\S+:\d+:\d+ \[\d+\] ))"
)

#: Each takes one thing off the beginning of a line. The group ``node`` names where it came from.
_PREFIXES = (
    r"(?:> ?){1,9}",
    # grep -n
    r"\d{1,7}[:-](?=[A-Z][a-z]{2} [ \d]\d [\d:]{8} |20\d\d-[01]\d-|\(\w)",
    # pyxis repeats enroot's log, indented
    r"(?:slurmstepd: error: )?pyxis: {3,}",
    # milepost's look at a container that has ended
    r"log:\s" + _BODY,
    # (RayWorkerProc pid=2183, ip=10.10.10.2)  (raylet, ip=10.0.0.2)  (EngineCore_DP0 pid=504)  (raylet)
    r"\([\w.:<>-]{1,80}(?:\s\w+=\d+)*?(?:,? ?pid=\d+)?(?:, ?ip=(?P<node>[\w.:-]+))?\)\s?",
    # kubectl --prefix; stern with its plus sign; CRI files
    rf"\[(?:pod/)?(?P<node>{NAME})/{NAME}\]\s",
    rf"(?P<node>{NAME}-{NAME}) › {NAME}\s",
    rf"(?P<node>{NAME}-{NAME})\s{NAME}\s(?=\(\w[\w.-]* (?:pid|rank)=)",
    r"(?P<node>[a-z][a-z0-9-]*-(?:\d{1,3}|[a-f0-9]{8,10}-[a-z0-9]{5}))\s[a-z][a-z0-9-]*\s" + _BODY,
    # talosctl dmesg
    rf"(?P<node>{ADDRESS}|{NAME}): (?:kern|user|daemon): {{1,8}}\w+: \[{_ISO}\]: ",
    rf"{_ISO}\s(?:stdout|stderr)\s[FP]\s",
    # logcli: time, then the labels of the stream
    rf"{_ISO}\s?\{{[^{{}}]{{0,400}}?(?:host|node|hostname|node_name|nodename|instance|pod)=\"(?P<node>[^\"]{{1,80}})\"[^{{}}]{{0,400}}\}}\s?",
    # cloud-init repeats the journal in the kernel's own log
    r"\[ {0,6}\d{1,9}\.\d{6}\] cloud-init\[\d{1,9}\]: ",
    # syslog, journalctl and scripts that write like them; months as other languages call them
    rf"(?:<\d{{1,3}}>)?(?:(?:[^\W\d_]{{2,9}}\.?|\d{{1,2}}月)\s[ \d]\d\s)?"
    rf"(?:{_ISO}|[0-2]\d:[0-5]\d:[0-6]\d(?:\.\d+)?)\s"
    rf"(?P<node>{NAME})\s[\w./@-]{{1,80}}(?:\[\d+\])?:\s",
    # dmesg -T of several machines; an address behind a time
    rf"\[[A-Z][a-z]{{2}} [A-Z][a-z]{{2}} [ \d]\d [\d:]{{8}} 20\d\d\] (?P<node>{NAME}) kernel: ",
    rf"\[?{_ISO}\]? (?P<node>{ADDRESS}) (?=(?:DEBUG|INFO|WARN|WARNING|ERROR|FATAL)\b)",
    # Python's logging with the host in it
    rf"\[?{_ISO}\]? (?:- )?\[?(?P<node>{MACHINE})\]? (?:- )?"
    r"(?=\[?(?:DEBUG|INFO|WARN|WARNING|ERROR|FATAL|CRITICAL)\b)",
    # fabric; Hydra
    rf"\[(?P<node>{NAME})\] (?:out|err): ",
    rf"\[(?:proxy|mpiexec)(?::\d+){{0,2}}@(?P<node>{NAME})\]\s",
    rf"(?:\[{_ISO}\] )?\[(?P<node>{MACHINE})\]:? (?=\S)",
    # grep over the logs of several machines
    rf"(?:[\w./-]{{0,200}}/)?(?:(?:vllm|ray|nccl|log|worker|head)[_-])?(?P<node>{MACHINE})\.(?:log|err|out|txt)(?::\d+)?:\s?",
    # torchx; columns of a table without lines; a list of roles; times without a date
    rf"(?P<node>{MACHINE})/\d{{1,3}} (?=\[)",
    rf"(?P<node>{MACHINE})(?:\s{{2,}}|\t)\s*(?:FAIL\w*|ERROR)\b[: ]*",
    rf"[-*•] (?:\w+ ){{0,2}}\((?P<node>{MACHINE})\):\s",
    rf"(?:worker|node|head|host)[_ -](?P<node>{ADDRESS}):\s",
    rf"\[?[0-2]\d:[0-5]\d:[0-6]\d(?:[.,]\d+)?\]?\s(?={MACHINE}:\s)",
    # Open MPI's components; parallel-ssh without numbers
    rf"\[(?P<node>{NAME})\]\[\[\d+,\d+\],\d+\](?:\[[^\]]{{1,120}}\])?\s?",
    rf"\[(?:FAILURE|FAILED)\] (?P<node>{NAME})\s",
    # a table, a list
    rf"\|\s*(?P<node>{MACHINE})\s*\|\s*",
    # [host]:rank  [host:rank]
    r"\[(?P<node>(?!(?i:rank|default|std|pod/|tp|pp|dp))(?=[\w.-]*[\d-])[A-Za-z][\w.-]{0,80})(?:\]:\d+|:\d+\]):?\s",
    # docker logs --timestamps, kubectl logs --timestamps
    r"20\d\d-[01]\d-[0-3]\dT[0-2]\d:[0-5]\d:[0-6]\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)\s+(?=\S)",
    # syslog as RFC 5424 has it
    rf"<\d{{1,3}}>1 {_ISO} (?P<node>{NAME}) \S{{1,48}} \S{{1,128}} \S{{1,32}} "
    r"(?:-|\[[^\]]{0,400}\])\s",
    # mpirun, torchrun
    r"(?:[A-Z][a-z]{2} [A-Z][a-z]{2} [ \d]\d [\d:]{8} 20\d\d|[\dTZ:. +-]{8,34}:? )?"
    r"\[\d+,\d+\]<std(?:out|err)>:\s?"
    r"|\[default\d+\]:\s?",
    # docker service logs
    rf"\S{{1,100}}@(?P<node>{NAME})\s{{1,40}}\|\s",
    # docker compose, and what else puts a bar behind a name
    rf"(?P<node>(?!(?:DEBUG|INFO|WARN|WARNING|ERROR|FATAL)\b|20\d\d|std(?:out|err)\b){NAME})\s*\|\s",
    # ID[error]MESSAGE of hosted workers
    rf"(?P<node>{NAME})\[(?:error|info|warn|warning|debug)\]\s?",
    # launchers that name the stream
    rf"(?P<node>{NAME}) \[std(?:err|out)\] ",
    # srun --label
    r"(?P<task>\d{1,4}):\s" + _BODY,
    # pdsh, clush, parallel-ssh
    rf"(?P<node>(?!127\.|0\.){ADDRESS}|{NO_THING}(?!nvidia|docker|podman|slurm|spank|pdsh|rsync|python|pip|lib|apt|ssh|systemd|kube|containerd|x86|error|g\+\+"
    r"|enroot|fuse-|aardvark|git-|cri-|nv-|update-|huggingface|apptainer)"
    # A name without a digit or a hyphen could be any program.
    r"(?=[a-z0-9.]*[0-9-])"
    r"[a-z][a-z0-9-]{0,60}(?:\.[a-z0-9-]+){0,6}):\s" + _BODY,
)
#: A name and a colon where nothing else says who speaks: with a hyphen, a dot, more digits it is no program.
_COLON = re.compile(
    r"(?:[^\w\s]{1,2} )?[*`]{0,2}(?!slurm)(?P<node>"
    r"(?=[A-Za-z]*[\d.-]*[.-]|[A-Za-z]+\d\d|(?:node|host|worker|head|server|machine|master|spark|dgx|cn|vm|box)\d)"
    rf"{MACHINE})[*`]{{0,2}}:[*`]{{0,2}}\s+(?=\S)"
)
#: Not for prefixes: names that look like an actor of Ray but are words in brackets.
_WORD = re.compile(r"\((?!raylet\)|autoscaler\)|gcs_server\)|head\)|worker\))[\w.:<>-]*\)")
#: What NCCL writes before each line, behind whatever times and tags a collector put before it.
_NCCL = re.compile(r"(?:^|[\s\]])(?P<node>[A-Za-z0-9][\w.-]{0,100}):(?:\d+:\d+|X{2,}(?::X+)?) \[\d+\] ")
_UCX = re.compile(
    r"\[\d{9,}\.\d+\] \[(?P<node>[\w.-]+):\d+\s*:\w+\]"
    r"|\[(?P<old>[\w.-]+):\d{2,9}(?::\d{1,4}:\d{2,9}|\s*:\d{1,4})\] "
)


@cache
def _prefixes() -> tuple[re.Pattern[str], ...]:
    return tuple(map(re.compile, _PREFIXES))


def peel(line: str) -> tuple[str, str]:
    """The message behind all prefixes, and the node that they name. The last one named is the nearest."""
    node, position = "", len(line) - len(line.lstrip())
    for _ in range(8):
        match = next((m for p in _prefixes() if (m := p.match(line, position)) and m.end() > position), None)
        if match is None and not node:
            match = _COLON.match(line, position)
        if match is None or _WORD.match(line, position):
            break
        named = match.groupdict()
        node = worthy(named.get("node")) or (f"task {named['task']}" if named.get("task") else "") or node
        position = match.end()
        position += len(line[position:]) - len(line[position:].lstrip())
    message = line[position:]
    own = _NCCL.search(message[:240]) or _UCX.match(message)
    # The one who speaks is nearer than the collector, but not than the address that Ray gives.
    if own and (not node or not re.fullmatch(ADDRESS, node)):
        node = worthy(own["node"] or own.groupdict().get("old")) or node
    return message, node
