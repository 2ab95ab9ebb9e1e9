"""milepost's own themes: quiet backgrounds, one accent, colours that mean something; and which was chosen."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path

from textual.theme import Theme

from wizard_steps.files import read_plain

DARK = Theme(
    name="milepost-dark",
    primary="#7aa6c9",
    secondary="#a0afc2",
    accent="#8fb8de",
    success="#86b38a",
    warning="#d8b26a",
    error="#e08076",
    foreground="#d5dae1",
    background="#14181e",
    surface="#181d24",
    panel="#212832",
    dark=True,
)
LIGHT = Theme(
    name="milepost-light",
    primary="#2d6a9b",
    secondary="#465463",
    accent="#1f5f94",
    success="#2e7039",
    warning="#8a5a00",
    error="#b03328",
    foreground="#20262d",
    background="#f7f8fa",
    surface="#f0f2f5",
    panel="#e2e6eb",
    dark=False,
)
#: For terminals of 16 or 256 colours: those of their own palette, so that red and green stay red and green.
BASIC = Theme(
    name="milepost-16-colours",
    primary="#55ffff",
    secondary="#aaaaaa",
    accent="#55ffff",
    success="#55ff55",
    warning="#ffff55",
    error="#ff5555",
    foreground="#ffffff",
    background="#000000",
    surface="#000000",
    panel="#000000",
    dark=True,
    variables={
        "text-success": "#55ff55",
        "text-error": "#ff5555",
        "text-warning": "#ffff55",
        "text-accent": "#55ffff",
        "text-primary": "#55ffff",
        "primary-muted": "#0000aa",
    },
)


def _file() -> Path:
    base = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(base).expanduser() / "milepost" / "screen.json"


def remembered() -> str:
    """The theme that was chosen last; "" where none was, or where its file cannot be read."""
    try:
        found = json.loads(read_plain(_file(), 1 << 16))
    except (OSError, ValueError, RuntimeError):  # RecursionError is one
        return ""
    theme = found.get("theme") if isinstance(found, dict) else None
    return theme if isinstance(theme, str) else ""


def remember(theme: str) -> None:
    """For the next time. That it cannot be written is no error: it is a convenience."""
    with contextlib.suppress(OSError, RuntimeError):
        file = _file()
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps({"theme": theme}) + "\n", encoding="utf-8")
