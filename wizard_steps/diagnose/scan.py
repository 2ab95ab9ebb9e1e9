"""One pass over a text, of any size, in bounded memory: which rule matched on which line.

A block of whole lines is searched with one expression for the words that the rules need. Only lines that
hold one are taken apart. Lines that differ only in digits are looked at once.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Iterator

from msgspec import Struct

from wizard_steps.diagnose.lines import Line, Stamp, parse, stamp_of, strip_codes
from wizard_steps.diagnose.rules import Compiled, RuleSet

#: Characters that one block aims at, and how much of the text before and after it is kept at hand.
BLOCK = 1 << 19
AROUND = 1 << 14
#: Of a longer line only this much around a word is looked at and shown.
WINDOW = 4096
#: Evidence lines kept for one rule on one node.
KEEP = 3
_SEEN = 20_000
_DIGITS = str.maketrans("", "", "0123456789")
_LOWER = {code: code + 32 for code in range(ord("A"), ord("Z") + 1)}
#: A line of source code in a traceback: what it would say, not what was said.
_CODE = re.compile(r"(?:^|\]|\))\s*raise \w[\w.]*\(")
_ADDRESS = re.compile(r"\bip=([\w.:-]+)")


class Hit(Struct, frozen=True):
    """A rule matched a line. ``number`` counts from 1; ``node`` is what the text says, if it does."""

    rule: Compiled
    number: int
    text: str
    node: str
    stamp: Stamp | None
    groups: dict[str, str]
    order: int


class Scanner:
    """Feed text in pieces of any size, then take ``hits``. A piece need not end with a line."""

    def __init__(self, rules: RuleSet) -> None:
        self._rules = rules
        self._raw = ""
        self._before = ""
        self._number = 1
        self._seen: set[str] = set()
        self._kept: dict[tuple[str, str], int] = {}
        self._stamp: Stamp | None = None
        self.hits: list[Hit] = []
        self._left = 0

    def feed(self, text: str) -> None:
        self._raw = self._raw + text if self._raw else text
        while len(self._raw) >= BLOCK + AROUND:
            self._take(self._cut())

    def end(self) -> list[Hit]:
        while len(self._raw) > BLOCK + AROUND:
            self._take(self._cut())
        self._take(len(self._raw))
        self._raw = ""
        self._last_lines()
        return self.hits

    def _last_lines(self) -> None:
        """Rules about where a text ends: a hang shows only by what does not follow."""
        if not self._rules.tail:
            return
        lines = self._before.rstrip().split("\n")
        first = self._number - self._before.count("\n")
        longest = max(rule.rule.tail for rule in self._rules.tail)
        start = max(0, len(lines) - longest)
        place = sum(len(line) + 1 for line in lines[:start])
        for index in range(start, len(lines)):
            line = lines[index]
            around = _Around("", self._before, "", place, place + len(line))
            self._left = len(lines) - index
            self._match(line[:WINDOW], first + index, around, tail=True)
            place += len(line) + 1

    def _cut(self) -> int:
        """Where the next block ends: behind a line end, or in the middle of a line longer than a block."""
        cut = self._raw.rfind("\n", 0, BLOCK) + 1
        return cut or BLOCK

    def _take(self, cut: int) -> None:
        block = strip_codes(self._raw[:cut])
        after = self._raw[cut : cut + AROUND]
        self._raw = self._raw[cut:]
        self._scan(block, after)
        self._number += block.count("\n")
        self._before = (self._before + block)[-AROUND:] if len(block) < AROUND else block[-AROUND:]

    def _scan(self, block: str, after: str) -> None:
        low = block.lower()
        if len(low) != len(block):
            low = block.translate(_LOWER)
        counted, number, done = 0, self._number, 0
        search = self._rules.scanner.search
        while match := search(low, done):
            start, end = _bounds(block, match.start(), match.end())
            number += block.count("\n", counted, start)
            counted = start
            self._line(block, low, start, end, number, after)
            done = max(end, match.end())

    def _line(self, block: str, low: str, start: int, end: int, number: int, after: str) -> None:
        raw = block[start:end]
        key = raw.translate(_DIGITS)
        if "ip=" in raw and (found := _ADDRESS.search(raw)):
            key = f"{found[1]} {key}"
        if key in self._seen:
            return
        if len(self._seen) >= _SEEN:
            self._seen.clear()
        self._seen.add(key)
        around = _Around(self._before, block, after, start, end)
        for part in raw.split("\r"):
            if part.strip() and not part.startswith("$ "):
                self._match(part, number, around)

    def _match(self, text: str, number: int, around: _Around, tail: bool = False) -> None:
        low = text.lower()
        line: Line | None = None
        for rule in self._rules.tail if tail else self._rules.whole:
            if not any(word in low for word in rule.words):
                continue
            line = line or parse(text)
            if _CODE.search(line.message):
                return
            if not rule.fits_level(line.level) or (tail and self._left > rule.rule.tail):
                continue
            match = rule.search(line.message)
            if match is None or not around.fits(rule):
                continue
            groups = {k: v for k, v in match.groupdict().items() if v}
            self._add(rule, number, text, groups.pop("node", "") or line.node, line.stamp, groups, around)

    def _add(
        self,
        rule: Compiled,
        number: int,
        text: str,
        node: str,
        stamp: Stamp | None,
        groups: dict[str, str],
        around: _Around,
    ) -> None:
        key = (rule.rule.id, node)
        count = self._kept.get(key, 0)
        if count >= KEEP:
            return
        self._kept[key] = count + 1
        self._stamp = stamp or _later(around.stamp(), self._stamp)
        self.hits.append(Hit(rule, number, text.strip()[:WINDOW], node, self._stamp, groups, len(self.hits)))


def _later(one: Stamp | None, other: Stamp | None) -> Stamp | None:
    """A line without a time is not older than what was read before it."""
    if one is None or other is None:
        return one or other
    return max(one, other, key=lambda stamp: stamp.seconds)


class _Around:
    """The lines before and after one line, cut out only when a rule asks."""

    def __init__(self, before: str, block: str, after: str, start: int, end: int) -> None:
        self._parts = (before, block, after)
        self._start, self._end = start, end

    def before(self, size: int) -> str:
        have = self._parts[1][max(0, self._start - size) : self._start]
        return self._parts[0][-(size - len(have)) :] + have if len(have) < size else have

    def after(self, size: int) -> str:
        have = self._parts[1][self._end : self._end + size]
        return have + strip_codes(self._parts[2][: size - len(have)]) if len(have) < size else have

    def text(self, lines: int) -> str:
        before = self.before(AROUND // 2).split("\n")[-lines - 1 :]
        after = self.after(AROUND // 2).split("\n")[: lines + 1]
        return "\n".join(before) + self._parts[1][self._start : self._end] + "\n".join(after)

    def fits(self, rule: Compiled) -> bool:
        if rule.near is None and rule.unless is None:
            return True
        text = self.text(rule.rule.within)
        if rule.unless is not None and rule.unless.search(text):
            return False
        return rule.near is None or bool(rule.near.search(text))

    def stamp(self) -> Stamp | None:
        """The nearest time before a line that has none: a traceback belongs to the record above it."""
        return stamp_of(self.before(AROUND // 2), last=True)


def _bounds(block: str, start: int, end: int) -> tuple[int, int]:
    first = block.rfind("\n", max(0, start - WINDOW // 2), start) + 1
    last = block.find("\n", end, start + WINDOW // 2)
    return first or max(0, start - WINDOW // 2), last if last >= 0 else min(len(block), start + WINDOW // 2)


def scan_text(text: str, rules: RuleSet) -> Scanner:
    """All hits of a text that is already in memory."""
    scanner = Scanner(rules)
    for position in range(0, len(text), BLOCK):
        scanner.feed(text[position : position + BLOCK])
    scanner.end()
    return scanner


def scan_bytes(pieces: Iterable[bytes], rules: RuleSet) -> Scanner:
    """All hits of bytes as they come from a file; what is not UTF-8 becomes replacement marks."""
    scanner = Scanner(rules)
    for text in _decoded(pieces):
        scanner.feed(text)
    scanner.end()
    return scanner


def _decoded(pieces: Iterable[bytes]) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    for piece in pieces:
        yield decoder.decode(piece)
    yield decoder.decode(b"", final=True)
