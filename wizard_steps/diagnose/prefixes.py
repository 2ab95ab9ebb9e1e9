"""What a log collector writes before each line: which node it came from. And where else a node is named."""

from __future__ import annotations

import re
from collections.abc import Iterable

_NAME = r"[A-Za-z0-9][\w.-]{0,80}"
_ADDRESS = r"(?:\d{1,3}(?:\.\d{1,3}){3}|[0-9a-fA-F]*:[0-9a-fA-F:]{3,})"
_ISO = r"20\d\d-[01]\d-[0-3]\d[T ][0-2]\d:[0-5]\d:[0-6]\d\S{0,20}"
#: How a message itself begins, behind what a collector put before it.
_BODY = (
    r"(?=\s*(?:\(\w|\[|\{|\"|<|Traceback|(?:DEBUG|INFO|WARNING|WARN|ERROR|FATAL|CRITICAL)\b|20\d\d-"
    r"|[IWEF]\d{4} |\w[\w.]*(?:Error|Exception)\b|NVRM|NCCL|ssh:|docker:|Error|error:|CUDA|ray\b|vllm\b|bash:"
    r"|File \"|raise "
    r"|\S+:\d+:\d+ \[\d+\] ))"
)

#: Each takes one thing off the beginning of a line. The group ``node`` names where it came from.
_PREFIXES = tuple(
    re.compile(pattern)
    for pattern in (
        r"(?:> ?){1,9}",
        # milepost's look at a container that has ended
        r"log:\s" + _BODY,
        # (RayWorkerProc pid=2183, ip=10.10.10.2)  (raylet, ip=10.0.0.2)  (EngineCore_DP0 pid=504)  (raylet)
        r"\([\w.:<>-]{1,80}(?:\s\w+=\d+)*?(?:,? ?pid=\d+)?(?:, ?ip=(?P<node>[\w.:-]+))?\)\s?",
        # kubectl --prefix; stern with its plus sign; CRI files
        rf"\[(?:pod/)?(?P<node>{_NAME})/{_NAME}\]\s",
        rf"(?P<node>{_NAME}-{_NAME}) › {_NAME}\s",
        rf"(?P<node>{_NAME}-{_NAME})\s{_NAME}\s(?=\(\w[\w.-]* (?:pid|rank)=)",
        # talosctl dmesg
        rf"(?P<node>{_ADDRESS}|{_NAME}): (?:kern|user|daemon): {{1,8}}\w+: \[{_ISO}\]: ",
        rf"{_ISO}\s(?:stdout|stderr)\s[FP]\s",
        # logcli: time, then the labels of the stream
        rf"{_ISO}\s?\{{[^{{}}]{{0,400}}?(?:host|node|hostname|instance|pod)=\"(?P<node>[^\"]{{1,80}})\"[^{{}}]{{0,400}}\}}\s?",
        # syslog, journalctl and scripts that write like them
        rf"(?:<\d{{1,3}}>)?(?:[A-Z][a-z]{{2}}\s[ \d]\d\s)?(?:{_ISO}|[0-2]\d:[0-5]\d:[0-6]\d(?:\.\d+)?)\s"
        rf"(?P<node>{_NAME})\s[\w./@-]{{1,80}}(?:\[\d+\])?:\s",
        # docker logs --timestamps, kubectl logs --timestamps
        r"20\d\d-[01]\d-[0-3]\dT[0-2]\d:[0-5]\d:[0-6]\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)\s+(?=\S)",
        # syslog as RFC 5424 has it
        rf"<\d{{1,3}}>1 {_ISO} (?P<node>{_NAME}) \S{{1,48}} \S{{1,128}} \S{{1,32}} "
        r"(?:-|\[[^\]]{0,400}\])\s",
        # mpirun, torchrun
        r"(?:[A-Z][a-z]{2} [A-Z][a-z]{2} [ \d]\d [\d:]{8} 20\d\d)?\[\d+,\d+\]<std(?:out|err)>:\s?"
        r"|\[default\d+\]:\s?",
        # docker service logs
        rf"\S{{1,100}}@(?P<node>{_NAME})\s{{1,40}}\|\s",
        # docker compose, and what else puts a bar behind a name
        rf"(?P<node>(?!(?:DEBUG|INFO|WARN|WARNING|ERROR|FATAL)\b|20\d\d|std(?:out|err)\b){_NAME})\s*\|\s",
        # ID[error]MESSAGE of hosted workers
        rf"(?P<node>{_NAME})\[(?:error|info|warn|warning|debug)\]\s?",
        # srun --label
        r"(?P<task>\d{1,4}):\s" + _BODY,
        # pdsh, clush, parallel-ssh
        rf"(?P<node>{_ADDRESS}|(?!nvidia|docker|podman|python|pip|lib|apt|ssh|systemd|kube|containerd|x86|error|g\+\+)"
        # A name without a digit or a hyphen could be any program.
        r"(?=[a-z0-9.]*[0-9-])"
        r"[a-z][a-z0-9-]{0,60}(?:\.[a-z0-9-]+){0,6}):\s" + _BODY,
    )
)
#: Not for prefixes: names that look like an actor of Ray but are words in brackets.
_WORD = re.compile(r"\((?!raylet\)|autoscaler\)|gcs_server\)|head\)|worker\))[\w.:<>-]*\)")
#: What NCCL writes before each line, behind whatever times and tags a collector put before it.
_NCCL = re.compile(r"(?:^|[\s\]])(?P<node>[A-Za-z0-9][\w.-]{0,100}):\d+:\d+ \[\d+\] ")
_UCX = re.compile(
    r"\[\d{9,}\.\d+\] \[(?P<node>[\w.-]+):\d+\s*:\w+\]|\[(?P<old>[\w.-]+):\d{2,9}:\d{1,4}:\d{2,9}\] "
)
#: Wrong as the name of a node: levels, programs, file names.
_NO_NODE = re.compile(
    r"(?:stdout|stderr|localhost|info|error|warn|warning|debug|fatal|\d+|none|null|self|the|this|a|0\.0\.0\.0"
    r"|.*\.(?:py|cc|cpp|cu|h|hpp|c|go|rs|sh|so|json|log|txt|yaml))",
    re.IGNORECASE,
)


def peel(line: str) -> tuple[str, str]:
    """The message behind all prefixes, and the node that they name. The last one named is the nearest."""
    node, position = "", len(line) - len(line.lstrip())
    for _ in range(8):
        match = next((m for p in _PREFIXES if (m := p.match(line, position)) and m.end() > position), None)
        if match is None or _WORD.match(line, position):
            break
        named = match.groupdict()
        node = _worthy(named.get("node")) or (f"task {named['task']}" if named.get("task") else "") or node
        position = match.end()
        position += len(line[position:]) - len(line[position:].lstrip())
    message = line[position:]
    own = _NCCL.search(message[:240]) or _UCX.match(message)
    # The one who speaks is nearer than the collector, but not than the address that Ray gives.
    if own and (not node or not re.fullmatch(_ADDRESS, node)):
        node = _worthy(own["node"] or own.groupdict().get("old")) or node
    return message, node


def _worthy(name: str | None) -> str:
    return name if name and not _NO_NODE.fullmatch(name) else ""


#: Where a message names the node that it is about.
_SAID = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"\bworker ip address: (?P<node>{_ADDRESS})",
        rf"\bwith node id: \w+ and address: (?P<node>{_ADDRESS})",
        rf"\b(?:worker|head) node \(?(?P<node>{_ADDRESS})",
        r"\bon (?:worker |head |remote )?(?:node|host) [\['\"(]?(?P<node>[a-z0-9][\w.-]*\d[\w.-]*)",
        rf"\bIP: (?P<node>{_ADDRESS})",
        rf"\bip=(?P<node>{_ADDRESS})",
        r"\bconnect to host (?P<node>[\w.:-]+) port",
        r"\bauthenticity of host '(?P<node>[^' ]+)",
        r"\bhost key for \[?(?P<node>[\w.-]+)",
        r"\bhostname (?P<node>[\w.-]+):",
        r"\bfatal: \[(?P<node>[\w.-]+)(?: -> [^\]]{1,80})?\]",
        r"(?<![\w.])[a-z_][\w.-]{0,31}@(?P<node>[a-z0-9][\w.-]*): permission denied",
        rf"\bfrom (?P<node>{_ADDRESS}) port \d+",
        rf"\b(?:connection (?:closed|reset) by|timeout, server) (?P<node>{_ADDRESS})",
        rf"\bgcs at (?:address )?(?P<node>{_ADDRESS}):\d+",
        rf"\b(?:connect to|reach) \(?(?P<node>{_ADDRESS})",
        r"\bon host (?P<node>[\w.-]+)",
        rf"(?:<-|->) (?P<node>{_ADDRESS}) ",
        rf"\bhosts?: \[?'?(?P<node>{_ADDRESS})",
        rf"\bsrun: error: (?P<node>{_NAME}): ",
        rf"\bwith address:? (?P<node>{_ADDRESS})",
        rf"\b(?:node|worker|host)(?:[ _-]?(?:ip|name|addr(?:ess)?))*['\"]?[=:] ?['\"]?(?P<node>{_ADDRESS})",
        r"\b(?:node|host|machine|server) ['\"\[]?(?!(?:v|ipv|rank|cuda|port|http|py)\d|id\b)"
        r"(?P<node>[a-z][\w.-]*\d[\w.-]*)",
        rf"\b(?:node|host|machine|server|worker|peer) ['\"\[(]?(?P<node>{_ADDRESS})",
        r"\bconnect to \[?(?P<node>[a-z0-9][\w.-]+)\]?:\d{2,5}\b",
        rf"\bON (?P<node>{_NAME}) CANCELLED\b",
        r"\bhost(?:name)?=['\"]?(?P<node>[a-z][\w.-]*\d[\w.-]*)",
        r"\b(?:on|from|at) (?P<node>ip-\d+-\d+-\d+-\d+[\w.-]*)",
    )
)
_TITLE = r"(?i)^(?:#{1,6} |\*\*)?(?:on )?(?:the )?(?:(?:head|worker|master|remote) )?"
#: Lines that say where the lines around them come from.
_HEADERS = tuple(
    re.compile(pattern)
    for pattern in (
        rf"^(?P<node>{_NAME}) \| (?:FAILED|CHANGED|SUCCESS|UNREACHABLE!)(?: \||! =>| =>)",
        r"(?i)\blocal node ip(?: address)?: (?P<node>[\w.:-]+)",
        # What Ray writes above the error of a task: where it ran.
        rf"\bray::[\w.:]{{1,120}}\(?\)? ?\(pid=\d+, ip=(?P<node>{_ADDRESS})",
        rf"\bprocesses have been started on node: \w+ with address: (?P<node>{_ADDRESS})",
        # kubectl describe and its events
        rf"\bSuccessfully assigned \S{{1,200}} to (?P<node>{_NAME})",
        rf"^Node:\s+(?P<node>{_NAME})/{_ADDRESS}",
        rf"^\s*nodeName: (?P<node>{_NAME})\s*$",
        rf"^==+>? ?(?P<node>{_NAME}) ?<?==+$",
        # A heading of a report: ### [gpu-a] 10.0.0.1   ## Node gpu-a   **worker (10.0.0.2):**
        rf"^#{{1,6}} \[?(?P<node>{_NAME})\]?[ (]+{_ADDRESS}\)?:?$",
        rf"{_TITLE}(?:node|host|machine)[ :]+[\[`]?(?P<node>[a-z0-9][\w.-]*\d[\w.-]*)[\]`]?:?\**:?$",
        rf"{_TITLE}(?<=.)(?:node )?\(?(?P<node>{_ADDRESS})\)?:?\**:?$",
        rf"^clush: (?P<node>{_NAME}): ",
        # torchrun's summary of a failure
        rf"^\s*host(?:name)?\s*: (?P<node>{_NAME})\s*(?:\(|$)",
        rf"^(?:\+|\$|#) ssh (?:-\S+ (?:\d+ )?)*(?:[\w.-]+@)?(?P<node>{_NAME})\b",
        rf"^[-*>]{{2,}} ?\[?(?P<node>(?=[\w.-]*\d){_NAME})\]? ?[-*<]{{0,80}}$",
        r"(?:^|[\s\]])(?P<node>[A-Za-z0-9][\w.-]{0,100}):\d+:\d+ \[\d+\] NCCL ",
        r"\bPermanently added '\[?(?P<node>[^',\]]+)",
        rf"\bUnable to connect to GCS at (?P<node>{_ADDRESS}):\d+",
        rf"^srun: error: (?P<node>{_NAME}): ",
        rf"^(?:\([\w.-]+\) )?\[?[a-z_][\w.-]*@(?P<node>{_NAME})[: ][^\]$#]{{0,80}}\]?[$#] ?",
        r"(?i)\bauthenticity of host '(?P<node>[^' ]+)",
        rf"^\s*_HOSTNAME=(?P<node>{_NAME})\s*$",
        rf"^\[\d+\] [\d:]+ \[(?:FAILURE|SUCCESS)\] (?P<node>{_NAME})\b",
    )
)


def said(line: str) -> str:
    """The node that a message names by itself, or nothing."""
    for pattern in _SAID:
        if (match := pattern.search(line)) and (node := _worthy(match["node"].rstrip(".:"))):
            return node
    return ""


def header(lines: Iterable[str]) -> str:
    """The node of the first line that says where its neighbours come from."""
    rule = False
    for line in lines:
        bare = line.strip()
        # dshbak and clush -b write the name between two lines of dashes.
        if rule and re.fullmatch(_NAME, bare) and not bare.isdigit():
            return bare
        rule = len(bare) >= 8 and not bare.strip("-")
        for pattern in _HEADERS:
            if (match := pattern.search(line[:400])) and (node := _worthy(match["node"])):
                return node
    return ""
