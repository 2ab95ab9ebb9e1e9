"""What differs from node to node, from what runs to the cluster file: environment, flags, addresses, GPUs."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from msgspec import Struct

from wizard_steps.cluster.devices import ORDER, VISIBLE
from wizard_steps.cluster.file import Cluster
from wizard_steps.engine.step import Known
from wizard_steps.model import Node
from wizard_steps.node import spec
from wizard_steps.node.spec import Spec

Env = Mapping[str, str]
#: A variable that the cluster file can name.
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,200}")
_ADDRESS, _INTERFACES = "VLLM_HOST_IP", ("NCCL_SOCKET_IFNAME", "GLOO_SOCKET_IFNAME")
#: Set by milepost for each node from what the gates found: a value of all nodes cannot say them.
_OF_A_NODE = frozenset({*_INTERFACES, VISIBLE})
#: Follows from other fields.
_DERIVED = frozenset({_ADDRESS, "RAY_ADDRESS", *ORDER})


class Flags(Struct, frozen=True):
    """A field of flags that all get, and the one of a node's own."""

    field: str
    own: str
    shared: tuple[str, ...]


def facts(known: Known, cluster: Cluster, then: Mapping[str, Spec]) -> dict[str, Any]:
    """What the gates before would teach after the edits that led to ``cluster``."""
    addresses = dict(known.facts.get("fabric_ips", {}))
    interfaces = dict(known.facts.get("interfaces", {}))
    for old, new in zip(known.nodes, cluster.node_list, strict=True):
        if old.fabric_ip != new.fabric_ip:
            addresses[new.name] = new.fabric_ip
            interfaces[new.name] = then[new.name].env.get(_INTERFACES[0], "") if new.name in then else ""
    found = {**known.facts, "fabric_ips": addresses, "interfaces": interfaces}
    if cluster.without_ray == known.cluster.without_ray:
        return found
    return {**found, "executor": "mp" if cluster.without_ray else "ray"}


def environment(known: Known, found: Mapping[str, tuple[Env, Env]]) -> Iterator[tuple[str, str]]:
    """``found``: by node what runs was given, and what it would be given now."""
    places = {node.name: at for at, node in enumerate(known.nodes)}
    for name, (was, is_) in found.items():
        if was.get(_ADDRESS) and was.get(_ADDRESS) != is_.get(_ADDRESS):
            yield f"nodes[{places[name]}].fabric_ip", was[_ADDRESS]
    names = dict.fromkeys(name for was, is_ in found.values() for name in (*was, *is_))
    for name in names:
        differs = any(was.get(name) != is_.get(name) for was, is_ in found.values())
        if differs and _NAME.fullmatch(name) and name not in _DERIVED:
            yield from _variable(known, name, {node: was.get(name) for node, (was, _) in found.items()})


def _variable(known: Known, name: str, wanted: Mapping[str, str | None]) -> Iterator[tuple[str, str]]:
    """For all nodes where the file may say so; one whose gate has passed in this walk keeps what it has."""
    cluster = known.cluster
    entries = list(enumerate(cluster.nodes))
    names = [node.name for node in known.nodes]
    settled = [one for one in known.facts.get("starts", {}) if one in names and one not in wanted]
    apart = settled or name in _OF_A_NODE or any(name in entry.env for entry in cluster.nodes)
    if not apart and len(set(wanted.values())) == 1:
        yield f"env.{name}", next(iter(wanted.values())) or ""
        return
    shared = cluster.env.get(name)
    goal = {
        one: wanted.get(one, entry.env.get(name, shared))
        for one, (_, entry) in zip(names, entries, strict=True)
    }
    same = next(iter(goal.values())) if len(set(goal.values())) == 1 else None
    if None in goal.values() and shared is not None:
        yield f"env.{name}", ""
        shared = None
    elif same is not None and name not in _OF_A_NODE:
        yield f"env.{name}", same
        shared = same
    for one, (at, entry) in zip(names, entries, strict=True):
        if goal[one] != entry.env.get(name, shared):
            yield f"nodes[{at}].env.{name}", "" if goal[one] == shared else goal[one] or ""


def spread(
    known: Known,
    rests: Mapping[str, tuple[str, ...]],
    flags: Flags,
    everyone: Sequence[Node],
    settled: Collection[str],
) -> Iterator[tuple[str, str]]:
    """Flags of what runs, by node: into the field of all where they agree, else into those of the nodes."""
    places = {node.name: at for at, node in enumerate(known.nodes)}
    own = {node.name: tuple(getattr(known.cluster.entry(node), flags.own)) for node in everyone}
    if all(spec.flags(rest) == spec.flags((*flags.shared, *own[name])) for name, rest in rests.items()):
        return
    bare = [_without_end(rest, own[name]) for name, rest in rests.items()]
    if not settled and bare[0] is not None and all(one == bare[0] for one in bare):
        yield flags.field, shlex.join(bare[0])
        return
    shared = flags.shared
    if not all(rest[: len(shared)] == shared for rest in rests.values()):
        yield flags.field, ""
        shared = ()
    for name, mine in own.items():
        goal = rests.get(name, (*flags.shared, *mine))[len(shared) :]
        if tuple(goal) != mine:
            yield f"nodes[{places[name]}].{flags.own}", shlex.join(goal)


def _without_end(words: tuple[str, ...], end: tuple[str, ...]) -> tuple[str, ...] | None:
    if not end:
        return words
    return words[: -len(end)] if words[-len(end) :] == end else None


def others(
    argv: Sequence[str], now: Sequence[str], named: Sequence[str], own: Collection[str]
) -> Iterator[str]:
    """The flags of a command line, with their values, that a person has named in the file. Not theirs: what
    ``now`` has beside ``named``, as often as it has it, and ``own`` where nobody named it."""
    mine = Counter(map(_flag, now)) - Counter(map(_flag, named))
    never = set(own) - set(map(_flag, named))
    keep = False
    for word in argv:
        if name := _flag(word):
            keep = mine[name] <= 0 and name not in never
            mine[name] -= 1
        if keep:
            yield word


def _flag(word: str) -> str:
    """Its name; "" for a value."""
    return word.partition("=")[0] if word.startswith("-") and not spec.is_number(word) else ""
