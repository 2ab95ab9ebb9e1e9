"""Findings as text for a person and as JSON for a program."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from wizard_steps.diagnose.blanks import closed
from wizard_steps.diagnose.model import Diagnosis, Evidence

_LINE = 200
#: From this confidence on a cause is called one; below, it is likely.
SURE = 0.85
_KINDS = {
    "hint": "remark",
    "guess": "guess",
    "unknown": "unknown",
    "wrapper": "not the cause",
    "gate": "what the gate found",
}


def as_text(found: Sequence[Diagnosis], explain: bool = False) -> list[str]:
    """Lines of plain text, the answer first. ``explain`` shows the context of every line, the
    expression that matched, and the rules that were not taken."""
    if not found:
        return ["No known failure in this text."]
    lines: list[str] = []
    if all(finding.kind == "hint" for finding in found):
        lines += ["No failure found. What may be worth a look:", ""]
    for number, finding in enumerate(found, 1):
        if number > 1:
            lines.append("")
        lines.extend(_one(number, closed(finding), explain))
    return lines


def how_sure(finding: Diagnosis) -> str:
    """In one word: cause, likely, guess, remark, unknown, or that it is only a wrapper."""
    return _KINDS.get(finding.kind) or ("cause" if finding.confidence >= SURE else "likely")


def whole_name(finding: Diagnosis) -> str:
    """The node with its other name, and who printed the line where that is another node."""
    name = f"{finding.node} ({finding.alias})" if finding.alias else finding.node
    return f"{name}, seen from {finding.seen_from}" if finding.seen_from else name


def _one(number: int, finding: Diagnosis, explain: bool) -> list[str]:
    node = f" on {whole_name(finding)}" if finding.node else ""
    sure = how_sure(finding)
    if finding.kind != "gate":
        sure += f", {round(finding.confidence * 100)} %"
    lines = [f"{number}. {finding.family}{node} ({sure}): {finding.cause}"]
    if finding.time is not None:
        lines.append(f"   when: {datetime.fromtimestamp(finding.time, UTC):%b %d %H:%M:%S} (time of the log)")
    for item in finding.evidence:
        context = explain or (number == 1 and item is finding.evidence[0])
        lines.extend(_where(item, context, finding.pattern))
    for action in finding.try_:
        lines.append(f"   try: {action.text}")
        if action.command:
            lines.append(f"        {action.command}")
        if action.command.startswith("export "):
            lines.append(
                "        (in the shell that starts Ray and vLLM; with milepost: env in the cluster file)"
            )
    if versions := _versions(finding):
        lines.append(f"   versions: {versions}")
    if finding.why and (explain or number == 1):
        lines.append(f"   why this first: {finding.why}")
    rule = finding.rule if finding.kind == "gate" else f"rule {finding.rule}"
    lines.append(f"   {rule}, from {finding.source}")
    if explain and finding.pattern:
        lines.append(f"   pattern: {finding.pattern}")
        lines.extend(f"   not rule {rival}" for rival in finding.rivals)
    return lines


def _where(item: Evidence, context: bool, pattern: str) -> list[str]:
    """The line, and with ``context`` the lines around it."""
    place = f"   {item.file}:{item.line}: {_short(item.text, pattern)}"
    if not context:
        return [place]
    before = [f"   | {_short(line)}" for line in item.before if line.strip()]
    return [*before, place, *(f"   | {_short(line)}" for line in item.after if line.strip())]


def _short(text: str, pattern: str = "") -> str:
    """The line, or of a long one the part in which the pattern matched."""
    if len(text) <= _LINE:
        return text
    found = re.search(pattern, text, re.IGNORECASE) if pattern else None
    start = max(0, min(found.start() - 40, len(text) - _LINE)) if found and found.end() > _LINE else 0
    cut = text[start : start + _LINE - 1]
    return ("…" if start else "") + cut + ("…" if start + len(cut) < len(text) else "")


def _versions(finding: Diagnosis) -> str:
    words = (("since", finding.since), ("until", finding.until))
    return ", ".join(f"{word} {version}" for word, version in words if version)


def as_json(found: Sequence[Diagnosis]) -> list[dict[str, Any]]:
    """Plain JSON values; the keys are the field names of Finding, with ``try`` for ``try_``."""
    return msgspec.json.decode(
        msgspec.json.encode([closed(finding) for finding in found]), type=list[dict[str, Any]]
    )
