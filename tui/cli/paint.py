"""Colours and links of what a command prints: on a terminal, and nowhere else."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from tui.cli.door import outside
from wizard_steps.recording.safe import safe_line

if TYPE_CHECKING:
    from rich.text import Text

#: What is coloured in a line, and how; of a pattern with groups, the groups. Colours are the terminal's own.
_STYLES = (
    (re.compile(r"^(?:ok|Ready to start:)(?= )"), "green"),
    (re.compile(r"^warn(?= )"), "yellow"),
    (re.compile(r"^(?:FAIL|Not ready:)(?= )"), "bold red"),
    (re.compile(r"^\?(?= )"), "cyan"),
    (re.compile(r"^ {3,}(?:->|try:|\d+\.)(?= )"), "cyan"),
    (re.compile(r"SIMULATED"), "bold yellow"),
    (re.compile(r"^\d{1,3}\. [\w-]{1,60}(?: on \S{1,60})?(?= \()"), "bold"),
    (re.compile(r"\((?:cause|likely cause)(?:, \d{1,3} %)?\)"), "red"),
    (re.compile(r"\((?:guess|hint|unknown)(?:, \d{1,3} %)?\)"), "yellow"),
    (re.compile(r"^ {3}(?:\||rule ).*"), "dim"),
    (re.compile(r"`[^`]{1,300}`"), "bold"),
    (re.compile(r"^[AB](?=  )"), "bold"),
    (re.compile(r"\b(?:failed|failed now)\b"), "red"),
    (re.compile(r"\b(?:passed|passed then)\b"), "green"),
    (re.compile(r"^Recommended:"), "bold green"),
    (re.compile(r"^  \+(?= )| (?:good|works)(?=  )"), "green"),
    (re.compile(r"^  -(?= )| (?:tight|doubt|slow)(?=  )"), "yellow"),
    (re.compile(r" no(?=  )"), "red"),
)
#: ``name: before -> after``.
_CHANGE = re.compile(r"^ *\d{1,4}\. [^:]{1,80}: (.{1,200}?) -> (.{1,200})$")
_URL = re.compile(r"https?://[a-z0-9\[][^\s<>\"'`]{1,300}[^\s<>\"'`.,;:)]")
#: ``  logs/serve.log:7: text``.
_FILE = re.compile(r"^ {3,8}([^\s:]{1,300}):\d{1,9}:")


def show(lines: Iterable[str]) -> None:
    """Print lines; on a terminal with colours and links, unless NO_COLOR is set or it is a dumb one."""
    if not sys.stdout.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        print("\n".join(lines))
        return
    from rich.console import Console

    console = Console(file=outside(sys.stdout), highlight=False, markup=False, emoji=False)
    for line in lines:
        console.print(painted(line), soft_wrap=True)


def painted(line: str) -> Text:
    """A line in its colours. What a node said in it cannot act on the terminal."""
    from rich.style import Style
    from rich.text import Text

    text = Text(safe_line(line))
    for pattern, style in _STYLES:
        for found in pattern.finditer(text.plain):
            text.stylize(style, *found.span())
    if change := _CHANGE.match(text.plain):
        text.stylize("red", *change.span(1))
        text.stylize("green", *change.span(2))
    for found in _URL.finditer(text.plain):
        text.stylize(Style(underline=True, link=found[0]), *found.span())
    if (file := _FILE.match(text.plain)) and Path(file[1]).exists():
        text.stylize(Style(link=Path(file[1]).resolve().as_uri()), *file.span(1))
    return text
