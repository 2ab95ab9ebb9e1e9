"""From hits to findings: the first failure by causality, then by time over all nodes and files."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Sequence

from msgspec import Struct, field
from msgspec.structs import replace

from wizard_steps.diagnose import blanks, contained
from wizard_steps.diagnose.hits import Hit
from wizard_steps.diagnose.lines import Stamp, unix
from wizard_steps.diagnose.model import KINDS, Action, Diagnosis, Evidence, Source
from wizard_steps.diagnose.nodes import HEAD, Roster, merged
from wizard_steps.diagnose.scan import KEEP
from wizard_steps.diagnose.values import flag_history, plain
from wizard_steps.recording.redact import Redactor

#: What is found after the first failure is probably its consequence.
LATER = 0.6
#: No finding is surer than this where lines of another kind of failure also name a cause.
CONTESTED = 0.84
#: So sure can a rule be that takes many different messages for one thing and repeats nothing of the line:
#: of what stands in the line it has used only that it is one of them.
BROAD = 0.88
_MANY = 5
#: Lines between two that tell of one failure.
NEAR = 40
#: A line of source code in a traceback shows only what the program could say.
WEAK = 0.5
_YEAR = 2000
#: Findings of one of these are shown only where there is none of an earlier one.
_STAGES = (("cause", "effect"), ("raised",), ("hint",), ("guess",), ("unknown",))
_PLACEHOLDER = re.compile(r"\{(\w+)(?:\|([^{}]*))?\}")


class RankedFinding(Struct, frozen=True):
    """A hit with what its source adds: node, time on the common scale, order over all sources."""

    hit: Hit
    file: str
    node: str
    alias: str
    time: float | None
    order: tuple[int, int]


class Scanned(Struct, frozen=True):
    """The hits of one source; the source's own text is no longer needed."""

    source: Source
    hits: tuple[Hit, ...]
    values: dict[str, str] = field(default_factory=dict)
    roster: Roster = field(default_factory=Roster)


def findings(scanned: Sequence[Scanned]) -> list[Diagnosis]:
    """All findings, best first. Each kind appears when there is none of a better kind."""
    everything = _place(scanned)
    placed = _one_per_line(everything)
    ordered = sorted(_groups(placed), key=lambda group: _key(group[0]))
    redactor = Redactor.from_environment()
    if not ordered:
        return []
    best = min(_worth(group[0].hit) for group in ordered)
    real = [group for group in ordered if _worth(group[0].hit) == best]
    if best == len(_STAGES):
        return [_wrapper(ordered[0], scanned, redactor)]
    found = [
        replace(_finding(group, scanned, redactor), rivals=_rivals(group[0], everything)) for group in real
    ]
    return _with_confidence(_with_reasons(real, found))


def _groups(placed: Iterable[RankedFinding]) -> list[list[RankedFinding]]:
    """The lines of one rule on one node. A loose line without a node (prose, a part of a message) tells of
    the same failure as a line near it, of the same rule, that has one."""
    groups: dict[tuple[str, str], list[RankedFinding]] = {}
    for item in (items := list(placed)):
        if not item.node and item.hit.where.loose and (twin := _twin(item, items)):
            item = replace(item, node=twin.node, alias=twin.alias)
        groups.setdefault((item.hit.rule.rule.id, item.node), []).append(item)
    return list(groups.values())


def _twin(item: RankedFinding, items: Iterable[RankedFinding]) -> RankedFinding | None:
    """The nearest line of the same rule and text that has a node; else any line near by, if they agree."""

    def away(other: RankedFinding) -> int:
        return abs(other.hit.number - item.hit.number)

    near = [o for o in items if o.node and o.order[0] == item.order[0] and away(o) <= NEAR]
    if same := [o for o in near if o.hit.rule is item.hit.rule]:
        return min(same, key=away)
    return near[0] if len({o.node for o in near}) == 1 else None


def _worth(hit: Hit) -> int:
    """How much a hit says: its place in _STAGES, or behind all of them for a wrapper. An exception that no
    rule knows says more than a remark: it did end something."""
    name = "raised" if hit.rule.raised is not None else hit.kind
    return next((place for place, names in enumerate(_STAGES) if name in names), len(_STAGES))


def _place(scanned: Sequence[Scanned]) -> list[RankedFinding]:
    years = [hit.stamp.year for one in scanned for hit in one.hits if hit.stamp and hit.stamp.year]
    year = max(years, default=_YEAR)
    roster = merged([one.roster for one in scanned])
    placed = [
        RankedFinding(
            hit,
            one.source.name,
            node := _node(hit, one, roster),
            roster.names.get(node, ""),
            unix(stamp, year) if (stamp := hit.stamp or _first_stamp(one)) else None,
            (number, hit.order),
        )
        for number, one in enumerate(scanned)
        for hit in one.hits
    ]
    return sorted(placed, key=_key)


def _node(hit: Hit, one: Scanned, roster: Roster) -> str:
    """The node of a hit: what the line says, what the source is, and then what stands around it."""
    source = one.source
    where, place = hit.where, roster.place(hit.where.whose)
    said = roster.place(where.node) or where.node if where.node.startswith("task ") else where.node
    if place and not where.whose.startswith("rank "):
        said = place
    if where.whose == HEAD:
        place = one.values.get("head_ip", "")
    return said or source.node or place or hit.groups.get("self", "") or where.near


def _first_stamp(one: Scanned) -> Stamp | None:
    """The time for a hit that stands before any time in its text: that of the first hit with one."""
    return next((hit.stamp for hit in one.hits if hit.stamp), None)


def _key(item: RankedFinding) -> tuple[int, bool, float, tuple[int, int], float]:
    rule = item.hit.rule.rule
    late = item.time is None
    return (KINDS.index(item.hit.kind), late, item.time or 0.0, item.order, -rule.confidence)


def _one_per_line(placed: Iterable[RankedFinding]) -> list[RankedFinding]:
    """Of several rules that match one line, the nearest to the root and most certain stays."""
    best: dict[tuple[int, int], RankedFinding] = {}
    for item in placed:
        line = (item.order[0], item.hit.number)
        have = best.get(line)
        if have is None or _strength(item.hit) < _strength(have.hit):
            best[line] = item
    return sorted(best.values(), key=_key)


def _rivals(taken: RankedFinding, everything: Iterable[RankedFinding]) -> tuple[str, ...]:
    """The rules that matched the same line and were not taken, with the reason."""
    line = (taken.order[0], taken.hit.number)
    return tuple(
        f"{rule.id} ({item.hit.kind}, {round(rule.confidence * 100)} %): {_why_not(taken.hit, item.hit)}"
        for item in everything
        if (item.order[0], item.hit.number) == line
        and (rule := item.hit.rule.rule).id != taken.hit.rule.rule.id
    )


def _why_not(taken: Hit, other: Hit) -> str:
    if taken.kind != other.kind:
        return f"its match is only a sign of kind {other.kind}, this one is of kind {taken.kind}"
    return "less certain of this line"


def _strength(hit: Hit) -> tuple[int, float]:
    return (KINDS.index(hit.kind), -hit.rule.rule.confidence)


def _finding(group: list[RankedFinding], scanned: Sequence[Scanned], redactor: Redactor) -> Diagnosis:
    first, rule = group[0], group[0].hit.rule.rule
    given = {name: value for one in reversed(scanned) for name, value in one.values.items()}
    given.pop("container", None)  # each node has its own
    # What the first line does not say, a later one of the same failure may.
    told = {name: value for item in reversed(group[:KEEP]) for name, value in item.hit.groups.items()}
    named = {**told, **({"node": first.node} if first.node else {})}
    values = {**given, **scanned[first.order[0]].values, **named}
    if "option" in named:
        values["option_history"] = flag_history(named["option"])
    if rule.family == "ssh" and first.hit.where.near and not rule.here:
        values.setdefault("host", first.hit.where.near)
    safe = plain(values)
    words = blanks.known(safe, first.node)
    # What a text of a container advises is looked at in it.
    name = plain(scanned[first.order[0]].values).get("container", "")

    def command(text: str) -> str:
        line = blanks.filled(fill(text, safe), words)
        return contained.inside(line, f"docker exec {name}") if name else line

    return Diagnosis(
        rule=rule.id,
        family=rule.family,
        kind=first.hit.kind,
        cause=redactor.text(" ".join(fill(rule.cause, values).split())),
        node=first.node,
        evidence=tuple(_evidence(item, redactor) for item in group[:KEEP]),
        try_=tuple(Action(fill(a.text, safe), command(a.command)) for a in rule.try_),
        confidence=_earned(first.hit),
        source=rule.source,
        since=rule.since,
        until=rule.until,
        fixes=rule.fixes,
        values=named,
        time=first.time,
        pattern=first.hit.pattern,
        alias=first.alias,
        seen_from=_printer(first, scanned),
    )


def _printer(item: RankedFinding, scanned: Sequence[Scanned]) -> str:
    """Who printed the line, where that is another node than the one that is named."""
    printer = item.hit.where.printer or scanned[item.order[0]].source.node
    return printer if printer not in (item.node, item.alias) else ""


def _earned(hit: Hit) -> float:
    """The rule's confidence, or less where the line gave it little to go by."""
    rule = hit.rule.rule
    if hit.kind != rule.kind:
        return min(rule.confidence, WEAK)
    told = {match[1] for match in _PLACEHOLDER.finditer(rule.cause)} & hit.groups.keys()
    return min(rule.confidence, BROAD) if len(rule.patterns) > _MANY and not told else rule.confidence


def _evidence(item: RankedFinding, redactor: Redactor) -> Evidence:
    hit = item.hit
    before, after = (tuple(redactor.text(line) for line in lines) for lines in (hit.before, hit.after))
    return Evidence(item.file, hit.number, redactor.text(hit.text), before, after)


def _with_reasons(groups: list[list[RankedFinding]], found: list[Diagnosis]) -> list[Diagnosis]:
    """Each finding with why it stands before the next one."""
    reasons = [_reason(one[0], two[0]) for one, two in itertools.pairwise(groups)]
    return [replace(finding, why=why) for finding, why in zip(found, [*reasons, ""], strict=True)]


def _reason(one: RankedFinding, two: RankedFinding) -> str:
    other = f"{two.hit.rule.rule.id} ({two.file}:{two.hit.number})"
    if one.hit.kind != two.hit.kind:
        return f"this line names a cause; {other} is usually the effect of one"
    if (one.time is None) != (two.time is None):
        return f"this line has a time; {other} has none"
    if one.time is not None and two.time is not None and one.time < two.time:
        return f"it comes {two.time - one.time:.0f} s before {other}"
    if one.order[0] != two.order[0]:
        return f"its file was given before that of {other}"
    return f"it is written before {other}"


def fill(text: str, values: dict[str, str]) -> str:
    """``{name|words}`` becomes the value that the line gave, or else the words; ``{name}`` stays as it is."""
    return _PLACEHOLDER.sub(
        lambda match: values.get(match[1], match[0] if match[2] is None else match[2]), text
    )


def _with_confidence(found: list[Diagnosis]) -> list[Diagnosis]:
    result: list[Diagnosis] = []
    rivals = {finding.family for finding in found if finding.kind == "cause"}
    limit = CONTESTED if len(rivals) > 1 else 1.0
    for finding in found:
        # The same failure on another node is no consequence.
        again = finding.rule == found[0].rule
        own = finding.confidence * (1.0 if again else LATER)
        limit = min(limit, own)
        result.append(replace(finding, confidence=round(limit, 3)))
    return result


def _wrapper(group: list[RankedFinding], scanned: Sequence[Scanned], redactor: Redactor) -> Diagnosis:
    """Only wrappers: say so, and where the cause can be."""
    finding = _finding(group, scanned, redactor)
    first = group[0]
    where = [f"above line {first.hit.number} of {first.file}"]
    if first.node:
        where.append(f"in the output of node {first.node}")
    given = sorted({one.source.node for one in scanned if one.source.node})
    given_text = f" Given so far: {', '.join(given)}." if given else ""
    cause = f"The cause is not in this text: look for the first error {' or '.join(where)}.{given_text}"
    return replace(finding, cause=f"{cause} {finding.cause}".strip())
