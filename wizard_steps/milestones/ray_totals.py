"""What ``ray status`` and ``ray list nodes`` print, from Ray 2.9 on. Reading never raises."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

from wizard_steps.node.lines import number

#: Headings under which living nodes are counted: old Ray says Healthy, the newer autoscaler also Idle.
_LIVING = ("Active:", "Idle:", "Healthy:")
#: Under which demands are counted: old Ray, the verbose form, Ray from 2.50 or so on.
_DEMANDS = ("Demands:", "Total Demands:", "Pending Demands:")
#: Places at which the JSON of `ray list nodes` may begin; warnings stand before it.
_STARTS = 20


class Totals:
    """Node count, GPUs and what waits for them, as `ray status` prints them."""

    def __init__(self, text: str) -> None:
        self.nodes, self.used, self.gpus = 0, 0.0, 0.0
        self.waiting: list[str] = []
        heading, counted = "", False
        for line in text.splitlines():
            plain = line[:400].strip()
            if plain.endswith(":") and "{" not in plain:
                heading = plain
                continue
            words = plain.split()
            if heading in _LIVING and len(words) >= 2 and words[1].startswith("node_"):
                self.nodes += number(words[0])
            elif not counted and len(words) >= 2 and words[1] == "GPU" and "/" in words[0]:
                used, gpus = map(_amount, words[0].split("/")[:2])
                if used is not None and gpus is not None:
                    self.used, self.gpus, counted = used, gpus, True
            elif heading in _DEMANDS and "pending" in plain and len(self.waiting) < 10:
                self.waiting.append(plain[:200])

    def right(self, nodes: int, gpus: int) -> bool:
        return self.nodes == nodes and (gpus == 0 or self.gpus == gpus)


def nodes_of(text: str) -> list[dict[str, Any]]:
    """The living nodes of `ray list nodes --format json`; other lines may stand before the JSON."""
    for place in _starts(text):
        try:
            found, _ = json.JSONDecoder().raw_decode(text, place)
        except (ValueError, RecursionError):
            continue
        if isinstance(found, list):
            return [one for one in found if isinstance(one, dict) and one.get("state") == "ALIVE"]
    return []


def _starts(text: str) -> Iterator[int]:
    """Places of a bracket that opens a line."""
    at, count = text.find("["), 0
    while at >= 0 and count < _STARTS:
        if at == 0 or text[at - 1] == "\n":
            count += 1
            yield at
        at = text.find("[", at + 1)


def _amount(word: str) -> float | None:
    """``16.0``; None for what is no amount."""
    try:
        found = float(word) if len(word) < 32 else math.nan
    except ValueError:
        return None
    return found if math.isfinite(found) and found >= 0 else None
