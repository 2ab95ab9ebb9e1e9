"""Which lines of a block are like others, and of which node: what lets a repeated line be passed over."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from wizard_steps.diagnose.prefixes import peel

_DIGITS = b"0123456789"
_ADDRESS = re.compile(r"\bip=([\w.:-]+)")


def owner(line: str, start: int) -> str:
    """The node that stands before the part of a long line in which a piece begins."""
    begin = line.rfind("\r", 0, start) + 1
    return peel(line[begin : begin + 400])[1] if start else ""


def is_labelled(lines: list[str]) -> bool:
    """Whether the lines come from several nodes, told apart by what stands before them."""
    step = max(1, len(lines) // 60)
    return len({node for line in lines[::step][:60] if (node := peel(line[:400])[1])}) > 1


def keys(block: str, lines: list[str], labelled: bool) -> list[int]:
    """What stands for each line: its text without digits, and the node that stands before it."""
    bare = block.encode("utf-8", "replace").translate(None, _DIGITS).split(b"\n")
    if labelled:
        return [hash((line, peel(text[:400])[1])) for line, text in zip(bare, lines, strict=True)]
    if "ip=" not in block:
        return [hash(line) for line in bare]
    found = (_ADDRESS.search(line, 0, 200) if "ip=" in line else None for line in lines)
    return [hash((line, match[1])) if match else hash(line) for line, match in zip(bare, found, strict=True)]


def lower(text: str) -> str:
    """Lower case of the same length (that of a dotted capital I is longer, and no rule needs it)."""
    low = text.lower()
    return low if len(low) == len(text) else text.replace("\u0130", "i").lower()


def indexes(block: str, places: Iterable[int]) -> Iterator[int]:
    """The line of each place in a block, each line once; the places come in order."""
    index, position, last = 0, 0, -1
    for place in places:
        index += block.count("\n", position, place)
        position = place
        if index != last:
            yield index
        last = index
