"""Which plain words a regular expression cannot match without: what makes one scan for many rules cheap.

Python has no public way to take an expression apart, so this reads what is certain of its text: letters that
stand for themselves, groups, branches and repeats. All else (classes, looking ahead or back, anchors,
references) counts as something that may match anything. A word that is overlooked costs speed, never a match.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cache

#: A shorter word would occur in every other line.
MIN = 4
_TOKEN = re.compile(
    r"""(?P<repeat>[*+?]|\{\d*,?\d*\})[?+]?
    |(?P<open>\((?:\?(?:P<\w+>|:|>|[aiLmsux-]+:))?(?!\?))
    |(?P<aside>\(\?)                       # looking around, comments, references, conditions
    |(?P<close>\))|(?P<or>\|)
    |\\(?:x(?P<hex>[0-9a-fA-F]{2})|u(?P<wide>[0-9a-fA-F]{4})|(?P<control>[nrtfva])|(?P<itself>[^\w\s])|.)
    |\[\^?\]?(?:[^\]\\]|\\.)*\]|[.^$]
    |(?P<letter>[\w '":=,;/@%&<>~-]+(?![*+?{])|.)""",
    re.VERBOSE | re.DOTALL,
)


class _Part:
    """One thing in a sequence: letters, a group (words of which one is needed), or anything (neither)."""

    __slots__ = ("letters", "words")

    def __init__(self, letters: str = "", words: frozenset[str] | None = None) -> None:
        self.letters, self.words = letters, words


@cache
def required(pattern: str) -> frozenset[str]:
    """Lower-case words of which every text that ``pattern`` matches holds at least one; case does not count.

    Raises ValueError when there is no such word of ``MIN`` or more letters.
    """
    best = _group(_TOKEN.finditer(pattern))
    if not best or min(map(len, best)) < MIN:
        raise ValueError(f"no plain word of {MIN} or more letters that every match must hold: {pattern}")
    return best


def _group(tokens: Iterator[re.Match[str]]) -> frozenset[str] | None:
    """Words of the group whose tokens come next, up to the end of it."""
    branches: list[list[_Part]] = [[]]
    for token in tokens:
        kind = token.lastgroup
        if kind == "close":
            break
        if kind == "or":
            branches.append([])
        elif kind == "open":
            branches[-1].append(_Part(words=_group(tokens)))
        elif kind == "aside":
            _group(tokens)
            branches[-1].append(_Part())
        elif kind == "repeat" and branches[-1]:
            _repeat(branches[-1], token["repeat"])
        else:
            branches[-1].append(_Part(_letters(token)))
    words = [_best(branch) for branch in branches]
    return frozenset().union(*words) if all(words) else None  # type: ignore[arg-type]


def _letters(token: re.Match[str]) -> str:
    """The characters that a token stands for, or nothing; one only, where they are repeated."""
    if token["hex"] or token["wide"]:
        return chr(int(token["hex"] or token["wide"], 16))
    return token["itself"] or token["letter"] or ""


def _repeat(parts: list[_Part], how: str) -> None:
    """What is repeated is no part of the word before it, and only certain if it comes once at least."""
    last = parts.pop()
    parts.append(_Part())
    if how == "+" or (how[1:2].isdigit() and int(how[1:-1].partition(",")[0]) > 0):
        parts.extend([last, _Part()])


def _best(parts: Iterable[_Part]) -> frozenset[str] | None:
    choices: list[frozenset[str]] = []
    run = ""
    for part in [*parts, _Part()]:
        if part.letters:
            run += part.letters.lower()
            continue
        if run:
            choices.append(frozenset([run]))
            run = ""
        if part.words:
            choices.append(part.words)
    return max(choices, key=_rarity, default=None)


def _rarity(words: frozenset[str]) -> tuple[bool, int, int]:
    """A guess: long words are rare, those with digits more so; of two sets the one with fewer words."""
    scores = [len(word) + 8 * any(map(str.isdigit, word)) for word in words]
    return min(map(len, words)) >= MIN, min(12, *scores, 12), -len(words)


def any_of(words: Iterable[str]) -> re.Pattern[str]:
    """An expression that finds a place of every line holding one of ``words`` (lower case).

    Words that hold another one are left out, and common beginnings are shared, so that the engine of
    ``re`` has few branches to try at each letter.
    """
    kept: set[str] = set()
    sizes: list[int] = []
    for word in sorted(set(words), key=len):
        if not any(word[start : start + size] in kept for size in sizes for start in range(len(word))):
            kept.add(word)
            if len(word) not in sizes:
                sizes.append(len(word))
    return re.compile(_trie(sorted(kept)))


def _trie(words: list[str]) -> str:
    if "" in words:
        return ""
    groups: dict[str, list[str]] = {}
    for word in words:
        groups.setdefault(word[0], []).append(word[1:])
    parts = [re.escape(letter) + _trie(rest) for letter, rest in groups.items()]
    return parts[0] if len(parts) == 1 else f"(?:{'|'.join(parts)})"


class WordIndex:
    """Which of many sets of words a text touches: found by the first letters of the words."""

    def __init__(self, sets: Sequence[Iterable[str]]) -> None:
        self._by_start: dict[str, list[tuple[str, int]]] = {}
        for place, words in enumerate(sets):
            for word in words:
                self._by_start.setdefault(word[:MIN], []).append((word, place))

    def touched(self, low: str) -> list[int]:
        """Places of the sets of which a word stands in ``low``, in order."""
        starts = {low[place : place + MIN] for place in range(len(low) - MIN + 1)} & self._by_start.keys()
        return sorted({place for start in starts for word, place in self._by_start[start] if word in low})
