"""All that a command prints goes out through here: no word of a node, of a recording or of a log that was
given to read acts on the person's terminal, whichever part of milepost printed it."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Iterator
from typing import Any, TextIO, cast

from tui.app.signs import plain_signs
from wizard_steps.errors import UsageError
from wizard_steps.recording.safe import safe

#: How a CI's runner knows a command of its own in a log: GitHub's `::name::` at the beginning of a line (also
#: after blanks) and `##[name]` anywhere, Azure's `##vso[name]`, TeamCity's `##teamcity[name]`.
_COMMAND = re.compile(r"(?m)^([ \t]*:)(?=:)|(##)(?=[a-z]{0,9}\[)")


class Door:
    """A text stream that lets only safe text through, and no workflow command but milepost's own (those go
    ``outside``). All else of the stream is as it was."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        text = safe(text)
        if "::" in text or "##" in text:
            text = _COMMAND.sub(lambda found: f"{found[0]} ", text)
        self._stream.write(text)
        return len(text)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def guarded() -> Iterator[None]:
    """Standard output and error behind the door. (Textual draws through neither: its widgets do)"""
    before = sys.stdout, sys.stderr
    for stream in before:
        plain_signs(stream)
    sys.stdout, sys.stderr = (cast(TextIO, Door(stream)) for stream in before)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def outside(stream: TextIO) -> TextIO:
    """The stream itself, for what milepost draws on a terminal of its own accord."""
    return cast(TextIO, getattr(stream, "_stream", stream))


def needs_screen(instead: str) -> None:
    """Raises UsageError, with what to do ``instead``, where no screen can be drawn. A dumb terminal has no
    cursor to place: it would print the escape sequences."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError(f"this is not a terminal: {instead}")
    if os.environ.get("TERM") == "dumb":
        raise UsageError(f"TERM=dumb: no screen can be drawn on this terminal: {instead}")
