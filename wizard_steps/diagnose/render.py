"""Findings as text for a person and as JSON for a program."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from wizard_steps.diagnose.model import Finding

_LINE = 200


def as_text(found: Sequence[Finding]) -> list[str]:
    """Lines of plain text, the answer first."""
    if not found:
        return ["No known failure in this text."]
    lines: list[str] = []
    for number, finding in enumerate(found, 1):
        if number > 1:
            lines.append("")
        lines.extend(_one(number, finding))
    return lines


def _one(number: int, finding: Finding) -> list[str]:
    node = f" on {finding.node}" if finding.node else ""
    head = f"{number}. {finding.family}{node} ({round(finding.confidence * 100)} %): {finding.cause}"
    lines = [head]
    for item in finding.evidence:
        text = item.text if len(item.text) <= _LINE else item.text[: _LINE - 1] + "…"
        lines.append(f"   {item.file}:{item.line}: {text}")
    for action in finding.try_:
        lines.append(f"   try: {action.text}")
        if action.command:
            lines.append(f"        {action.command}")
    if versions := _versions(finding):
        lines.append(f"   versions: {versions}")
    lines.append(f"   rule {finding.rule}, from {finding.source}")
    return lines


def _versions(finding: Finding) -> str:
    words = (("since", finding.since), ("until", finding.until))
    return ", ".join(f"{word} {version}" for word, version in words if version)


def as_json(found: Sequence[Finding]) -> list[dict[str, Any]]:
    """Plain JSON values; the keys are the field names of Finding, with ``try`` for ``try_``."""
    return msgspec.json.decode(msgspec.json.encode(list(found)), type=list[dict[str, Any]])
