"""An expected line as a person reads it: ``\\d+ node_[0-9a-f]+`` is ``<n> node_<id>``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

#: One of several words.
_ALT = r"([^()\[\]\\*+?|.]{1,40})"
#: A piece of a regular expression and how it is shown; the first that fits is taken.
_PIECES = (
    (re.compile(r"\((?:\?:)?([^()\[\]\\*+?|.]{1,40})\)\?"), r"[\1]"),
    (re.compile(rf"\({_ALT}\|{_ALT}\)"), r"<\1 or \2>"),
    (
        re.compile(rf"\({_ALT}\|{_ALT}\|{_ALT}\)"),
        r"<\1, \2 or \3>",
    ),
    (re.compile(r"\\b"), ""),
    (re.compile(r"(?:\\d|\[0-9\])(?:\+|\*|\{\d+(?:,\d*)?\})?"), "<n>"),
    (re.compile(r"\[\\d\.\]\+|\[0-9\.\]\+|\[\.\\d\]\+"), "<n>"),
    (re.compile(r"\[0-9a-f(?:A-F)?\](?:\+|\*|\{\d+(?:,\d*)?\})"), "<id>"),
    (re.compile(r"\[([0-9a-zA-Z])([0-9a-zA-Z])\]"), r"<\1 or \2>"),
    (re.compile(r"\[\^?[^\[\]]{1,24}\][+*]"), "<…>"),
    (re.compile(r"\\S[+*]|\\w[+*]"), "<…>"),
    (re.compile(r"\.[*+]\??"), "…"),
    (re.compile(r"\\s[*+]?| [?*+]"), " "),
    (re.compile(r"\\([^a-zA-Z0-9])"), r"\1"),
    (re.compile(r"[^\\\[\](){}|*+?^$.]"), r"\g<0>"),
)
#: Two lines are one that is nearly right from this likeness on (0 to 1).
_NEAR = 0.5
#: Longer lines are not compared with each other (characters).
_LONGEST = 240
#: What stands for any text is a word of its own.
_WORD = re.compile(r"<[^<>]{1,40}>|…|[^\s/=,:;()\"<…]+|[/=,:;()\"<]")
_NUMBER = re.compile(r"\d+(?:\.\d+)*")


def human(text: str, kind: str) -> str:
    """``text`` of a kind (literal, glob, regex) without the signs of its language; itself where a part of it
    has no plainer form."""
    if kind == "glob":
        return re.sub(r"\[(.)\]|[*?]", lambda match: match[1] or "…", text)
    if kind != "regex":
        return text
    found, at = "", 0
    while at < len(text):
        for pattern, shown in _PIECES:
            match = pattern.match(text, at)
            if match:
                found += match.expand(shown)
                at = match.end()
                break
        else:
            return text
    return found


def likeness(wanted: str, real: str) -> float:
    """How alike an expected line (in human form) and a real one are, from 0 to 1."""
    if max(len(wanted), len(real)) > _LONGEST:
        return 0.0
    here, there = _words(wanted), _words(real)
    kept = set(_aligned(here, there).values())
    odd = _odd(here, there)
    fixed = sum(word != "…" for word in here)
    return 2 * len(kept) / (fixed + len(kept) + len(odd)) if fixed and there else 0.0


def near(wanted: str, reals: Sequence[str]) -> int | None:
    """Which of ``reals`` is nearly ``wanted``; None where none is."""
    scores = [(likeness(wanted, real), -number) for number, real in enumerate(reals)]
    best = max(scores, default=(0.0, 0))
    return -best[1] if best[0] >= _NEAR else None


def differing(wanted: str, real: str) -> list[tuple[int, int]]:
    """Columns [start, end) of ``real`` that are not as ``wanted`` says."""
    if max(len(wanted), len(real)) > _LONGEST:
        return []
    there = list(_WORD.finditer(real))
    odd = _odd(_words(wanted), [match[0] for match in there])
    return [there[number].span() for number in odd]


def _words(text: str) -> list[str]:
    return _WORD.findall(text)


def _same(wanted: str, real: str) -> bool:
    if wanted == "<n>":
        return bool(_NUMBER.fullmatch(real))
    return wanted == real or (wanted.startswith("<") and len(wanted) > 2)


def _aligned(wanted: Sequence[str], real: Sequence[str]) -> dict[int, int]:
    """Longest common subsequence: index in ``wanted`` -> index in ``real``."""
    best = [[0] * (len(real) + 1) for _ in range(len(wanted) + 1)]
    for i in range(len(wanted) - 1, -1, -1):
        for j in range(len(real) - 1, -1, -1):
            hit = best[i + 1][j + 1] + 1 if _same(wanted[i], real[j]) else 0
            best[i][j] = max(hit, best[i + 1][j], best[i][j + 1])
    pairs: dict[int, int] = {}
    i = j = 0
    while i < len(wanted) and j < len(real):
        if _same(wanted[i], real[j]) and best[i][j] == best[i + 1][j + 1] + 1:
            pairs[i] = j
            i, j = i + 1, j + 1
        elif best[i][j] == best[i + 1][j]:
            i += 1
        else:
            j += 1
    return pairs


def _odd(wanted: Sequence[str], real: Sequence[str]) -> list[int]:
    """Words of ``real`` that nothing in ``wanted`` stands for."""
    pairs = _aligned(wanted, real)
    ends = [(-1, -1), *sorted(pairs.items()), (len(wanted), len(real))]
    odd: list[int] = []
    for (i, j), (k, m) in pairwise(ends):
        if "…" not in wanted[i + 1 : k]:
            odd += range(j + 1, m)
    return odd
