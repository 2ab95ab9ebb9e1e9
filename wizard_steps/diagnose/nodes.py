"""Which node a failure belongs to: how texts name nodes (nodes.toml), and who is who in one text.

Nearest to the failure counts: what the message itself says of a node (subject), then who prints the line
(prefixes.py), then what the message names, then the heading or prompt above it. A rule may say that its cause
sits with the machine that was called (``at``): then that one is named, and who printed the line beside it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct, field

from wizard_steps.diagnose.literals import required

NAME = r"[A-Za-z0-9][\w.-]{0,80}"
#: IPv4 also as IPv6 writes it.
ADDRESS = r"(?:(?:::ffff:)?\d{1,3}(?:\.\d{1,3}){3}|(?!::ffff:\d)[0-9a-fA-F]*:[0-9a-fA-F:]{3,})"
#: Words with a number that are no machines: ranks, versions, cards, interfaces, models, file names.
_THING = (
    r"(?i:(?:rank|tp|pp|dp|ep|cp|sp|std|default|local|global|step|stage|layer|epoch|iter|case|test|option|opt|part"
    r"|phase|section|version|ver|rev|release|update|edit|issue|pr|bug|fix|cuda|cudnn|nccl|python|pip|py|torch"
    r"|pytorch|vllm|ray|numpy|ubuntu|debian|rhel|rocky|centos|el|fedora|sles|linux|kernel|gcc|lib|sm|compute|mlx|eth"
    r"|en[opsx]?|ens|enp|ib|bond|br|lo|docker|cni|vlan|nvme|sd|device|dev|card|channel|ring|tree|thread|proc|process"
    r"|pid|tid|utf|iso|ascii|sha|md|base|fp|bf|int|uint|float|amd|aarch|ipv|http|tcp|udp|tls|ssl|error|err|exit"
    r"|code|errno|signal|sig|xid|level|line|col|page|fig|table|question|attempt|try|retry|run|file|gen|top|max|min"
    r"|port|queue|shard|expert|block|batch|req|request|task|job|session|engine(?:core)?|api(?:server)?|actor|method"
    r"|approach|scenario|config|problem|experiment|exp|trial|round|day|log|output|image|group|chunk|slot|plan|debug|exl|nvidia-\w+)"
    r"[_ -]?\d+[a-z]?(?:[._-]\d+)*|gpu[_ -]?\d|cu1[1-3]\d|[vrexilqaw]\d{1,2}|[iwef]\d{4}"
    r"|(?:[hablvtp]|gb|gh|mi|rtx|gtx)-?\d{1,4}[a-z]{0,4}(?:[_-]?(?:sxm\d?|pcie|nvl\d*|\d+gb?|x\d+))*"
    r"|(?:qwen|llama|meta-llama|glm|deepseek|gpt|mistral|mixtral|gemma|phi|kimi|minimax|falcon|granite|nemotron"
    # A pod is called after its model and after what it does.
    r"|internlm|baichuan|smollm|tinyllama|codellama|olmo)(?![\w.-]*-(?:worker|head|leader|master|launcher|node|pod|server"
    r"|serve|router|engine|decode|prefill|deployment|multinode|group|lws|vllm|sglang|raycluster)\b)[\w.-]*"
    r"|[a-z]+-?v?\d+(?:\.\d+)+\w*|x86_64|c10d|tty\w+|u?mount\.\w+|[0-9a-f]{7,}"
    r"|(?:vllm|torch|ray|urllib3|numpy|boto3|transformers|sglang)\.[\w.]*|[\w.]*(?:error|exception|warning|exit)|[\w.-]*\.(?:so|py|cc|cpp|cu|json|ya?ml|toml|sh|md)(?:\.\d+)*)"
    r"|(?-i:[A-Z][a-z]+\d*[A-Z]\w*)"
)
#: Not for what such words and a number name.
NO_THING = rf"(?!(?:{_THING})(?![\w-]|\.\w))"
#: A machine where the words around do not settle that it is one: an address, or a name with a digit.
MACHINE = (
    r"(?:(?!(?:0|127|255|169\.254)\.)\d{1,3}(?:\.\d{1,3}){3}"
    rf"|{NO_THING}(?=[A-Za-z0-9.-]*\d)[A-Za-z][A-Za-z0-9]*(?:[.-][A-Za-z0-9-]+)*(?![\w-]))"
)
#: How a heading of a report begins: "### On the worker", "**Head", "Logs from the second machine".
_TITLE = (
    r"(?i)^(?=\W{0,4}(?:on|from|logs?|the|head|master|main|worker|slave|second|first|remote|other|gpu|node|host"
    r"|machine|server|box|rank|pod|output|error)\b|[#*])(?:[#*>-]{1,6} ?){0,2}"
    r"(?:(?:logs?|output|errors?|console) )?"
    r"(?:(?:on|from|of|in) )?(?:(?:the|my) )?"
    r"(?:(?:failed|head|master|main|worker|slave|second|first|remote|other|gpu) ?-?){0,2}"
)
_FILE = Path(__file__).with_name("nodes.toml")
#: Wrong as the name of a node: levels, programs, file names.
_NO_NODE = re.compile(
    r"(?:stdout|stderr|localhost|info|error|warn|warning|debug|fatal|\d+|none|null|self|the|this|a|0\.0\.0\.0"
    r"|.*\.(?:py|cc|cpp|cu|h|hpp|c|go|rs|sh|so|json|log|txt|err|out|ya?ml|toml)"
    # an option; a function of C
    r"|-.*|[a-z]+(?:_[a-z]+){2,}"
    # An address that somebody made unreadable.
    r"|(?=.*[x*])[x*\d]{1,3}(?:\.[x*\d]{1,3}){3})",
    re.IGNORECASE,
)
#: Of a machine that only calls itself so nobody else can know which it is.
_HERE = re.compile(r"127\.\d+\.\d+\.\d+|::1|localhost(?:\.localdomain)?|ip6-localhost")
_ASKED = re.compile(r"(?:^|[$#>%+] ?)(?:hostname(?: -[sf])?|uname -n)$")
#: Addresses that mean something else on each machine: link-local ones, and those behind Docker's own bridge.
_LOCAL = re.compile(r"(?:169\.254|172\.17)\.\d+\.\d+|fe80:.*", re.IGNORECASE)
#: How a line says which rank prints it, and how it names a node of Ray by its id.
_RANK = re.compile(r"\[rank ?(\d+)\]|\bWorker_TP(\d+)\b", re.IGNORECASE)
_ID = re.compile(r"\bnode[ _]id(?:: | = |=)([0-9a-f]{20,64})\b", re.IGNORECASE)
#: Lines of one text that are read for who is who.
_MOST = 20_000


#: Kinds of forms that say where the lines around them come from.
PLACES = ("section", "prompt", "call")


class Naming(Struct, frozen=True, forbid_unknown_fields=True):
    """One way to name a node: its expression, and a line with what must be read in it."""

    kind: Literal["subject", "named", "called", "section", "prompt", "call", "alias", "rank", "id"]
    pattern: str
    reads: tuple[str, str]

    def expression(self) -> str:
        text = self.pattern.replace("MACHINE", MACHINE).replace("ADDRESS", ADDRESS).replace("NAME", NAME)
        return text.replace("^TITLE", "TITLE").replace("TITLE", _TITLE)

    def compiled(self) -> re.Pattern[str]:
        exact = "TITLE" in self.pattern or self.kind in (*PLACES, "called")
        return re.compile(self.expression(), 0 if exact else re.IGNORECASE)


class _Forms(Struct, frozen=True):
    form: tuple[Naming, ...]


FORMS = msgspec.toml.decode(_FILE.read_bytes(), type=_Forms).form


@cache
def _compiled(form: Naming) -> re.Pattern[str]:
    """Made at the first use: all of them take longer than all else at a start of milepost."""
    return form.compiled()


@cache
def _of(*kinds: str) -> tuple[re.Pattern[str], ...]:
    return tuple(_compiled(form) for form in FORMS if form.kind in kinds)


#: A machine in a sentence that introduces what follows: the last one counts.
_INTRO = re.compile(
    r"(?i:\b(?:on|of|from|at|in|for) (?:(?:the|my|our) )?(?:[a-z]+ ){0,2}?)[(`'\"*]{0,3}(?P<node>"
    + MACHINE
    + ")(?![\\w-])"
)
_FACTS = tuple((form, required(form.expression())) for form in FORMS if form.kind in ("alias", "rank", "id"))
#: Words that lines must hold to be read for who is who; of those with the second ones every number counts.
WORDS = tuple(sorted(frozenset().union(*(words for _, words in _FACTS))))
COUNTED = ("nranks ", "in world size ", "node id: ", "node_id = ")


def worthy(name: str | None) -> str:
    """The name, where it can be that of a node."""
    name = (name or "").rstrip(".:").removeprefix("::ffff:")
    return name if name and not _NO_NODE.fullmatch(name) else ""


def elsewhere(name: str) -> str:
    """A machine as others call it, without a port; nothing for an address that only means the caller."""
    name = name.rstrip(".,;:")
    bare = (
        re.sub(r"^\[?(?:::ffff:)?([^\[\]]+?)\]?(?::\d{1,5})?$", r"\1", name) if name.count(":") != 2 else name
    )
    return worthy(bare) if not _HERE.fullmatch(bare) else ""


def is_local(name: str) -> bool:
    """Whether the name is an address that tells nobody else which machine is meant."""
    return bool(_LOCAL.fullmatch(name))


#: Where a program could not listen so, the address it names is that of any machine but its own.
NOT_HERE = re.compile(r"cannot assign requested address|eaddrnotavail", re.IGNORECASE)


def subject(line: str) -> str:
    """The node that a message is about, or nothing."""
    return _first(_of("subject"), line)


def said(line: str) -> str:
    """The node that a message names by itself, or nothing."""
    return subject(line) or _first(_of("named"), line)


def called(line: str) -> str:
    """The machine to which a command or a question of ssh goes, or nothing."""
    return _first(_of("called"), line[:400])


def _first(patterns: Iterable[re.Pattern[str]], line: str) -> str:
    for pattern in patterns:
        if (match := pattern.search(line)) and (node := worthy(match["node"])):
            return node
    return ""


_NEARBY = re.compile(
    r"(?<![\w./-])(?P<node>(?:10\.\d{1,3}|192\.168|172\.(?:1[689]|2\d|3[01])|100\.(?:6[4-9]|[789]\d|1[01]\d|12[0-7]))"
    r"\.\d{1,3}\.\d{1,3})(?![\w/-]|\.\d)"
)


def addresses(line: str) -> set[str]:
    """Private addresses in a line, but for those of networks."""
    return {node for node in _NEARBY.findall(line) if not node.endswith((".0", ".255"))}


def header(lines: Iterable[str], kinds: tuple[str, ...] = PLACES) -> str:
    """The node of the first line that says where its neighbours come from. The lines go away from them.

    ``kinds`` are those of the forms that count."""
    rule, last = False, ""
    forms = _of(*kinds)
    for line in lines:
        bare = line.strip()
        # What a shell answered to `hostname`; the lines above come from the nearest to the furthest.
        if _ASKED.search(bare) and re.fullmatch(NAME, last) and worthy(last):
            return last
        # dshbak and clush -b write the name between two lines of dashes.
        if rule and re.fullmatch(NAME, bare) and not bare.isdigit():
            return bare
        # kubectl describe node; a pod has no roles.
        if last.startswith("Roles:") and bare.startswith("Name:"):
            return worthy(bare.split()[-1])
        rule = len(bare) >= 8 and not bare.strip("-")
        if node := _first(forms, line[:400]) or _introduced(bare, last):
            return node
        last = bare or last
    return ""


def _introduced(line: str, below: str) -> str:
    """The machine of a sentence that ends in a colon or stands above the beginning of a block."""
    if " " not in line or not (line.endswith((":", "：")) or below.startswith("```")):
        return ""
    return next((node for name in reversed(_INTRO.findall(line[-400:])) if (node := worthy(name))), "")


#: srun --label: what each task answered to `hostname`.
_TASKS = re.compile(rf"^(?:task )?(\d{{1,4}}): ({MACHINE})\r?$", re.MULTILINE)


class Roster(Struct):
    """Who is who in a text: names of one machine, and where a rank or a node of Ray is."""

    #: Other names by name: a host name by its address and the other way round.
    names: dict[str, str] = field(default_factory=dict)
    #: Nodes by "rank 3" or by the id of a node of Ray.
    places: dict[str, str] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    left: int = _MOST

    def note_tasks(self, text: str) -> None:
        """Take where the tasks of srun run from the beginning of a text."""
        for task, node in _TASKS.findall(text):
            self.places.setdefault(f"task {task}", node)

    def note(self, text: str, low: str) -> None:
        """Take what one line gives away; ``low`` is the line in lower case."""
        for form, words in _FACTS:
            if self.left <= 0 or not any(word in low for word in words):
                continue
            if (match := _compiled(form).search(text)) is None:
                continue
            self.left -= 1
            found = match.groupdict()
            node = worthy(found.get("node") or found.get("address"))
            if form.kind == "alias" and node:
                self.names.setdefault(found["address"], node)
                self.names.setdefault(node, found["address"])
            elif form.kind == "id":
                self.places.setdefault(found["id"].lower(), node)
            elif node:
                self._rank(f"rank {int(found['rank'])}", node, int(found.get("size") or 1))

    def _rank(self, rank: str, node: str, size: int) -> None:
        """Ranks of the largest group are those of the whole server."""
        known = self.sizes.get(rank, 0)
        if size > known:
            self.places[rank], self.sizes[rank] = node, size
        elif size == known and self.places[rank] != node and self.names.get(node) != self.places[rank]:
            self.places[rank] = ""

    def place(self, whose: str) -> str:
        """The node of "rank 3", of an id of Ray or of an address, as far as the text says it."""
        return self.places.get(whose) or self.names.get(whose, "")


def named_id(line: str) -> str:
    """The id of a node of Ray that a line names, or nothing."""
    match = _ID.search(line[:4096])
    return match[1].lower() if match else ""


#: The part of Ray that runs on its head alone.
HEAD = "gcs_server"
_GCS = re.compile(r"^\((?:pid=)?gcs_server\b(?!.{0,40}\bip=)")


def whose(line: str) -> str:
    """Of whom a line speaks that a roster may know: a node of Ray by its id, the rank or GCS that prints."""
    if _GCS.match(line):
        return HEAD
    match = _RANK.search(line[:4096])
    return named_id(line) or (f"rank {int(match[1] or match[2])}" if match else "")


def merged(rosters: Sequence[Roster]) -> Roster:
    """One roster over several texts of one cluster; of two that differ the first."""
    whole = Roster()
    for one in reversed(rosters):
        whole.names.update(one.names)
        whole.places.update(one.places)
    return whole
