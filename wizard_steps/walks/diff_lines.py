"""Two walks compared, as lines for a person and as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from wizard_steps.walks.diff import Difference, Measured, WalkChange


def as_json(found: Difference) -> Mapping[str, Any]:
    plain: Mapping[str, Any] = {"schema": 1, **msgspec.to_builtins(found)}
    return plain


def as_lines(found: Difference, most: int = 20) -> list[str]:
    """For a person: what went differently, then the suspects, then times. ``most`` limits the suspects."""
    if found.empty:
        return ["nothing that was recorded differs"]
    lines = list(found.verdicts)
    if found.changes:
        lines += ["", "What changed, the most likely culprit first:"]
    for number, change in enumerate(found.changes[:most], 1):
        where = f" on {', '.join(change.nodes)}" if change.nodes else ""
        lines.append(f"{number:3}. {change.kind}: {change.what}{where}: {_short(change)}")
        lines += [f"       {why}" for why in change.why]
    if len(found.changes) > most:
        lines.append(f"     and {len(found.changes) - most} more; --all shows them")
    if found.load:
        lines += ["", "Load:", *load_lines(found)]
    if found.timings:
        lines += ["", "Times:"]
    for slow in found.timings:
        where = f" on {slow.node}" if slow.node else ""
        lines.append(f"     {slow.step}{where}: {slow.before:.1f} s then, {slow.after:.1f} s now")
    return lines


def load_lines(found: Difference) -> list[str]:
    """The load alone: what became slower or faster; nothing where no number changed."""
    return [_told(one) for one in found.load]


def _short(change: WalkChange) -> str:
    """Old and new value; of long ones only what differs, with some text around it."""
    before, after = change.before, change.after
    if max(len(before), len(after)) <= 60 and "\n" not in before + after:
        return f"{before} -> {after}"
    same = next((n for n, (a, b) in enumerate(zip(before, after, strict=False)) if a != b), 0)
    start = max(0, same - 20)
    cut = [" ".join(text[start : start + 60].split()) for text in (before, after)]
    return f"...{cut[0]}... -> ...{cut[1]}..."


def _told(one: Measured) -> str:
    share = (one.after - one.before) / one.before if one.before else 1.0
    word = "slower" if one.worse else "faster"
    what = one.what.replace("_", " ").replace(" ms", "").replace("output tokens per second", "tokens/s")
    unit = " ms" if one.what.endswith("_ms") else ""
    return (
        f"     {word}: {what} with {one.concurrency} at once: {one.before:.1f}{unit} then, "
        f"{one.after:.1f}{unit} now ({share:+.0%})"
    )
