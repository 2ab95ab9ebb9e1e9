"""Text that is safe and steady to show: no control characters, short times, one symbol and word a state."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from rich.cells import cell_len, chop_cells

from wizard_steps.recording import safe as door

#: A state's symbol, word and style name (a component class of the widgets, a variable of the theme).
STEP_STATES: dict[str, tuple[str, str, str]] = {
    "pending": ("○", "to do", "quiet"),
    "running": ("●", "running", "accent"),
    "asking": ("?", "asks", "warning"),
    "passed": ("✓", "passed", "good"),
    "warning": ("!", "passed", "warning"),
    "failed": ("✗", "failed", "bad"),
    "listed": ("≡", "listed", "quiet"),
}
ROW_STATES: dict[str, tuple[str, str, str]] = {
    "matched": ("=", "matched", "good"),
    "missing": ("!", "missing", "bad"),
    "unexpected": ("+", "unexpected", "warning"),
    "between": ("·", "between", "quiet"),
    "optional": ("?", "optional", "quiet"),
    "near": ("✗", "differs", "bad"),
    "awaited": ("…", "awaited", "accent"),
}
#: Of a longer line only this much is wrapped (characters).
_WRAP = 2000
SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"


def safe(text: str) -> str:
    """One line of remote text without control characters; tabs become blanks."""
    return door.safe(text.expandtabs(8) if "\t" in text else text).replace("\n", "")


def safe_block(text: str) -> str:
    """Several lines, each made safe."""
    return "\n".join(safe(line) for line in text.split("\n"))


def duration(seconds: float) -> str:
    """``4s``, ``3m05s``, ``2h04m``: at most six characters below 100 hours."""
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02d}m"


def described(command: str) -> bool:
    """Whether a command is shown as what it does, in brackets: a helper of milepost's, nothing to type."""
    return command.startswith("(") and command.endswith(")")


def cut(text: str, width: int) -> str:
    """``text`` in at most ``width`` characters, an ellipsis where something was left out."""
    return text if len(text) <= width else text[: max(0, width - 1)] + "…"


def wrapped(text: str, width: int) -> list[str]:
    """``text`` on lines of at most ``width`` columns, broken at blanks where it can be."""
    if cell_len(text) <= width:
        return [text]
    if len(text) > _WRAP or cell_len(text) != len(text):
        return chop_cells(text[:_WRAP], width)
    return textwrap.wrap(text, width, replace_whitespace=False) or [""]


_TABLE = ("|", "+", "│", "┌", "└", "├")


def is_rule(text: str) -> bool:
    """Whether a line is a rule by itself, no part of a table: its length means nothing."""
    shown = text.strip()
    return bool(shown) and shown[0] not in _TABLE and not any(c.isalnum() for c in shown)


def is_picture(text: str) -> bool:
    """Whether a line is a rule or part of a drawn table, which wrapping would spoil."""
    shown = text.strip()
    return shown[:1] in _TABLE or not any(c.isalnum() for c in shown)


def spinner(now: float) -> str:
    """The spinner's picture at a time in seconds."""
    return SPINNER[int(now * 10) % len(SPINNER)]


def plain_fences(prose: str) -> str:
    """Markdown whose code blocks without a language are text: a guessed language colours them as errors."""
    found: list[str] = []
    fenced = indented = False
    for line in [*prose.split("\n"), ""]:
        if line.lstrip().startswith("```"):
            line = line.rstrip() + "text" if not fenced and line.strip() == "```" else line
            fenced = not fenced
        elif not fenced and line.startswith("    "):
            if not indented and _opens(found):
                found.append("```text")
                indented = True
            line = line[4:] if indented else line
        elif indented and line.strip():
            found[len("\n".join(found).rstrip("\n").split("\n")) :] = ["```", ""]
            indented = False
        found.append(line)
    return "\n".join([*found[:-1], "```"] if indented else found[:-1])


def _opens(before: Sequence[str]) -> bool:
    """Whether an indented line after these is code: a blank line is above it, and no list."""
    words = next((line.strip() for line in reversed(before) if line.strip()), "")
    return (not before or not before[-1].strip()) and not words.startswith(("- ", "* ", "1."))
