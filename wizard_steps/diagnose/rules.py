"""The rules: data files in ``rules/``, read and checked once."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterator
from functools import cached_property, lru_cache
from operator import itemgetter
from pathlib import Path

import msgspec

from wizard_steps.diagnose import nodes, values
from wizard_steps.diagnose.compiled import Compiled, Veto, compiled
from wizard_steps.diagnose.literals import WordIndex, any_of, required
from wizard_steps.diagnose.rule_file import Benign, GoesOn, Passed, Rule, RuleError, RuleFile

FOLDER = Path(__file__).resolve().parent / "rules"
#: What was said before a server came up did not keep it from coming up.
STARTED = re.compile(r"application startup complete", re.IGNORECASE)


class RuleSet:
    """All rules, with the one expression that finds the lines worth a look."""

    def __init__(
        self,
        rules: tuple[Rule, ...],
        benign: tuple[Benign, ...] = (),
        passed: tuple[Passed, ...] = (),
        goes_on: tuple[GoesOn, ...] = (),
    ) -> None:
        self.rules = rules
        self.benign = benign
        self._benign = [re.compile(p, re.IGNORECASE) for one in benign for p in one.patterns]
        self._benign_words = WordIndex([required(p.pattern) for p in self._benign])
        self._goes_on = [(re.compile(p, re.IGNORECASE), one) for one in goes_on for p in one.patterns]
        self.compiled = [compiled(rule) for rule in rules]
        self.whole = [rule for rule in self.compiled if not rule.rule.tail]
        self.vetoes = [Veto(one.veto, frozenset([one.rule.id])) for one in self.compiled if one.veto]
        self.vetoes += [
            Veto(re.compile(p.pattern, re.IGNORECASE), frozenset(r.id for r in rules if p.takes(r)), p.within)
            for p in passed
        ]
        self.tail = [rule for rule in self.compiled if rule.rule.tail]

    def is_benign(self, line: str) -> bool:
        """Whether the line is known to mean nothing bad."""
        return any(self._benign[place].search(line) for place in self._benign_words.touched(line.lower()))

    def goes_on(self, message: str, level: str = "") -> GoesOn | None:
        """In which way the line says that the program goes on in spite of what it tells."""
        for pattern, one in self._goes_on:
            if one.level in ("", level) and pattern.search(message):
                return one
        return None

    def candidates(self, low: str) -> Iterator[tuple[Compiled, list[re.Pattern[str]]]]:
        """The rules, but for those of the end of a text, and their patterns that may match a line; ``low`` is
        the line in lower case.
        """
        touched = (self._patterns[place] for place in self._words.touched(low))
        for rule, group in itertools.groupby(touched, key=itemgetter(0)):
            yield rule, [rule.pattern(place) for _, place in group]

    @cached_property
    def _patterns(self) -> list[tuple[Compiled, int]]:
        return [(rule, place) for rule in self.whole for place in range(len(rule.words))]

    @cached_property
    def _words(self) -> WordIndex:
        return WordIndex([words for rule in self.whole for words in rule.words])

    @cached_property
    def digit_words(self) -> tuple[str, ...]:
        return tuple(sorted(frozenset(nodes.COUNTED).union(*(rule.digit_words for rule in self.whole))))

    @cached_property
    def veto_words(self) -> tuple[str, ...]:
        patterns = [veto.pattern.pattern for veto in self.vetoes]
        return tuple(sorted(frozenset().union(*(required(p) for p in [*patterns, STARTED.pattern]))))

    @cached_property
    def counting(self) -> re.Pattern[str]:
        """Finds the words of lines in which a digit matters."""
        return any_of(self.digit_words)

    @cached_property
    def vetoing(self) -> re.Pattern[str]:
        """Finds the words of lines that may take something back."""
        return any_of(self.veto_words)

    @cached_property
    def scanner(self) -> re.Pattern[str]:
        words = [word for rule in self.whole for words in rule.words for word in words]
        return any_of([*words, *self.veto_words, *values.WORDS, *nodes.WORDS])


def load(folder: Path = FOLDER) -> RuleSet:
    """Read every ``*.toml`` of ``folder`` and check all that is in it. Raises RuleError."""
    rules = _read(folder)
    for rule in rules.compiled:
        rule.check()
    return rules


def _read(folder: Path) -> RuleSet:
    rules: list[Rule] = []
    benign: list[Benign] = []
    passed: list[Passed] = []
    goes_on: list[GoesOn] = []
    for path in sorted(folder.glob("*.toml")):
        try:
            file = msgspec.toml.decode(path.read_bytes(), type=RuleFile)
            rules.extend(file.rule)
            benign.extend(file.benign)
            passed.extend(file.passed)
            goes_on.extend(file.goes_on)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise RuleError(f"{path.name}: {error}") from None
    twice = [name for name, count in Counter(rule.id for rule in rules).items() if count > 1]
    if twice:
        raise RuleError(f"rule id used twice: {', '.join(sorted(twice))}")
    if not rules:
        raise RuleError(f"{folder}: no rules found")
    return RuleSet(tuple(rules), tuple(benign), tuple(passed), tuple(goes_on))


@lru_cache(maxsize=1)
def default_rules() -> RuleSet:
    """The rules that come with milepost, read once. Raises RuleError that names the file."""
    return _read(FOLDER)
