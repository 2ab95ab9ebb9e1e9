"""Small pieces several milestones share."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from wizard_steps.engine.step import Known, Step
from wizard_steps.facts.finding import Finding
from wizard_steps.model import Check, Cmd, Node, Result, Results, Round, Work
from wizard_steps.node.place import Place
from wizard_steps.node.places import place_of
from wizard_steps.node.remote import Look, other_clusters


def everywhere(nodes: Iterable[Node], make: Cmd | Callable[[Node], Cmd]) -> Round:
    """The same command, or one made for each node, on all of them at once."""
    work: list[Work] = [(node, make if isinstance(make, Cmd) else make(node)) for node in nodes]
    return Round(work=tuple(work))


class Placed(Step):
    """A milestone that exists once for hosts and containers: its commands and texts fit the place."""

    def ways(self, known: Known) -> Collection[str]:
        return placed(known).ways


def placed(known: Known) -> Place:
    """Where Ray and vLLM run, with what the gates before have taught."""
    return place_of(known.cluster, known.facts)


def check_of(one: Finding) -> Check:
    """A judged fact of the preflight as a check of a gate: both say the same of the same thing."""
    ok = one.verdict != "fail"
    text = f"{one.found}: {one.message}" if one.found and one.message else one.found or one.message
    # What nobody could read is not proved, and so not fine.
    unsure = one.verdict in ("warn", "unknown")
    return Check(one.fact, ok, text, node=one.node, hint=one.hint, warning=unsure)


def ran(done: Results, key: str, nodes: Sequence[Node]) -> list[Check]:
    """One failed check for each node where ``key`` did not run to a good end."""
    return [failure(done.get(key, node), node) for node in nodes if not _good(done.get(key, node))]


def _good(result: Result | None) -> bool:
    return result is not None and result.ok


#: What engines and tools print after what is wrong, in their older and newer ways.
_USAGE = re.compile(
    r"(?:See|Run) '[\w ./-]+ --help'|Usage:\s+\S|time=\S+ level=error msg=\"error waiting for container"
)


def failure(result: Result | None, node: Node, hint: str = "") -> Check:
    """What became of a command that failed, in words."""
    if result is None:
        return Check(name="command", ok=False, node=node.name, found="was not run")
    said = [line for line in result.lines if line.strip() and not _USAGE.match(line.strip())]
    last = next(reversed(said), "")
    if result.reason == "timeout":
        found = f"no end within its limit; last line: {last}" if last else "no output within its limit"
    elif result.reason == "lost":
        found = last or "the connection was lost"
    elif result.reason == "unrecorded":
        found = "the recording has no result of it"
    else:
        found = f"exit {result.code}: {last}" if last else f"exit {result.code}, no output"
    return Check(name=result.key, ok=False, node=node.name, found=found, hint=hint)


def port_taken(known: Known, look: Result, port: int, field: str, end: str = "end it") -> Check | None:
    """That somebody else listens on ``port``, by what a look printed; None where nobody does.

    ``field`` sets that port; ``end`` is how to end a process that is in no container.
    """
    found, place, name = Look(look.text), placed(known), look.node.name
    if not found.listening or found.ours:
        return None
    who = place.who(found, look.text)
    if clusters := other_clusters(look.text):
        names = ", ".join(map(repr, clusters))
        text = f"port {port} is taken; milepost runs the cluster {names} here ({who})"
        down = f"`milepost down` with the file of {names} ends it; or give this cluster other ports"
        return Check("port", False, text, "a free port", name, down)
    text = f"port {port} is taken by a process milepost did not start ({who})"
    hint = f"{place.ends(look.text) or end}, or edit {field}"
    return Check("port", False, text, "a free port", name, hint)


def same_everywhere(name: str, values: Mapping[str, str], hint: str = "") -> Check:
    """Unlike values across nodes are the finding: it names the odd ones out."""
    groups: dict[str, list[str]] = {}
    for node, value in values.items():
        groups.setdefault(value, []).append(node)
    if len(groups) <= 1:
        only = next(iter(groups), "")
        found = f"{only} on every node" if only else "nothing to compare"
        return Check(name=name, ok=True, found=found, warning=not only)
    ordered = sorted(groups.items(), key=lambda item: -len(item[1]))
    usual, rest = ordered[0], ordered[1:]
    odd = "; ".join(f"{', '.join(nodes)}: {value or 'unknown'}" for value, nodes in rest)
    return Check(
        name=name,
        ok=False,
        node=rest[0][1][0],
        found=f"{odd} (the others: {usual[0] or 'unknown'})",
        wanted="the same on every node",
        hint=hint,
    )
