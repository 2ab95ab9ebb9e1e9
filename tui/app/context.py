"""Which keys the footer of the walk's screen names, here and now. All others work too: F1 lists them."""

from __future__ import annotations

from dataclasses import dataclass, replace

from textual.binding import ActiveBinding
from textual.widgets import Input


@dataclass(frozen=True, slots=True)
class Context:
    """What a person can do at the moment."""

    view: str
    gate: bool = False
    paused: bool = False
    over: bool = False
    passed: bool = False
    many: bool = False
    place: bool = False
    steps: bool = False
    records: bool = False
    #: A line to search in is open: letters are typed there.
    finding: bool = False


def actions(here: Context) -> tuple[str, ...]:
    """The actions that the footer names, in its order, the most fitting first."""
    if here.finding:
        return ("submit", "present", "help")
    named = []
    if here.passed:
        named.append("app.handover")
    # The keys of a gate and of a pause are named in bars of their own.
    if here.place and not here.paused:
        named.append("go_on")
    if here.steps:
        named.append("present")
    named.append("info")
    if here.many:
        named.append("nodes")
    named += {"log": ["find", "wrap"], "compare": ["fold"], "checks": []}[here.view]
    named.append("copy")
    if here.records and not here.over and not here.gate:
        named.append("steps")
    if here.records:
        named.append("note")
    return (*named, "help", "ask_quit")


def shown(active: dict[str, ActiveBinding], here: Context) -> dict[str, ActiveBinding]:
    """The bindings with those of ``actions`` first and marked to be shown; the others are not."""
    first: dict[str, ActiveBinding] = {}
    for action in actions(here):
        for key, found in active.items():
            if found.binding.action == action and not found.binding.priority and _fits(found, here):
                words = _FINDING.get(action, "") if here.finding else ""
                named = replace(found.binding, show=True, description=words or found.binding.description)
                first[key] = found._replace(binding=named)
                break
    rest = {
        key: found._replace(binding=replace(found.binding, show=False))
        for key, found in active.items()
        if key not in first
    }
    return first | rest


#: What the keys do while a line to search in is open.
_FINDING = {"submit": "Search", "present": "Close"}


def _fits(found: ActiveBinding, here: Context) -> bool:
    """A field has keys of its own for actions of the same name: copying is one."""
    return here.finding or not isinstance(found.node, Input)
