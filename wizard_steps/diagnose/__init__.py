"""From any output to a cause: which node, which line, what to try.

``diagnose`` takes texts, ``diagnose_streams`` reads files of any size. Both return findings, best first; an
empty list means that nothing in the text is a known failure. Rules are data: see ``rules/README.md``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import BinaryIO

from msgspec import Struct
from msgspec.structs import replace

from wizard_steps.diagnose import unequal
from wizard_steps.diagnose.model import FAMILIES, Action, Diagnosis, Evidence, Fix, Source
from wizard_steps.diagnose.rank import Scanned, findings
from wizard_steps.diagnose.render import as_json, as_text, whole_name
from wizard_steps.diagnose.rules import RuleSet, default_rules
from wizard_steps.diagnose.scan import BLOCK, Scanner, scan_bytes, scan_text

__all__ = [
    "FAMILIES",
    "Action",
    "Diagnosis",
    "Evidence",
    "Examined",
    "Fix",
    "Source",
    "advice",
    "as_json",
    "as_text",
    "diagnose",
    "diagnose_streams",
    "examine",
    "examine_streams",
    "whole_name",
]


class Examined(Struct, frozen=True):
    """Findings, best first, and whether there was any text at all."""

    findings: list[Diagnosis]
    text: bool


def diagnose(sources: Sequence[Source], rules: RuleSet | None = None) -> list[Diagnosis]:
    """Findings of several outputs at once, the first failure over all of them first."""
    return examine(sources, rules).findings


def examine(sources: Sequence[Source], rules: RuleSet | None = None) -> Examined:
    """The same, and whether there was anything to read."""
    rules = rules or default_rules()
    return _examined([_scanned(source, scan_text(source.text, rules)) for source in sources])


def diagnose_streams(streams: Sequence[tuple[Source, Callable[[], BinaryIO]]]) -> list[Diagnosis]:
    """The same for files: each is opened, read in pieces and closed in turn, so that memory grows neither
    with their size nor with their number. The text in a Source is not looked at. Raises OSError.
    """
    return examine_streams(streams).findings


def examine_streams(streams: Sequence[tuple[Source, Callable[[], BinaryIO]]]) -> Examined:
    """The same, and whether there was anything to read. Raises OSError."""
    rules = default_rules()
    scanned = []
    for source, opened in streams:
        with opened() as file:
            scanned.append(_scanned(source, scan_bytes(_pieces(file), rules)))
    return _examined(scanned)


def advice(text: str) -> Diagnosis | None:
    """The best known cause of what a program said, for a gate that failed with it; None for a mere guess."""
    found = diagnose([Source("output", text)])
    return found[0] if found and found[0].kind in ("cause", "effect") else None


def _examined(scanned: Sequence[tuple[Scanned, bool]]) -> Examined:
    hits = unequal.only([one.hits for one, _ in scanned])
    each = [replace(one, hits=kept) for (one, _), kept in zip(scanned, hits, strict=True)]
    return Examined(findings(each), any(text for _, text in scanned))


def _scanned(source: Source, scanner: Scanner) -> tuple[Scanned, bool]:
    hits = Scanned(Source(source.name, "", source.node), tuple(scanner.hits), scanner.values, scanner.roster)
    return hits, scanner.any_text


def _pieces(file: BinaryIO) -> Iterator[bytes]:
    while piece := file.read(BLOCK):
        yield piece
