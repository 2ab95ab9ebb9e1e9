"""The checks of a verdict and the findings of the diagnosis, as styled text. Failures come first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from difflib import SequenceMatcher

from rich.style import Style
from rich.text import Text

from tui.app.fixes import FIRST_KEY, KEYS, FixOffer, likely
from tui.app.text import cut, safe, wrapped
from wizard_steps.diagnose import Diagnosis, whole_name
from wizard_steps.model import Check, Verdict

Look = Callable[[str], Style]
#: More failures than this are counted, not listed: the first ones say enough.
_MOST = 200
#: Of a finding, this many lines it was read from.
_LINES = 2
#: From this confidence on a cause is called the cause.
_SURE = 0.9
#: Texts with more words than this, or with less in common, are not compared word by word.
_WORDS, _ALIKE = 40, 0.4


def checks_text(
    verdict: Verdict | None,
    findings: Sequence[Diagnosis],
    look: Look,
    width: int,
    offers: Sequence[FixOffer] = (),
    place: str = "",
) -> Text:
    """What the checks view says, in ``width`` columns. ``look`` gives the style of a name. ``offers``: what
    can be done with one key. ``place``: where Enter leads in the log."""
    page = _Page(look, max(20, width))
    if verdict is None:
        page.add("The facts this gate rests on appear here once the step has been judged.", "quiet")
        return page.text
    # A total does not say where: what names its node comes first.
    for check in sorted(verdict.failures, key=lambda check: not check.node)[:_MOST]:
        _failed(page, check)
    if len(verdict.failures) > _MOST:
        page.add(f"and {len(verdict.failures) - _MOST} more failed checks\n\n", "bad")
    told = likely(findings)
    for finding in told:
        if not is_guess(finding):
            _finding(page, finding)
    if place:
        page.labelled("Enter", f"opens the log at {place}", "accent", "quiet")
        page.add("\n")
    _offered(page, offers)
    for name, checks in _groups(verdict.warnings):
        _warned(page, name, checks)
    for name, checks in _groups([check for check in verdict.checks if check.state == "ok"]):
        _passed(page, name, checks)
    for finding in told:
        if is_guess(finding):
            page.add("\n")
            _finding(page, finding)
    if not verdict.checks:
        page.add("This gate has no checks of its own: it rests on the expected lines.", "quiet")
    page.text.rstrip()
    return page.text


class _Page:
    """Text of a given width, with lines that hang under their label."""

    def __init__(self, look: Look, width: int) -> None:
        self.text = Text()
        self._look = look
        self.width = width

    def add(self, words: str, style: str = "") -> None:
        self.text.append(words, self._look(style) if style else "")

    def labelled(
        self,
        label: str,
        value: str,
        style: str = "quiet",
        value_style: str = "",
        marks: tuple[str, ...] = (),
    ) -> None:
        """``    label   value``, the value's further lines under its first; words in ``marks`` stand out."""
        indent = 12
        lines = [part for line in value.split("\n") for part in wrapped(safe(line), self.width - indent)]
        for number, line in enumerate(lines):
            self.add(f"    {label:<7} " if number == 0 else " " * indent, style)
            begin = len(self.text)
            self.add(line + "\n", value_style)
            for word in marks:
                at = line.find(word)
                if at >= 0:
                    self.text.stylize(self._look("bad"), begin + at, begin + at + len(word))


def _failed(page: _Page, check: Check) -> None:
    page.add("✗ failed  ", "bad")
    page.add(safe(check.name), "strong")
    if check.node:
        page.add("  on ", "quiet")
        page.add(safe(check.node))
    page.add("\n")
    if check.wanted:
        page.labelled("wanted", check.wanted)
    if check.found:
        page.labelled("found", check.found, marks=unlike(check.wanted, safe(check.found)))
    if check.hint:
        page.labelled("try", check.hint, "accent")
    page.add("\n")


def unlike(wanted: str, found: str) -> tuple[str, ...]:
    """The words of ``found`` in which two texts of the same shape differ: 12 where 16 was wanted.

    Nothing where the texts have little in common: then all of it differs, and marks would not help.
    """
    here, there = found.split(), wanted.split()
    if not here or not there or len(here) > _WORDS or len(there) > _WORDS:
        return ()
    match = SequenceMatcher(None, there, here, autojunk=False)
    if match.ratio() < _ALIKE:
        return ()
    changed = [block for block in match.get_opcodes() if block[0] == "replace"]
    return tuple(word for _, _, _, first, last in changed for word in here[first:last])


def _offered(page: _Page, offers: Sequence[FixOffer]) -> None:
    """Each with its key, and as the command or the change of the file that it is."""
    for number, offer in enumerate(offers[:KEYS], FIRST_KEY):
        page.add(f"{number} fix  ", "accent")
        page.add(safe(offer.text), "strong")
        page.add(f"  on {safe(', '.join(offer.nodes))}\n" if offer.nodes else "\n", "quiet")
        for line in offer.lines:
            page.labelled("", line, "quiet", "quiet")
    if offers:
        page.add("\n")


def is_guess(finding: Diagnosis) -> bool:
    """No rule knows the message: its words only point somewhere."""
    return finding.kind in ("guess", "unknown", "hint")


def _groups(checks: Sequence[Check]) -> list[tuple[str, list[Check]]]:
    """Passed checks that say the same on several nodes stand together."""
    groups: dict[tuple[str, str, str], list[Check]] = {}
    for check in checks:
        groups.setdefault((check.name, check.found, check.hint), []).append(check)
    return [(key[0], members) for key, members in groups.items()]


def _passed(page: _Page, name: str, checks: Sequence[Check]) -> None:
    page.add("✓ ok  ", "good")
    page.add(safe(name))
    nodes = [check.node for check in checks if check.node]
    where = f"{len(nodes)} nodes" if len(nodes) > 3 else ", ".join(safe(node) for node in nodes)
    page.add(f"  {where}\n", "quiet")
    if checks[0].found:
        first = safe(checks[0].found.split("\n")[0])
        page.labelled("found", cut(first, page.width - 12), "quiet", "quiet")


def _warned(page: _Page, name: str, checks: Sequence[Check]) -> None:
    """A warning has its reason and its way out as a failure has them."""
    page.add("! warning  ", "warning")
    page.add(safe(name), "strong")
    nodes = [check.node for check in checks if check.node]
    where = f"{len(nodes)} nodes" if len(nodes) > 3 else ", ".join(safe(node) for node in nodes)
    page.add(f"  {'on ' if where else ''}{where}\n", "quiet")
    first = checks[0]
    for label, value in (("wanted", first.wanted), ("found", first.found), ("try", first.hint)):
        if value:
            page.labelled(label, value, "accent" if label == "try" else "quiet")
    page.add("\n")


def sureness(finding: Diagnosis) -> str:
    """How sure the diagnosis is, in words."""
    if is_guess(finding):
        return "guess"
    return "cause" if finding.confidence >= _SURE else "likely cause"


def _finding(page: _Page, finding: Diagnosis) -> None:
    page.add(f"◆ {sureness(finding)}  ", "warning")
    if finding.node:
        page.add("on ", "quiet")
        page.add(f"{safe(whole_name(finding))}  ")
    page.add(f"({safe(finding.family)})\n", "quiet")
    page.labelled("cause", finding.cause, "quiet", "strong")
    for item in finding.evidence[:_LINES]:
        page.labelled("seen", f"{item.text.strip()}  ({item.file}, line {item.line})")
    for action in finding.try_:
        page.labelled("try", action.text, "accent")
        if action.command:
            page.labelled("", f"$ {action.command}", "quiet", "strong")
    page.add("\n")
