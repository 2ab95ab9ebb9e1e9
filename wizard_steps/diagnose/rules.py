"""The rules: data files in ``rules/``, read and checked once."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import cached_property, lru_cache
from operator import itemgetter
from pathlib import Path

import msgspec
from msgspec import Struct, field

from wizard_steps.diagnose import nodes, values
from wizard_steps.diagnose.literals import WordIndex, any_of, required
from wizard_steps.diagnose.model import Action, Family, Fix, Kind
from wizard_steps.errors import MilepostError

FOLDER = Path(__file__).resolve().parent / "rules"


#: What was said before a server came up did not keep it from coming up.
STARTED = re.compile(r"application startup complete", re.IGNORECASE)


class RuleError(MilepostError):
    """A rule file is wrong. Says which file, which rule and why."""


class Rule(Struct, frozen=True, forbid_unknown_fields=True):
    """One symptom. See README.md in the rules folder for what each field means."""

    id: str
    family: Family
    patterns: tuple[str, ...]
    cause: str
    try_: tuple[Action, ...] = field(name="try")
    source: str
    kind: Kind = "cause"
    confidence: float = 0.8
    near: str = ""
    unless: str = ""
    within: int = 12
    gather: tuple[str, ...] = ()
    raised: str = ""
    at: str = ""
    here: bool = False
    tail: int = 0
    info: bool = False
    warning: bool = True
    veto: str = ""
    lasting: bool = False
    since: str = ""
    until: str = ""
    fixes: tuple[Fix, ...] = ()


class Benign(Struct, frozen=True, forbid_unknown_fields=True):
    """Lines that look like trouble and are none; ``why`` says what they mean."""

    id: str
    patterns: tuple[str, ...]
    why: str
    source: str


class GoesOn(Struct, frozen=True, forbid_unknown_fields=True):
    """Lines that say themselves that the program goes on: what a rule finds there is a remark at most.

    Only lines of ``level``, where it is given: an error that is followed by "ignored" did happen. ``waits``:
    it counts only where lines without trouble follow, for a text may end while the program tries again, or
    tell that it tried in vain.
    """

    id: str
    patterns: tuple[str, ...]
    why: str
    source: str
    level: str = ""
    waits: bool = False


class Passed(Struct, frozen=True, forbid_unknown_fields=True):
    """A line that shows that failures of some families, or rules, have passed: a retry that succeeded.

    It speaks of those found on the same node up to ``within`` lines before it, and of guesses there.
    """

    id: str
    pattern: str
    source: str
    families: tuple[str, ...] = ()
    rules: tuple[str, ...] = ()
    within: int = 60

    def takes(self, rule: Rule) -> bool:
        """Whether it says anything of what a rule finds."""
        vague = rule.kind in ("guess", "unknown")
        named = rule.id in self.rules or rule.family in self.families or "*" in self.families
        return not rule.lasting and (vague or named)


class Veto(Struct, frozen=True):
    """An expression, and the rules whose findings up to ``within`` lines before it are taken back."""

    pattern: re.Pattern[str]
    rules: frozenset[str]
    within: int | None = None


class _File(Struct, frozen=True, forbid_unknown_fields=True):
    rule: tuple[Rule, ...] = ()
    benign: tuple[Benign, ...] = ()
    passed: tuple[Passed, ...] = ()
    goes_on: tuple[GoesOn, ...] = ()


#: What stands for digits in an expression without being one.
_NO_DIGIT = re.compile(r"\\[dDx]|\{\d*,?\d*\}|\[[^\]]*\]|\(\?P<\w+>")


def _maybe(pattern: str, flags: int = 0) -> re.Pattern[str] | None:
    return re.compile(pattern, re.IGNORECASE | flags) if pattern else None


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
        self.compiled = [_compile(rule) for rule in rules]
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


def _compile(rule: Rule) -> Compiled:
    try:
        return Compiled(rule)
    except ValueError as error:
        raise RuleError(f"rule {rule.id}: {error}") from None


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
            file = msgspec.toml.decode(path.read_bytes(), type=_File)
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
