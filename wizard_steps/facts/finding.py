"""One judged fact of one node."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

Verdict = Literal["ok", "warn", "fail", "unknown"]

#: From harmless to grave.
ORDER: tuple[Verdict, ...] = ("ok", "unknown", "warn", "fail")


class Finding(Struct, frozen=True):
    """``node`` is empty for the cluster as a whole. ``message`` and ``hint`` are empty when all is well."""

    fact: str
    node: str
    verdict: Verdict
    found: str = ""
    message: str = ""
    hint: str = ""


def ok(fact: str, node: str, found: str) -> Finding:
    return Finding(fact, node, "ok", found)


def worst(verdicts: list[Verdict]) -> Verdict:
    """The gravest of the verdicts; "ok" when there is none."""
    return max(verdicts, key=ORDER.index, default="ok")
