"""One pass over a text, of any size, in bounded memory: which rule matched on which line.

Logs repeat themselves: of lines that differ only in digits the first is looked at, the others are passed
over at the speed of a set (but for the rules that look at digits, such as those for error numbers). A new
line is searched with one expression for the words that the rules need, and only when it holds one is it
taken apart and tried against those rules.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Sequence

from msgspec.structs import replace

from wizard_steps.diagnose import values
from wizard_steps.diagnose.around import Around
from wizard_steps.diagnose.compiled import Compiled
from wizard_steps.diagnose.hits import TROUBLE, Hit, calmed, outlived, takes
from wizard_steps.diagnose.lines import Line, Stamp, latest, parse, strip_codes, unwrapped, words
from wizard_steps.diagnose.nodes import Roster
from wizard_steps.diagnose.prefixes import peel
from wizard_steps.diagnose.reading import texts
from wizard_steps.diagnose.repeats import indexes, is_labelled, keys, lower, owner
from wizard_steps.diagnose.rules import STARTED, RuleSet
from wizard_steps.diagnose.shapes import shaped
from wizard_steps.diagnose.typed import is_command, is_set
from wizard_steps.diagnose.whereabouts import by_itself, with_surroundings

#: Characters that one block aims at, and how much of the text after it is kept at hand.
BLOCK = 1 << 19
AFTER = 1 << 13
#: Lines before a block that are kept at hand.
BEFORE = 100
#: Of a longer line only pieces of this size are looked at and shown; they overlap by OVERLAP.
WINDOW = 4096
OVERLAP = 512
#: Lines in which a program that goes on shows it.
AFTERWARDS = 12
#: Evidence lines kept for one rule on one node.
KEEP = 3
_SEEN = 200_000
#: A line of source code in a traceback: what it would say, not what was said.
_CODE = re.compile(r"(?:^|\]|\))\s*(?:raise \w[\w.]*\(|except\b.{0,120}:\s*$|print\()")


class Scanner:
    """Feed text in pieces of any size, then take ``hits``. A piece need not end with a line."""

    def __init__(self, rules: RuleSet) -> None:
        self._rules = rules
        self._raw = ""
        self._tail: list[str] = []
        self._number = 1
        self._seen: set[int] = set()
        self._kept: dict[tuple[str, str], int] = {}
        self._bare: dict[str, int] = {}
        self._stamp: Stamp | None = None
        self._labelled = False
        self._settled = 0
        self.hits: list[Hit] = []
        #: Whether there was anything but white space.
        self.any_text = False
        #: What the text gives away in passing; see values.py.
        self.values: dict[str, str] = {}
        #: Which rank and which address is which node.
        self.roster = Roster()

    def feed(self, text: str) -> None:
        self._raw = self._raw + text if self._raw else text
        while len(self._raw) >= BLOCK + AFTER:
            self._take(self._cut())

    def end(self) -> list[Hit]:
        while len(self._raw) > BLOCK + AFTER:
            self._take(self._cut())
        self._take(len(self._raw))
        self._last_lines()
        self.hits = calmed(self.hits, self._tail, self._number - len(self._tail))
        return self.hits

    def _cut(self) -> int:
        """Where the next block ends: behind a line end, or in the middle of a line longer than a block."""
        return self._raw.rfind("\n", 0, BLOCK) + 1 or BLOCK

    def _take(self, cut: int) -> None:
        block, after = self._raw[:cut], self._raw[cut : cut + AFTER]
        self._raw = self._raw[cut:]
        if not block:
            return
        if not self.any_text:
            self.roster.note_tasks(block)
        self.any_text = self.any_text or bool(block.strip())
        lines = block.split("\n")
        self._labelled = self._labelled or is_labelled(lines)
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
        seen, marks = self._seen, keys(block, lines, self._labelled)
        fresh = []
        for index, key in enumerate(marks):
            if key not in seen:
                seen.add(key)
                fresh.append(index)
        low = lower(block)
        return sorted({*fresh, *self._with_digits(block, low, lines), *self._with_vetoes(block, low)})

    def _with_vetoes(self, block: str, low: str) -> Iterator[int]:
        """Lines that take back what was found before them, however often they come."""
        yield from indexes(block, (match.start() for match in self._rules.vetoing.finditer(low)))

    def _with_digits(self, block: str, low: str, lines: list[str]) -> Iterator[int]:
        for index in indexes(block, (match.start() for match in self._rules.counting.finditer(low))):
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
            if search(lower(piece)):
                before = owner(line, start)
                for part in unwrapped(piece):
                    if part.strip() and not part.startswith("$ "):
                        self._match(part, self._number + index, around, None, before)
                    before = ""

    def _match(
        self, text: str, number: int, around: Around, rules: Sequence[Compiled] | None, node: str = ""
    ) -> None:
        """Try ``rules``, or all that may match, on one message."""
        low = text.lower()
        self.values = {**values.found(text, low), **self.values}
        self.roster.note(text, low)
        self._take_back(text, low, number)
        if is_command(text):
            return
        tried = self._rules.candidates(low) if rules is None else ((rule, rule.patterns) for rule in rules)
        if (first := next(tried, None)) is None:
            return
        line = parse(text)
        line = replace(line, node=line.node or node)
        raised: tuple[int, Compiled, re.Match[str]] | None = None
        for rule, match, depth in self._matches(line, itertools.chain([first], tried), around):
            if depth is None:
                self._add(rule, number, text, line, match, around)
            elif raised is None or depth < raised[0]:
                raised = (depth, rule, match)
        if raised:
            self._add(raised[1], number, text, line, raised[2], around)

    def _matches(
        self, line: Line, tried: Iterable[tuple[Compiled, list[re.Pattern[str]]]], around: Around
    ) -> Iterator[tuple[Compiled, re.Match[str], int | None]]:
        """The rules that match a line, and of those of tracebacks how far away their frame is; none of a line
        that means nothing bad.
        """
        benign: bool | None = None
        # A guess is told where nothing better is: beside a cause it costs time only.
        known = any(hit.kind in ("cause", "effect") for hit in self.hits)
        found: dict[str, re.Match[str] | None] = {}
        for rule, patterns in tried:
            depth = None if rule.raised is None else around.depth(rule.raised)
            if rule.raised is not None and depth is None:
                continue
            if not rule.fits_level(line.level) or (
                rule.rule.kind == "guess" and (known or self._is_full(rule, line.node))
            ):
                continue
            match = rule.search(line.message, patterns, found)
            if match is None or is_set(match) or not around.fits(rule):
                continue
            benign = self._rules.is_benign(line.message) if benign is None else benign
            if benign:
                return
            yield rule, match, depth

    def _is_full(self, rule: Compiled, node: str) -> bool:
        """Whether enough lines of a rule are kept of this node, or of none."""
        if node:
            return self._kept.get((rule.rule.id, node), 0) >= KEEP
        return self._bare.get(rule.rule.id, 0) >= 4 * KEEP

    def _take_back(self, text: str, low: str, number: int) -> None:
        """Drop what this line shows to have passed."""
        before, hits = self.hits[: self._settled], self.hits[self._settled :]
        if not hits or not self._rules.vetoing.search(low):
            return
        if vetoes := [veto for veto in self._rules.vetoes if veto.pattern.search(text)]:
            node = peel(text[:400])[1]
            hits = [hit for hit in hits if not any(takes(veto, hit, number, node) for veto in vetoes)]
        if STARTED.search(text) and '"' not in text:
            hits = [later for hit in hits if (later := outlived(hit)) is not None]
        self.hits = before + hits

    def _add(
        self, rule: Compiled, number: int, text: str, line: Line, match: re.Match[str], around: Around
    ) -> None:
        own = {name: value for name, value in match.groupdict().items() if value}
        early = not rule.gathers & {"node", rule.rule.at}
        gathered = {} if early else around.values(rule)
        place = by_itself(rule.rule, text, line, own, gathered)
        if self._is_full(rule, place.node):
            return
        groups = {**(around.values(rule) if early else gathered), **own}
        if "{said" in rule.rule.cause:
            groups.setdefault("said", words(line.message))
        self._bare[rule.rule.id] = self._bare.get(rule.rule.id, 0) + (not place.node)
        place = with_surroundings(place, rule.rule, line, own, around)
        key = (rule.rule.id, place.node or place.near or place.whose)
        count = self._kept.get(key, 0)
        if count >= KEEP:
            return
        self._kept[key] = count + 1
        self._stamp = line.stamp or latest(around.stamp(), self._stamp)
        kind = rule.rule.kind
        if kind in ("cause", "effect") and _CODE.search(line.message):
            kind = "hint"
        if kind != "hint" and not rule.rule.lasting and self._goes_on(line, around):
            kind = "hint"
        before, after = around.shown()
        hit = Hit(
            rule,
            number,
            text.strip()[:WINDOW],
            place,
            self._stamp,
            groups,
            len(self.hits),
            kind,
            match.re.pattern,
            before,
            after,
        )
        self.hits.append(hit)

    def _goes_on(self, line: Line, around: Around) -> bool:
        """Whether the program went on after this line. A text that ends while something is tried again shows
        a program that waits, one with more trouble behind it a program whose tries were in vain.
        """
        tells = self._rules.goes_on
        said = tells(line.message, line.level)
        if said is None or not said.waits:
            return said is not None
        later = [text for text in around.after(AFTERWARDS) if text.strip() and not tells(text)]
        return bool(later) and not any(map(TROUBLE.search, later))

    def _last_lines(self) -> None:
        """Rules about where a text ends: a hang shows only by what does not follow."""
        # These lines were looked at before: they take back nothing but what is found now.
        self._settled = len(self.hits)
        lines = list(self._tail)
        while lines and not lines[-1].strip():
            lines.pop()
        first = self._number - len(self._tail)
        for index, line in enumerate(map(strip_codes, lines)):
            left = len(lines) - index
            rules = [rule for rule in self._rules.tail if left <= rule.rule.tail]
            if rules:
                self._match(line, max(1, first + index), Around([], lines, index, ""), rules)


def scan_text(text: str, rules: RuleSet) -> Scanner:
    """All hits of a text that is already in memory."""
    return _scan((text[place : place + BLOCK] for place in range(0, len(text), BLOCK)), rules)


def scan_bytes(pieces: Iterable[bytes], rules: RuleSet) -> Scanner:
    """All hits of bytes as they come from a file, packed or not, in whichever encoding."""
    return _scan(texts(iter(pieces)), rules)


def _scan(pieces: Iterable[str], rules: RuleSet) -> Scanner:
    scanner = Scanner(rules)
    for text in shaped(pieces):
        scanner.feed(text)
    scanner.end()
    return scanner
