"""It worked yesterday: what changed between two recordings, the most likely culprit first.

The order is a guess with its reasons told: what sort of change it is, whether the failing gate names it,
whether it hit only the node that failed, whether nodes that were alike are not any more.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping

from msgspec import Struct
from msgspec.structs import replace

from wizard_steps.milestones.load_numbers import BETTER
from wizard_steps.plan import PATHS
from wizard_steps.recording.journal import Walk
from wizard_steps.recording.state import fold
from wizard_steps.walks.profile import FactKind, Key, Profile, defaults, node_names, profile
from wizard_steps.walks.renamed import in_todays_names

#: How often a change of this sort breaks a cluster that worked, by rule of thumb.
_WEIGHT: dict[FactKind, int] = {
    "version": 60,
    "gpu": 60,
    "setting": 50,
    "network": 50,
    "fact": 30,
    "command": 15,
    "tool": 10,
}
#: Versions that change often and rarely matter.
_RARELY = {"kernel": 35, "os": 30}
#: What gates call a setting.
_SPOKEN = {"tensor_parallel": "TP", "pipeline_parallel": "PP"}
#: What says which way a walk took, and the settings that only one of the ways has.
_WAYS = {"path": ("venv", "docker."), "serve.executor": ("ray.", "serve.master_port")}
#: Facts that say how a process was started, which differs with the way.
_OF_COMMANDS = ("spec", "image-id")
#: Measured numbers that are this near to each other are the same.
_NOISE = 0.25
_DEFAULTS = dict(defaults())
#: A step counts as slower or faster from this factor and this many seconds on.
_FACTOR, _SECONDS = 1.5, 2.0
#: What an embedded lab draws: 127.x.y of its nodes' addresses, ports, the name of its folder.
_LAB = re.compile(
    r"\b127\.\d{1,3}\.\d{1,3}(?=\.\d)|(?<!\d)\d{4,5}(?!\d)|(?<=/ml-)\w{8}\b|^http://127\.0\.0\.1:"
)
#: Share by which two loads of the same server differ without a cause.
_LOAD_NOISE = 0.1


class WalkChange(Struct, frozen=True):
    """One difference. ``nodes`` is empty for what holds for the whole cluster."""

    kind: FactKind
    what: str
    nodes: tuple[str, ...]
    before: str
    after: str
    score: int
    why: tuple[str, ...] = ()


class Slower(Struct, frozen=True):
    """Seconds of a step, or of one node in it."""

    step: str
    node: str
    before: float
    after: float


class Measured(Struct, frozen=True):
    """A number of a load that changed: ``worse`` where the server became slower."""

    what: str
    concurrency: int
    before: float
    after: float
    worse: bool


class Difference(Struct, frozen=True):
    """Two walks compared. ``timings``: steps that became slower or faster; ``load``: likewise the server."""

    changes: tuple[WalkChange, ...]
    verdicts: tuple[str, ...]
    timings: tuple[Slower, ...]
    load: tuple[Measured, ...] = ()

    @property
    def empty(self) -> bool:
        return not (self.changes or self.verdicts or self.timings or self.load)


def diff(before: Walk, after: Walk) -> Difference:
    """What is different in ``after``. Nodes are paired by name, else by their place in the cluster file."""
    before, after = _today(before), _today(after)
    old = profile(before)
    new = profile(after, _aliases(before, after))
    new = replace(new, facts=_in_old_words(old, new))
    changes = sorted(_changes(old, new), key=lambda c: (-c.score, c.kind, c.what, c.nodes))
    found = tuple(_verdicts(old, new)), tuple(_timings(old, new)), tuple(_load(old, new))
    return Difference(tuple(changes), *found)


def _today(walk: Walk) -> Walk:
    """With today's names of its steps: an older recording is compared with a new one."""
    path = fold(walk.events).cluster.get("path", "bare-metal")
    return in_todays_names(walk, [step() for step in PATHS.get(str(path), ())])


def _aliases(before: Walk, after: Walk) -> dict[str, str]:
    old, new = node_names(fold(before.events)), node_names(fold(after.events))
    if set(old) & set(new) or len(old) != len(new):
        return {}
    return dict(zip(new, old, strict=True))


def _in_old_words(old: Profile, new: Profile) -> Mapping[Key, str]:
    """The new walk's texts with the old one's addresses, ports and paths: such a change is told once, where
    it is set, and not again in every command."""
    pairs: dict[str, str] = {}
    for key, value in new.facts.items():
        then = old.facts.get(key, value)
        if key[0] in ("setting", "network") and then != value and _place(value) and _place(then):
            pairs.setdefault(value, then)
    if not pairs:
        return new.facts
    words = "|".join(re.escape(value) for value in sorted(pairs, key=len, reverse=True))
    pattern = re.compile(rf"(?<![\w.])(?:{words})(?![\w]|\.\d)")
    return {
        key: value if key[0] in ("setting", "network") else pattern.sub(lambda m: pairs[m.group()], value)
        for key, value in new.facts.items()
    }


def _place(value: str) -> bool:
    """Whether it is an address, a port or a path: where something is, not what it is."""
    return bool(re.fullmatch(r"[0-9a-f]*[.:][0-9a-f.:]+|\d{4,5}|/\S+", value))


def _changes(old: Profile, new: Profile) -> Iterable[WalkChange]:
    groups: dict[tuple[FactKind, str, str, str], list[str]] = {}
    ways = [way for way in _WAYS if _setting(old, way) != _setting(new, way)]
    left_out = tuple(prefix for way in ways for prefix in _WAYS[way])
    for key in dict.fromkeys([*old.facts, *new.facts]):
        kind, what, node = key
        before, after = old.facts.get(key), new.facts.get(key)
        if before == after or near(before, after) or not _both(key, before, after, old, new):
            continue
        if _told_as_setting(key, old, new) or (old.simulated and new.simulated and _drawn(before, after)):
            continue
        if (kind == "setting" and what.startswith(left_out)) or (kind == "command" and ways):
            continue
        if kind == "fact" and what in _OF_COMMANDS and ways:
            continue
        groups.setdefault((kind, what, before or "", after or ""), []).append(node)
    changed: dict[tuple[FactKind, str], set[str]] = {}
    for (kind, what, _, _), nodes in groups.items():
        changed.setdefault((kind, what), set()).update(nodes)
    for (kind, what, before, after), nodes in groups.items():
        named = tuple(node for node in nodes if node)
        alone = changed[kind, what] == set(nodes)
        score, why = _score(kind, what, named, before, after, old, new, alone)
        yield WalkChange(kind, what, named, before or "(nothing)", after or "(nothing)", score, why)


def _both(key: Key, before: str | None, after: str | None, old: Profile, new: Profile) -> bool:
    """Whether both walks came as far as where this is seen: what was never looked at has not changed."""
    if before is not None and after is not None:
        return True
    if key[0] == "setting" and (before if before is not None else after) == _DEFAULTS.get(key[1]):
        # A field that an older milepost did not write.
        return False
    missing, there = (old, new) if before is None else (new, old)
    step = there.seen_at.get(key, "")
    if key[0] == "command":
        return False
    return not step or step in missing.verdicts


def _told_as_setting(key: Key, old: Profile, new: Profile) -> bool:
    """Whether a gate only repeats a field of the node that changed in the same way."""
    kind, what, node = key
    same: Key = ("setting", f"nodes.{what}", node)
    return kind == "network" and all(
        same in table.facts and table.facts[same] == table.facts.get(key) for table in (old, new)
    )


def _drawn(before: str | None, after: str | None) -> bool:
    """Whether each lab draws such a value for itself: its network, its ports, its folder."""
    return _LAB.sub("", before or "0000") == _LAB.sub("", after or "0000")


def _setting(table: Profile, what: str) -> str:
    return table.facts.get(("setting", what, ""), _DEFAULTS.get(what, ""))


def near(before: str | None, after: str | None) -> bool:
    """Two measurements that differ by chance."""
    try:
        low, high = sorted((float(before or ""), float(after or "")))
    except ValueError:
        return False
    measured = "." in f"{before}{after}" and 0 < low < high < math.inf
    return measured and high - low <= _NOISE * high


def _score(
    kind: FactKind,
    what: str,
    nodes: tuple[str, ...],
    before: str,
    after: str,
    old: Profile,
    new: Profile,
    alone: bool,
) -> tuple[int, tuple[str, ...]]:
    score, why = _RARELY.get(what, _WEIGHT[kind]), []
    if kind == "setting" and _place(before) and _place(after):
        score = 20
    if kind == "setting" and what in _WAYS:
        others = ", ".join(f"{name}*" if name.endswith(".") else name for name in _WAYS[what])
        score, why = 100, [f"the walks took two paths: commands, {others} are not compared"]
    bad = {c.node for c in new.verdicts[new.failed].failures if c.node} if new.failed else set()
    step = next((new.seen_at[k] for k in new.seen_at if k[:2] == (kind, what)), "")
    # What the failing step itself printed is always among its words.
    told = kind != "fact" or step != new.failed
    if new.failed and told and any(_names(token, new.told) for token in _tokens(what, before, after)):
        score += 50
        why.append(f"the gate that failed ({new.failed}) names it")
    there = {node for k, w, node in new.facts if (k, w) == (kind, what)}
    if kind in ("network", "fact") and not (_known(old, kind, what) and _known(new, kind, what)):
        # Another milepost looked, or looked in another way: that says nothing of the machines.
        score = min(score, 10)
        why.append("one of the walks did not record it")
    if nodes and alone and len(nodes) < len(there) and kind != "command":
        score += 15
        why.append(f"only {', '.join(nodes)} changed")
        if bad and bad <= set(nodes):
            score += 25
            why.append(f"{new.failed} failed there")
    # Commands name their node: they are never alike.
    if nodes and kind != "command" and _alike(old, kind, what) and not _alike(new, kind, what):
        score += 25
        why.append("the nodes were the same and now differ")
    if new.failed and step and new.order.index(step) > new.order.index(new.failed):
        score -= 30
    return score, tuple(why)


def _known(table: Profile, kind: FactKind, what: str) -> bool:
    return any(key[:2] == (kind, what) for key in table.facts)


def _alike(table: Profile, kind: FactKind, what: str) -> bool:
    values = {v for (k, w, _), v in table.facts.items() if (k, w) == (kind, what)}
    return len(values) <= 1


def _tokens(what: str, before: str, after: str) -> list[str]:
    """What to look for in the failing gate's words: new or old values, when they say enough to be found."""
    found = [value for value in (before, after) if len(value) >= 4 and "\n" not in value]
    found += [value for value in (before, after) if value.isdigit()]
    if " --" in what:
        return [*found, what.split()[-1]]
    name = what.split(".")[-1]
    return [*found, what, _SPOKEN.get(name, name.replace("_", "-"))] if "." in what else found


def _names(token: str, text: str) -> bool:
    return bool(re.search(rf"(?<![\w.]){re.escape(token)}(?![\w]|\.\d)", text))


def _verdicts(old: Profile, new: Profile) -> Iterable[str]:
    if old.outcome != new.outcome:
        yield f"the first walk {_ended(old)}, the second {_ended(new)}"
    for step in old.order:
        before, after = old.verdicts.get(step), new.verdicts.get(step)
        if before is None or after is None or before.passed == after.passed:
            continue
        why = "; ".join(f"{c.name}{f' on {c.node}' if c.node else ''}: {c.found}" for c in after.failures)
        yield f"{step}: {_word(before.passed)} then, {_word(after.passed)} now" + (f": {why}" if why else "")


def _ended(table: Profile) -> str:
    return f"{table.outcome}{f' at {table.failed}' if table.failed else ''}"


def _word(passed: bool) -> str:
    return "passed" if passed else "failed"


def _timings(old: Profile, new: Profile) -> list[Slower]:
    found = []
    for key, before in old.seconds.items():
        after = new.seconds.get(key)
        if after is None or abs(after - before) < _SECONDS:
            continue
        low, high = sorted((before, after))
        if high >= _FACTOR * max(low, 0.001):
            found.append(Slower(*key, round(before, 3), round(after, 3)))
    return sorted(found, key=lambda s: -abs(s.after - s.before))


def _load(old: Profile, new: Profile) -> list[Measured]:
    """What changed by more than two runs of the same server differ, the worst first."""
    found = []
    for key, before in old.measured.items():
        after = new.measured.get(key)
        if after is not None and abs(after - before) > _LOAD_NOISE * max(before, after):
            worse = (after < before) == BETTER[key[0]]
            found.append(Measured(*key, before, after, worse))
    return sorted(found, key=lambda m: (not m.worse, -abs(m.after - m.before) / max(m.after, m.before)))
