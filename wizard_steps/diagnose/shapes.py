"""Texts that are not a plain log: JSON records, web pages, terminal recordings, logs cut at a width.

Each source line becomes one line, so that line numbers stay those of the file; several messages inside one
line are held apart by a return. A plain log passes through untouched and at full speed.
"""

from __future__ import annotations

import html
import itertools
import json
import quopri
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from wizard_steps.diagnose.json_lines import MEMBER, readable

#: Characters of a text that decide its shape.
HEAD = 1 << 15
_SHORT, _WIDE = 60, 240
#: Characters of a line up to which its record is taken apart; of a longer one CUT says that it was not.
LONGEST = 1 << 24
CUT = "(milepost: a line of this file is longer than 16 MiB: read as plain text)"
#: A line that begins a message of its own is no continuation of a cut one.
_STARTS = re.compile(
    r"\s*(?:\(\w[\w.-]*(?: rank=\d+)? pid=|\[?(?:20\d\d-\d\d-\d\d|\w{3} +\d+ \d\d:)"
    r"|(?:INFO|WARNING|ERROR|DEBUG)\b|(?:Normal|Warning)\s+[A-Z]\w+\s|[|+][ =-]"
    r"|Traceback|\[rank\d+\]|\[[IWEF]|\S+:\d+:\d+ \[\d+\]|File \")"
)
#: Between two columns of a table, whose rows are of one length by nature.
_COLUMNS = re.compile(r"\S {2,}(?=\S)")
_PAGE = re.compile(r"\s*<(?:!doctype html|html|head|body|pre|div|p|!--)\b", re.IGNORECASE)
_HIDDEN = re.compile(r"<(script|style)\b[^<>]*>", re.IGNORECASE)
_BREAK = re.compile(r"<(?:br|/p|/div|/li|/tr|/pre|/h\d)\b[^<>]*>", re.IGNORECASE)
_TAG = re.compile(r"</?[a-zA-Z!][^<>]{0,2000}>")
_OPENS = re.compile(r'\[?\s*\{\s*"[\w.@-]{1,80}"\s*:')
_EVENT = re.compile(r'\s*\[\s*[\d.]+\s*,\s*"o"')
_MAIL = re.compile(r"^content-transfer-encoding:\s*quoted-printable", re.IGNORECASE | re.MULTILINE)


def shaped(pieces: Iterable[str]) -> Iterator[str]:
    """The text with every line made readable."""
    source = iter(pieces)
    head = ""
    for piece in source:
        head += piece
        if len(head) >= HEAD:
            break
    if "\n" not in head and head.count("\r") > 1:
        source = (piece.replace("\r", "\n") for piece in source)
        head = head.replace("\r", "\n")
    change = _shape(head)
    if change is None:
        yield head
        yield from source
        return
    yield from change(_lines(head, source))


def _lines(head: str, source: Iterator[str]) -> Iterator[str]:
    rest = head
    while True:
        *lines, rest = rest.split("\n")
        for line in lines:
            yield line + "\n"
        piece = next(source, None)
        if piece is None:
            break
        if len(rest) > LONGEST:
            # No record is that long; a return instead of a line end keeps the count of the lines.
            yield f"{rest}\r{CUT}\r"
            rest = ""
        rest += piece
    if rest:
        yield rest


def _shape(head: str) -> Callable[[Iterator[str]], Iterator[str]] | None:
    if _PAGE.match(head):
        return _page
    if _MAIL.search(head):
        return _mail
    lines = [line for line in head[:HEAD].split("\n")[:200] if line.strip()]
    if any(line.lstrip()[0] in '{["' and _is_json(line) for line in lines[:20]):
        return _records
    if (width := _width(lines)) > 0:
        return lambda lines: _joined(lines, width)
    return None


def _is_json(line: str) -> bool:
    text = line.strip()
    if MEMBER.match(line) or text in ("{", "[", "[{"):
        return True
    try:
        return isinstance(json.loads(text.rstrip(",")), dict | list | str)
    except (ValueError, RecursionError):
        # The beginning of a record that is longer than the part of the file that is looked at.
        return len(text) >= HEAD - 1 and bool(_OPENS.match(text))


# --- web pages -----------------------------------------------------------------------------------------


def _page(lines: Iterator[str]) -> Iterator[str]:
    hidden = ""
    for line in lines:
        shown, hidden = _visible(line, hidden)
        text = html.unescape(_TAG.sub("", _BREAK.sub("\r", shown)))
        yield text.rstrip("\n").replace("\n", " ") + ("\n" if line.endswith("\n") else "")


def _visible(line: str, hidden: str) -> tuple[str, str]:
    """The line without scripts and styles, and the name of the one that it leaves open."""
    parts: list[str] = []
    while line:
        if hidden:
            end = line.lower().find(f"</{hidden}")
            if end < 0:
                break
            line, hidden = line[end:], ""
        found = _HIDDEN.search(line)
        if found is None:
            parts.append(line)
            break
        parts.append(line[: found.start()])
        line, hidden = line[found.end() :], found[1].lower()
    return "".join(parts), hidden


# --- JSON ----------------------------------------------------------------------------------------------


def _records(lines: Iterator[str]) -> Iterator[str]:
    held = ""
    for line in lines:
        end, text = "\n" if line.endswith("\n") else "", readable(line.rstrip("\n"))
        if _EVENT.match(line) and len(held) < 1 << 16:
            # A terminal recording cuts lines anywhere: what is unfinished waits for the rest.
            *whole, held = (held + text).replace("\r\n", "\n").split("\n")
            text = "\n".join(whole)
        yield text.replace("\n", "\r") + end
    if held:
        yield "\r" + held


# --- logs that a terminal or a mail program cut --------------------------------------------------------


def _width(lines: list[str]) -> int:
    """The width at which the lines were cut, 0 for a log that was not."""
    lengths = Counter(len(line.rstrip("\r")) for line in lines)
    longest = max(lengths, default=0)
    if not _SHORT <= longest <= _WIDE or lengths[longest] < 2:
        return 0
    plain = itertools.pairwise(line.rstrip("\r") for line in lines)
    pairs = [(one, two) for one, two in plain if len(one) == longest and len(_COLUMNS.findall(one)) < 2]
    cut = sum(not _STARTS.match(two) for _, two in pairs)
    alike = len({two for _, two in pairs}) == 1 < len({one for one, _ in pairs})
    return longest if cut >= 2 and cut > 0.6 * len(pairs) and not alike else 0


def _mail(lines: Iterator[str]) -> Iterator[str]:
    """A mail as it was sent: lines cut with = at their end, other bytes as =XX."""
    held, missing, ended = "", 0, False
    for line in lines:
        bare, ended = line.rstrip("\r\n"), line.endswith("\n")
        if bare.endswith("=") and len(held) < 1 << 16:
            held, missing = held + bare[:-1], missing + 1
            continue
        text = quopri.decodestring((held + bare).encode("utf-8", "replace")).decode("utf-8", "replace")
        yield text.replace("\n", "\r") + "\n" * (missing + ended)
        held, missing = "", 0
    # The last line may be a cut one too, with a line end or without.
    if missing:
        yield held + "\n" * (missing - (not ended))


def _joined(lines: Iterator[str], width: int) -> Iterator[str]:
    held, missing = "", 0
    for line in lines:
        bare = line.rstrip("\r\n")
        if held and not (_STARTS.match(bare) or not bare.strip()):
            held, missing = held + bare, missing + 1
        else:
            yield from _let_go(held, missing)
            held, missing = bare, 0
        if len(bare) < width or len(held) > 1 << 16:
            yield held + "\n" * (missing + line.endswith("\n"))
            held, missing = "", 0
            continue
        held = held or bare
    yield from _let_go(held, missing)


def _let_go(held: str, missing: int) -> Iterator[str]:
    if held:
        yield held + "\n" * (missing + 1)
