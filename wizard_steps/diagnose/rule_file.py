"""What a rule file says: see README.md in ``rules/``."""

from __future__ import annotations

from msgspec import Struct, field

from wizard_steps.diagnose.model import Action, Family, Fix, Kind
from wizard_steps.errors import MilepostError


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


class RuleFile(Struct, frozen=True, forbid_unknown_fields=True):
    rule: tuple[Rule, ...] = ()
    benign: tuple[Benign, ...] = ()
    passed: tuple[Passed, ...] = ()
    goes_on: tuple[GoesOn, ...] = ()
