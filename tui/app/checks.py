"""The checks of a verdict and the findings of the diagnosis, as styled text. Failures come first."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.style import Style
from rich.text import Text

from tui.app.fixes import likely
from tui.app.text import cut, safe, wrapped
from wizard_steps.diagnose.model import Finding
from wizard_steps.model import Check, Verdict

Look = Callable[[str], Style]
#: More failures than this are counted, not listed: the first ones say enough.
_MOST = 200
#: Of a finding, this many lines it was read from.
_LINES = 2


def checks_text(verdict: Verdict | None, findings: Sequence[Finding], look: Look, width: int) -> Text:
    """What the checks view says, in ``width`` columns. ``look`` gives the style of a name."""
    page = _Page(look, max(20, width))
    if verdict is None:
        page.add("The facts this gate rests on stand here once the step has been judged.", "quiet")
        return page.text
    for finding in likely(findings):
        _finding(page, finding)
    for check in verdict.failures[:_MOST]:
        _failed(page, check)
    if len(verdict.failures) > _MOST:
        page.add(f"and {len(verdict.failures) - _MOST} more failed checks\n\n", "bad")
    for name, checks in _groups(verdict.warnings):
        _warned(page, name, checks)
    for name, checks in _groups([check for check in verdict.checks if check.state == "ok"]):
        _passed(page, name, checks)
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

    def labelled(self, label: str, value: str, style: str = "quiet", value_style: str = "") -> None:
        """``    label   value``, the value's further lines under its first."""
        indent = 12
        lines = [part for line in value.split("\n") for part in wrapped(safe(line), self.width - indent)]
        for number, line in enumerate(lines):
            self.add(f"    {label:<7} " if number == 0 else " " * indent, style)
            self.add(line + "\n", value_style)


def _failed(page: _Page, check: Check) -> None:
    page.add("✗ failed  ", "bad")
    page.add(safe(check.name), "strong")
    if check.node:
        page.add("  on ", "quiet")
        page.add(safe(check.node))
    page.add("\n")
    for label, value in (("wanted", check.wanted), ("found", check.found), ("try", check.hint)):
        if value:
            page.labelled(label, value, "accent" if label == "try" else "quiet")
    page.add("\n")


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


def _finding(page: _Page, finding: Finding) -> None:
    page.add("◆ likely cause  ", "warning")
    if finding.node:
        page.add("on ", "quiet")
        page.add(f"{safe(finding.node)}  ")
    page.add(f"({safe(finding.family)})\n", "quiet")
    page.labelled("cause", finding.cause, "quiet", "strong")
    for item in finding.evidence[:_LINES]:
        page.labelled("seen", f"{item.text.strip()}  ({item.file}, line {item.line})")
    for action in finding.try_:
        page.labelled("try", action.text, "accent")
        if action.command:
            page.labelled("", f"$ {action.command}", "quiet", "strong")
    page.add("\n")
