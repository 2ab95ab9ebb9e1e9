"""Which plain words a regular expression cannot match without: what makes one scan for many rules cheap."""

from __future__ import annotations

import re
from collections.abc import Iterable
from re import _constants as op  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

#: A shorter word would occur in every other line.
MIN = 4


def required(pattern: str) -> frozenset[str]:
    """Lower-case words of which every text matched by ``pattern`` holds at least one.

    Raises ValueError when there is no such word of ``MIN`` or more letters.
    """
    best = _best(parser.parse(pattern, re.IGNORECASE))
    if not best or min(map(len, best)) < MIN:
        raise ValueError(f"no plain word of {MIN} or more letters that every match must hold: {pattern}")
    return best


def _best(sequence: Iterable[Any]) -> frozenset[str] | None:
    choices: list[frozenset[str]] = []
    run = ""
    for code, value in sequence:
        if code is op.LITERAL and chr(value) not in "\r\n":
            run += chr(value).lower()
            continue
        if run:
            choices.append(frozenset([run]))
            run = ""
        inner = _inside(code, value)
        if inner:
            choices.append(inner)
    if run:
        choices.append(frozenset([run]))
    return max(choices, key=_rarity, default=None)


def _rarity(words: frozenset[str]) -> tuple[bool, int, int]:
    """A guess: long words are rare, those with digits more so; of two sets the one with fewer words."""
    scores = [len(word) + 8 * any(map(str.isdigit, word)) for word in words]
    return min(map(len, words)) >= MIN, min(12, *scores, 12), -len(words)


def _inside(code: Any, value: Any) -> frozenset[str] | None:
    if code is op.SUBPATTERN:
        return _best(value[-1])
    if code is op.ATOMIC_GROUP:
        return _best(value)
    if code in (op.MAX_REPEAT, op.MIN_REPEAT, op.POSSESSIVE_REPEAT) and value[0] >= 1:
        return _best(value[2])
    if code is op.BRANCH:
        words = [_best(branch) for branch in value[1]]
        return frozenset().union(*words) if all(words) else None  # type: ignore[arg-type]
    return None


def any_of(words: Iterable[str]) -> re.Pattern[str]:
    """An expression that finds a place of every line holding one of ``words`` (lower case).

    Words that hold another one are left out, and common beginnings are shared, so that the engine of
    ``re`` has few branches to try at each letter.
    """
    kept: list[str] = []
    for word in sorted(set(words), key=len):
        if not any(other in word for other in kept):
            kept.append(word)
    return re.compile(_trie(sorted(kept)))


def _trie(words: list[str]) -> str:
    if "" in words:
        return ""
    groups: dict[str, list[str]] = {}
    for word in words:
        groups.setdefault(word[0], []).append(word[1:])
    parts = [re.escape(letter) + _trie(rest) for letter, rest in groups.items()]
    return parts[0] if len(parts) == 1 else f"(?:{'|'.join(parts)})"
