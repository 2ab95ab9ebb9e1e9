"""Fixes that the findings of a gate offer, ready to run: command filled in, nodes named."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from wizard_steps.diagnose.explain import fix_command, fix_nodes
from wizard_steps.diagnose.model import Finding
from wizard_steps.engine.step import Known


@dataclass(frozen=True, slots=True)
class Offer:
    text: str
    command: str
    nodes: tuple[str, ...]


def offers(known: Known, findings: Sequence[Finding]) -> list[Offer]:
    """Fixes whose command and nodes are known, those of the likeliest finding first."""
    found: dict[tuple[str, tuple[str, ...]], Offer] = {}
    for finding in likely(findings):
        for fix in finding.fixes:
            command, nodes = fix_command(known, finding, fix), tuple(fix_nodes(known, finding, fix))
            if command is not None and nodes:
                found.setdefault((command, nodes), Offer(fix.text, command, nodes))
    return list(found.values())


def likely(findings: Sequence[Finding]) -> list[Finding]:
    """The answer, and a second one that is about as likely."""
    return [f for f in findings[:2] if f.confidence >= 0.8 * findings[0].confidence]
