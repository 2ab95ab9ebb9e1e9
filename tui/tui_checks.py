"""The checks of a verdict and the findings of the diagnosis, as styled text. Failures come first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from rich.style import Style
from rich.text import Text

from tui.tui_text import safe
from wizard_steps.model import Check, Verdict

Look = Callable[[str], Style]
#: More failures than this are counted, not listed: the first ones say enough.
_MOST = 200


def checks_text(verdict: Verdict | None, findings: Sequence[Any], look: Look) -> Text:
    """What the checks view says. ``look`` gives the style of good, bad, quiet, strong and accent."""
    if verdict is None:
        return Text("The facts this gate rests on stand here once the step has been judged.", look("quiet"))
    text = Text()
    failures = verdict.failures
    for finding in findings:
        _finding(text, finding, look)
    for check in failures[:_MOST]:
        _failed(text, check, look)
    if len(failures) > _MOST:
        text.append(f"and {len(failures) - _MOST} more failed checks\n\n", look("bad"))
    for name, checks in _groups([check for check in verdict.checks if check.ok]):
        _passed(text, name, checks, look)
    if not verdict.checks:
        text.append("This gate has no checks of its own: it rests on the expected lines.", look("quiet"))
    text.rstrip()
    return text


def _failed(text: Text, check: Check, look: Look) -> None:
    text.append("✗ failed  ", look("bad")).append(safe(check.name), look("strong"))
    if check.node:
        text.append("  on ", look("quiet")).append(safe(check.node))
    text.append("\n")
    for label, value in (("wanted", check.wanted), ("found", check.found), ("try", check.hint)):
        if value:
            text.append(f"    {label:<7} ", look("accent" if label == "try" else "quiet"))
            text.append(safe(value) + "\n")
    text.append("\n")


def _groups(checks: Sequence[Check]) -> list[tuple[str, list[Check]]]:
    """Passed checks that say the same on several nodes stand on one line."""
    groups: dict[tuple[str, str], list[Check]] = {}
    for check in checks:
        groups.setdefault((check.name, check.found), []).append(check)
    return [(key[0], members) for key, members in groups.items()]


def _passed(text: Text, name: str, checks: Sequence[Check], look: Look) -> None:
    text.append("✓ ok  ", look("good")).append(safe(name))
    nodes = [check.node for check in checks if check.node]
    where = f"{len(nodes)} nodes" if len(nodes) > 3 else ", ".join(safe(node) for node in nodes)
    if where:
        text.append(f"  {where}", look("quiet"))
    if checks[0].found:
        text.append("\n      " + safe(checks[0].found), look("quiet"))
    text.append("\n")


def _finding(text: Text, finding: Any, look: Look) -> None:
    """A finding of wizard_steps.diagnose: family, cause, node, evidence, try."""
    text.append("◆ likely cause  ", look("warning"))
    text.append(safe(str(getattr(finding, "cause", finding))), look("strong"))
    if node := getattr(finding, "node", ""):
        text.append("  on ", look("quiet")).append(safe(str(node)))
    if family := getattr(finding, "family", ""):
        text.append(f"  ({safe(str(family))})", look("quiet"))
    text.append("\n")
    for line in _strings(getattr(finding, "evidence", ())):
        text.append("    seen    ", look("quiet")).append(safe(line) + "\n")
    for line in _strings(getattr(finding, "try_", None) or getattr(finding, "attempt", ())):
        text.append("    try     ", look("accent")).append(safe(line) + "\n")
    text.append("\n")


def _strings(value: object) -> list[str]:
    if not value:
        return []
    if isinstance(value, str):
        return value.splitlines()
    return [str(item) for item in value] if isinstance(value, list | tuple) else [str(value)]
