"""The events of a recorded walk: what the transport said of a node stands only there, not in the outputs.

Milepost's own verdicts and hints in the same file are left out: its advice must not be diagnosed.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Iterator
from typing import BinaryIO

from wizard_steps.diagnose.shapes import CUT
from wizard_steps.recording.intake import MOST_EVENTS

#: A walk that another program wrote anew may have blanks.
_BEGINS = re.compile(rb'\s{0,8}\{\s{0,8}"event"\s{0,8}:\s{0,8}"walk-started"')
#: Bytes of a line that are looked at, and of all details together.
_LINE = _MOST = 1 << 24


def opened(file: Callable[[], BinaryIO]) -> Callable[[], BinaryIO]:
    """Opens the details when the file is that of a walk, and the file itself otherwise. Raises OSError."""

    def either() -> BinaryIO:
        with file() as events:
            first = events.readline(_LINE)
            if not _BEGINS.match(first):
                return file()
            return io.BytesIO(b"".join([_detail(first).encode("utf-8", "replace"), *_details(events)]))

    return either


def _details(events: BinaryIO) -> Iterator[bytes]:
    left, unread = _MOST, MOST_EVENTS
    while left > 0 and unread > 0 and (line := events.readline(_LINE)):
        text = _detail(line).encode("utf-8", "replace")
        left -= len(text)
        unread -= len(line)
        yield text


def _detail(line: bytes) -> str:
    """``NODE | DETAIL`` for a command that the transport could not bring to an end; else an empty line."""
    if not line.endswith(b"\n") and len(line) == _LINE:
        return f"{CUT}\r"
    if b'"command-ended"' not in line or b'"detail"' not in line:
        return "\n"
    try:
        event = json.loads(line)
        reason, node, detail = event["reason"], str(event["node"]), str(event["detail"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return "\n"
    # Of a command that ended by itself the detail speaks of the login only: no failure is in that.
    said = "" if reason == "exit" else " ".join(detail.split())
    return f"{node} | {said}\n" if said else "\n"
