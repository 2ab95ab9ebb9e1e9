"""One pass over a text, of any size, in bounded memory: which rule matched on which line.

Logs repeat themselves: of lines that differ only in digits the first is looked at, the others are passed
over at the speed of a set (but for the rules that look at digits, such as those for error numbers). A new
line is searched with one expression for the words that the rules need, and only when it holds one is it
taken apart and tried against those rules.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Iterator, Sequence

from msgspec import Struct

from wizard_steps.diagnose.around import Around
from wizard_steps.diagnose.lines import Line, Stamp, parse, strip_codes, unwrapped
from wizard_steps.diagnose.rules import Compiled, RuleSet

#: Characters that one block aims at, and how much of the text after it is kept at hand.
BLOCK = 1 << 19
AFTER = 1 << 13
#: Lines before a block that are kept at hand.
BEFORE = 100
#: Of a longer line only pieces of this size are looked at and shown; they overlap by OVERLAP.
WINDOW = 4096
OVERLAP = 512
#: Evidence lines kept for one rule on one node.
KEEP = 3
_SEEN = 200_000
_DIGITS = b"0123456789"
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
    kind: str


class Scanner:
    """Feed text in pieces of any size, then take ``hits``. A piece need not end with a line."""

    def __init__(self, rules: RuleSet) -> None:
        self._rules = rules
        self._raw = ""
        self._tail: list[str] = []
        self._number = 1
        self._seen: set[int] = set()
        self._kept: dict[tuple[str, str], int] = {}
        self._stamp: Stamp | None = None
        self.hits: list[Hit] = []

    def feed(self, text: str) -> None:
        self._raw = self._raw + text if self._raw else text
        while len(self._raw) >= BLOCK + AFTER:
            self._take(self._cut())

    def end(self) -> list[Hit]:
        while len(self._raw) > BLOCK + AFTER:
            self._take(self._cut())
        self._take(len(self._raw))
        self._last_lines()
        return self.hits

    def _cut(self) -> int:
        """Where the next block ends: behind a line end, or in the middle of a line longer than a block."""
        return self._raw.rfind("\n", 0, BLOCK) + 1 or BLOCK

    def _take(self, cut: int) -> None:
        block, after = self._raw[:cut], self._raw[cut : cut + AFTER]
        self._raw = self._raw[cut:]
        if not block:
            return
        lines = block.split("\n")
        for index in self._worth(block, lines):
            self._line(lines, index, after)
        self._number += len(lines) - 1
        ended = lines[-1] == ""
        self._tail = (self._tail + [line[:WINDOW] for line in (lines[:-1] if ended else lines)[-BEFORE:]])[
            -BEFORE:
        ]

    def _worth(self, block: str, lines: list[str]) -> list[int]:
        """Lines of a shape not seen before, and those that hold a word whose digits matter."""
        if len(self._seen) > _SEEN:
            self._seen.clear()
        seen, keys = self._seen, _keys(block, lines)
        fresh = []
        for index, key in enumerate(keys):
            if key not in seen:
                seen.add(key)
                fresh.append(index)
        return sorted({*fresh, *self._with_digits(block, lines)})

    def _with_digits(self, block: str, lines: list[str]) -> Iterator[int]:
        low = _lower(block)
        places = sorted({place for word in self._rules.digit_words for place in _find(low, word)})
        index = position = 0
        for place in places:
            index += block.count("\n", position, place)
            position = place
            key = hash(lines[index])
            if key not in self._seen:
                self._seen.add(key)
                yield index

    def _line(self, lines: list[str], index: int, after: str) -> None:
        line = strip_codes(lines[index])
        search = self._rules.scanner.search
        around = Around(self._tail, lines, index, after)
        for start in range(0, max(1, len(line) - OVERLAP), WINDOW - OVERLAP):
            piece = line[start : start + WINDOW]
            if search(_lower(piece)):
                for part in unwrapped(piece):
                    if part.strip() and not part.startswith("$ "):
                        self._match(part, self._number + index, around, self._rules.whole)

    def _match(self, text: str, number: int, around: Around, rules: Sequence[Compiled]) -> None:
        low = text.lower()
        line: Line | None = None
        for rule in rules:
            if not any(word in low for word in rule.words):
                continue
            line = line or parse(text)
            if not rule.fits_level(line.level):
                continue
            match = rule.search(line.message)
            if match is not None and around.fits(rule):
                self._add(rule, number, text, line, match, around)

    def _add(
        self, rule: Compiled, number: int, text: str, line: Line, match: re.Match[str], around: Around
    ) -> None:
        groups = {name: value for name, value in match.groupdict().items() if value}
        node = groups.pop("node", "") or line.node
        key = (rule.rule.id, node)
        count = self._kept.get(key, 0)
        if count >= KEEP:
            return
        self._kept[key] = count + 1
        self._stamp = line.stamp or _later(around.stamp(), self._stamp)
        kind = rule.rule.kind
        if kind in ("cause", "effect") and _CODE.search(line.message):
            kind = "hint"
        shown = text.strip()[:WINDOW]
        self.hits.append(Hit(rule, number, shown, node, self._stamp, groups, len(self.hits), kind))

    def _last_lines(self) -> None:
        """Rules about where a text ends: a hang shows only by what does not follow."""
        lines = list(self._tail)
        while lines and not lines[-1].strip():
            lines.pop()
        first = self._number - len(self._tail)
        for index, line in enumerate(map(strip_codes, lines)):
            left = len(lines) - index
            rules = [rule for rule in self._rules.tail if left <= rule.rule.tail]
            if rules:
                self._match(line, max(1, first + index), Around([], lines, index, ""), rules)


def _keys(block: str, lines: list[str]) -> list[int]:
    """What stands for each line: its text without digits, and the address that Ray put before it."""
    bare = block.encode("utf-8", "replace").translate(None, _DIGITS).split(b"\n")
    if "ip=" not in block:
        return [hash(line) for line in bare]
    found = (_ADDRESS.search(line, 0, 200) if "ip=" in line else None for line in lines)
    return [hash((line, match[1])) if match else hash(line) for line, match in zip(bare, found, strict=True)]


def _lower(text: str) -> str:
    """Lower case of the same length (that of a dotted capital I is longer, and no rule needs it)."""
    low = text.lower()
    return low if len(low) == len(text) else text.replace("\u0130", "i").lower()


def _find(text: str, word: str) -> Iterator[int]:
    place = text.find(word)
    while place >= 0:
        yield place
        place = text.find(word, place + len(word))


def _later(one: Stamp | None, other: Stamp | None) -> Stamp | None:
    """A line without a time is not older than what was read before it."""
    if one is None or other is None:
        return one or other
    return max(one, other, key=lambda stamp: stamp.seconds)


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
