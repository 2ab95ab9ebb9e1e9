"""What differs between a recorded walk and today's: what is a drift, and what is only worth a remark."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

from msgspec import Struct

from wizard_steps.engine.expected import EXPECTED
from wizard_steps.recording import events as ev
from wizard_steps.transport.replay import ReplayDifference

DriftKind = Literal["command", "expectation", "verdict", "cluster", "schema"]
#: step: only today's plan or only the recorded one has it; reason: a gate that failed then fails today for
#: another reason; helper, unrecorded, unused: see Difference.
RemarkKind = Literal["step", "reason", "helper", "unrecorded", "unused"]
#: With --strict each command must be the recorded one.
_STRICT: tuple[RemarkKind, ...] = ("helper", "unrecorded", "unused")
#: Characters of a command that a message shows, around the first one that differs.
_SHOWN = 100


class Drift(Struct, frozen=True):
    """Why a recording does not fit today's steps. ``step`` is empty when no step was reached, ``attempt`` 0
    where none is meant. ``then`` and ``now``: of a command, what a person was shown and is shown today."""

    kind: DriftKind
    text: str
    step: str = ""
    attempt: int = 0
    then: str = ""
    now: str = ""


class Remark(Struct, frozen=True):
    """What differs without being a drift. ``step`` is empty for what holds for the walk."""

    kind: RemarkKind
    text: str
    step: str = ""
    attempt: int = 0


def strict(remarks: Sequence[Remark]) -> tuple[tuple[Drift, ...], tuple[Remark, ...]]:
    """Remarks about commands as drifts, and the remarks that are left."""
    drifts = tuple(Drift("command", r.text, r.step, r.attempt) for r in remarks if r.kind in _STRICT)
    return drifts, tuple(r for r in remarks if r.kind not in _STRICT)


def of_commands(differences: Iterable[ReplayDifference]) -> tuple[list[Drift], list[Remark]]:
    """One drift or remark for each command, with all nodes that it differs on."""
    groups: dict[tuple[object, ...], list[ReplayDifference]] = {}
    for one in differences:
        shown = (one.attempt, one.then, one.now) if one.level == "visible" else ()
        groups.setdefault((one.level, one.step, one.key, *shown), []).append(one)
    drifts, remarks = [], []
    for group in groups.values():
        first = group[0]
        nodes = ", ".join(dict.fromkeys(one.node for one in group))
        place = f"{first.step}: {first.key} on {nodes}"
        if first.level == "visible":
            text = f"{place}: {_changed_command(first)}"
            drifts.append(Drift("command", text, first.step, first.attempt, first.then, first.now))
        else:
            remarks.append(Remark(first.level, f"{place}: {_remark(first)}", first.step, first.attempt))
    return drifts, remarks


def _changed_command(one: ReplayDifference) -> str:
    then, now = clipped(one.then, one.now)
    return f"a command has changed since: `{then}` was recorded, today it is `{now}`. Record the walk again"


def _remark(one: ReplayDifference) -> str:
    if one.level == "helper":
        return "the helper script behind the command has changed since; the command a person sees has not"
    if one.level == "unrecorded":
        return (
            f"not recorded: today's steps run `{clipped(one.now)[0]}`, and the recording has no result of it"
        )
    return f"recorded, and not run today: `{clipped(one.then)[0]}`"


def clipped(*texts: str) -> tuple[str, ...]:
    """Texts in one line each; of long ones the part around the first character that differs."""
    lines = [" ".join(text.split()) for text in texts]
    if max(map(len, lines)) <= _SHOWN:
        return tuple(lines)
    same = next((n for n, all_ in enumerate(zip(*lines, strict=False)) if len(set(all_)) > 1), 0)
    start = max(0, same - _SHOWN // 3) if len(lines) > 1 else 0
    return tuple(
        ("..." if start else "")
        + line[start : start + _SHOWN]
        + ("..." if start + _SHOWN < len(line) else "")
        for line in lines
    )


def of_verdicts(old: ev.Judged, new: ev.Judged) -> Drift | None:
    """How today's verdict differs from the recorded one, where it does."""
    if (old.step, old.attempt) != (new.step, new.attempt):
        text = f"today {new.step} {_word(new)} is judged, recorded was {old.step} {_word(old)}"
        return Drift("verdict", text, new.step, new.attempt)
    return _changed(old, new) if old.verdict.passed != new.verdict.passed else None


def of_comparisons(old: ev.Judged, new: ev.Judged) -> Drift | None:
    """Expected text that was compared when this was recorded, and that nothing is compared with today."""
    now = {(c.key, c.node) for c in new.verdict.comparisons}
    gone = [c for c in old.verdict.comparisons if (c.key, c.node) not in now]
    if not gone:
        return None
    which = ", ".join(dict.fromkeys(f"{c.key} on {c.node}" for c in gone))
    text = f"{new.step}: output that was compared with expected text is not compared today: {which}"
    return Drift("expectation", text, new.step, new.attempt)


def of_reasons(old: ev.Judged, new: ev.Judged) -> Remark | None:
    """A gate that failed then and fails today, for another reason."""
    before, after = _reasons(old), _reasons(new)
    if before == after:
        return None
    said = "; ".join(sorted(after - before) or sorted(before - after))
    text = f"{new.step}: failed for another reason than in the recording: {said}"
    return Remark("reason", text, new.step, new.attempt)


def _changed(old: ev.Judged, new: ev.Judged) -> Drift:
    texts = [c for c in new.verdict.failures if c.name in EXPECTED]
    others = [c for c in new.verdict.failures if c.name not in EXPECTED]
    if texts and not others:
        first, count = texts[0], len(texts)
        text = f"{first.found}: {first.wanted}"
        if first.name == "expected line":
            text = (
                f"the expected line {first.wanted!r} does not match what {first.node or 'the node'} printed "
                f"when this was recorded; {count} {'line' if count == 1 else 'lines'} in all"
            )
        return Drift("expectation", f"{new.step}: {text}. Today's verdict is failed", new.step, new.attempt)
    why = f": {others[0].name}: {others[0].found}" if others else ""
    text = f"{new.step}: today's verdict is {_word(new)}, the recorded one was {_word(old)}{why}"
    return Drift("verdict", text, new.step, new.attempt)


def _reasons(event: ev.Judged) -> set[str]:
    """What failed, without the wording that differs from run to run."""
    return {
        f"{c.name}{f' on {c.node}' if c.node else ''}{f' ({c.wanted})' if c.name == 'expected line' else ''}"
        for c in event.verdict.failures
    }


def _word(event: ev.Judged) -> str:
    return f"{'passed' if event.verdict.passed else 'failed'} (attempt {event.attempt})"
