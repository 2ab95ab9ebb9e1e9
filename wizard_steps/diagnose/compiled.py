"""One rule ready to match, and what takes its findings back."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable
from functools import cached_property

from msgspec import Struct

from wizard_steps.diagnose.literals import required
from wizard_steps.diagnose.rule_file import Rule, RuleError

#: What stands for digits in an expression without being one.
_NO_DIGIT = re.compile(r"\\[dDx]|\{\d*,?\d*\}|\[[^\]]*\]|\(\?P<\w+>")


def _maybe(pattern: str, flags: int = 0) -> re.Pattern[str] | None:
    return re.compile(pattern, re.IGNORECASE | flags) if pattern else None


class Veto(Struct, frozen=True):
    """An expression, and the rules whose findings up to ``within`` lines before it are taken back."""

    pattern: re.Pattern[str]
    rules: frozenset[str]
    within: int | None = None


class Compiled:
    """A rule ready to match.

    An expression is compiled when a text first touches its words: few texts touch many rules.
    """

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        #: Words of which a message needs one, for each pattern.
        self.words = [required(p) for p in rule.patterns]
        numbers = ["P<differs>" in p or bool(re.search(r"\d", _NO_DIGIT.sub("", p))) for p in rule.patterns]
        #: Words of the patterns that look for certain numbers, or whose value must be the same everywhere.
        self.digit_words = frozenset().union(*itertools.compress(self.words, numbers))
        self._made: dict[int, re.Pattern[str]] = {}

    def pattern(self, place: int) -> re.Pattern[str]:
        if place not in self._made:
            self._made[place] = re.compile(self.rule.patterns[place], re.IGNORECASE)
        return self._made[place]

    @property
    def patterns(self) -> list[re.Pattern[str]]:
        return [self.pattern(place) for place in range(len(self.rule.patterns))]

    @cached_property
    def near(self) -> re.Pattern[str] | None:
        return _maybe(self.rule.near, re.MULTILINE)

    @cached_property
    def unless(self) -> re.Pattern[str] | None:
        return _maybe(self.rule.unless, re.MULTILINE)

    @cached_property
    def veto(self) -> re.Pattern[str] | None:
        return _maybe(self.rule.veto)

    @cached_property
    def raised(self) -> re.Pattern[str] | None:
        return _maybe(self.rule.raised)

    @cached_property
    def gather(self) -> list[re.Pattern[str]]:
        return [re.compile(p, re.IGNORECASE | re.MULTILINE) for p in self.rule.gather]

    @cached_property
    def gathers(self) -> frozenset[str]:
        """Names of the values that ``gather`` can find."""
        return frozenset().union(*(pattern.groupindex for pattern in self.gather))

    def check(self) -> None:
        """Compile everything. Raises RuleError."""
        try:
            _ = self.patterns, self.near, self.unless, self.veto, self.raised, self.gather
        except re.error as error:
            raise RuleError(f"rule {self.rule.id}: {error}") from None

    def fits_level(self, level: str) -> bool:
        if level == "info":
            return self.rule.info
        return self.rule.warning if level == "warning" else True

    def search(
        self,
        message: str,
        patterns: Iterable[re.Pattern[str]] | None = None,
        found: dict[str, re.Match[str] | None] | None = None,
    ) -> re.Match[str] | None:
        """The match of the first pattern that fits, of ``patterns`` or of all.

        ``found``: what other rules found in this message, by expression; several rules share one.
        """
        found = {} if found is None else found
        for pattern in self.patterns if patterns is None else patterns:
            if pattern.pattern not in found:
                found[pattern.pattern] = pattern.search(message)
            if match := found[pattern.pattern]:
                return match
        return None


def compiled(rule: Rule) -> Compiled:
    try:
        return Compiled(rule)
    except ValueError as error:
        raise RuleError(f"rule {rule.id}: {error}") from None
