"""Other names in a recording: nodes, hosts, addresses and users, everywhere alike, and all at once."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, cast

from msgspec import Struct

from wizard_steps.errors import UsageError
from wizard_steps.model import counted
from wizard_steps.node.docker import container_of
from wizard_steps.recording import events as ev
from wizard_steps.recording.journal import Walk
from wizard_steps.walks.drift import Drift
from wizard_steps.walks.texts import Draft, Span, TextChange, changed

#: name: a machine or any other text, as a whole word. weak: a machine whose name is also a common word: only
#: where nothing else can be meant. address: IPv4; long: IPv6 or MAC. user: an account, where one stands.
Kind = Literal["name", "weak", "address", "long", "user", "cluster"]
#: Words that commands and logs are full of. A node may be called so all the same.
_COMMON = frozenset(
    (
        "head",
        "worker",
        "workers",
        "wizard",
        "node",
        "ray",
        "vllm",
        "serve",
        "root",
        "host",
        "localhost",
        "gpu",
        "master",
    )
)
_AROUND: dict[Kind, tuple[str, str]] = {
    "name": (r"(?<![A-Za-z0-9_-])", r"(?![A-Za-z0-9_-])"),
    "weak": ("", ""),
    "address": (r"(?<![A-Za-z0-9.])", r"(?![A-Za-z0-9]|\.\d)"),
    "long": (r"(?<![A-Za-z0-9:.])", r"(?![A-Za-z0-9:]|\.\d)"),
    "user": ("", ""),
    "cluster": (
        r"(?:(?<=MILEPOST_ID=)|(?<=\.milepost/)|(?<=started as )|(?<=milepost\.cluster=))",
        r"(?![A-Za-z0-9_.-])",
    ),
}

_SPEC = re.compile(r"\bmilepost\.spec=([0-9a-f]{16})\b")


class Rename(Struct, frozen=True):
    """``kind`` says between which characters ``old`` counts as the whole name."""

    kind: Kind
    old: str
    new: str


def of_name(old: str, new: str) -> Rename:
    """A rename of a machine or of any other text; the kind follows from what it looks like."""
    if not old.strip() or not new.strip() or re.search(r"[\x00-\x1f\x7f]", old + new):
        raise UsageError(f"--rename {old}={new}: both sides must be text on one line")
    if re.fullmatch(r"[0-9]+(\.[0-9]+){3}", old):
        return Rename("address", old, new)
    if re.fullmatch(r"[0-9A-Fa-f]*:[0-9A-Fa-f:]+", old):
        return Rename("long", old, new)
    return Rename("weak" if len(old) < 3 or old in _COMMON else "name", old, new)


def rename(item: Draft, renames: Sequence[Rename], said: str = "") -> Draft:
    """The recording with other names. Pictures go: a text in them can be cut anywhere."""
    if not renames:
        return item
    check(renames)
    change = _change([*renames, *_containers(item.walk, renames)])
    kept = {name: change.word(text) for name, text in item.evidence.items() if name.endswith(".txt")}
    gone = len(item.evidence) - len(kept)
    done = Draft(changed(item.walk, change), kept, item.said)
    done = done.but(said) if said else done
    if gone:
        text = (
            f"removed {counted(gone, 'picture')} of passed gates; `milepost export --to svg` makes new ones"
        )
        return Draft(done.walk, done.evidence, (*done.said, text))
    return done


def entries(walk: Walk) -> Iterable[Mapping[str, Any]]:
    """The nodes of the recorded cluster file, in its order."""
    first = walk.events[0] if walk.events else None
    nodes = first.cluster.get("nodes", ()) if isinstance(first, ev.WalkStarted) else ()
    return [entry for entry in nodes if isinstance(entry, Mapping)]


def cluster_name(walk: Walk) -> str:
    """What the recorded cluster file calls the cluster; "" where it does not."""
    first = walk.events[0] if walk.events else None
    return str(first.cluster.get("name") or "") if isinstance(first, ev.WalkStarted) else ""


def _containers(walk: Walk, renames: Sequence[Rename]) -> Iterator[Rename]:
    """Docker's names are made of the cluster's and a node's: neither stands there as a word of its own."""
    new = {item.old: item.new for item in renames}
    cluster = cluster_name(walk)
    for node in (str(entry.get("name") or "") for entry in entries(walk)):
        old = container_of(cluster, node)
        now = container_of(new.get(cluster, cluster), new.get(node, node))
        if cluster and node and old != now:
            yield Rename("name", old, now)


def fingerprints(drifts: Iterable[Drift]) -> list[Rename]:
    """For commands that differ only in the hash of a container's flags: that hash and today's."""
    found = {}
    for drift in drifts:
        old, new = _SPEC.search(drift.then), _SPEC.search(drift.now)
        if old and new and old[1] != new[1] and drift.then.replace(old[1], new[1]) == drift.now:
            found[old[1]] = Rename("name", old[1], new[1])
    return list(found.values())


def check(renames: Sequence[Rename]) -> None:
    """Two old names must not become one: nothing could tell them apart again."""
    news: dict[str, str] = {}
    for item in renames:
        if item.kind != "user" and news.setdefault(item.new, item.old) != item.old:
            raise UsageError(f"{item.old} and {news[item.new]} cannot both become {item.new}")


def _source(kind: Kind, olds: Iterable[str]) -> str:
    words = "|".join(re.escape(old) for old in sorted(olds, key=len, reverse=True))
    before, after = _AROUND[kind]
    if kind == "weak":
        return rf"(?P<weak>(?<=/)(?:{words})(?=/(?:head|worker|serve)\b)|(?<=\bhost: )(?:{words})(?=\n|$))"
    if kind == "user":
        paths = r"(?:(?<=/home/)|(?<=/Users/)|(?<=user: )|(?<=user=)|(?<=USER=)|(?<=\"user\": \"))"
        return rf"(?P<user>{paths}(?:{words})(?![\w.-])|(?<![\w.-])(?:{words})(?=@| on ))"
    return f"(?P<{kind}>{before}(?:{words}){after})"


def _change(renames: Sequence[Rename]) -> TextChange:
    tables: dict[Kind, dict[str, str]] = defaultdict(dict)
    for item in renames:
        tables[item.kind][item.old] = item.new
    source = "|".join(_source(kind, table) for kind, table in tables.items())
    pattern, in_bytes = re.compile(source), re.compile(source.encode())
    machines = {**tables["name"], **tables["weak"], **tables["address"], **tables["long"]}
    whole = {**machines, **tables["cluster"]}
    loose = re.compile("|".join(rf"(?<![A-Za-z0-9]){re.escape(o)}$" for o in machines) or "(?!)")

    def swap(match: re.Match[str]) -> str:
        return tables[cast(Kind, match.lastgroup)][match.group()]

    def spans(whole: bytes) -> list[Span]:
        return [(m.start(), m.end(), new(m.lastgroup, m.group())) for m in in_bytes.finditer(whole)]

    def new(kind: str | None, old: bytes) -> bytes:
        return tables[cast(Kind, kind)][old.decode()].encode()

    def word(text: str) -> str:
        return pattern.sub(swap, text)

    def exact(key: str, value: str) -> str:
        """Values that are a name as a whole, and ids that end in one (``ip-gpu-a``)."""
        if key in ("node", "host", "name", "title", "local_ip") and value in whole:
            return whole[value]
        if key == "user":
            return tables["user"].get(value, value)
        if key in ("id", "question"):
            return loose.sub(lambda m: machines[m.group()], value)
        return word(value)

    return TextChange(word, exact, spans)
