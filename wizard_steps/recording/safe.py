"""The one door for text of a node or of somebody's recording: what passes it cannot act on a terminal,
reorder what is read, or hide in it. Recordings pass it when they are read, live output when it arrives, and
all that a command prints once more on its way out."""

from __future__ import annotations

import re

#: Controls (but for tab and newline), bidirectional marks, everything that Unicode calls invisible
#: ("default ignorable": joiners, fillers, selectors, tags), line and paragraph separators that are no
#: newline, lone surrogates and non-characters, which no file of text or XML may hold.
HIDDEN = (
    "\x00-\x08\x0b-\x1f\x7f-\x9f"
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164"
    "\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\ufffe\uffff\ud800-\udfff"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
_HIDDEN = re.compile(f"[{HIDDEN}]")
#: An escape of JSON; halves of a surrogate pair may be a character that is shown, and stay.
_ESCAPE = re.compile(r"\\(?:u(?![dD][89a-fA-F])([0-9A-Fa-f]{4})|.)")
#: What of it ASCII text can hold: that most output is ASCII makes the door quick.
_ASCII = re.compile("[\x00-\x08\x0b-\x1f\x7f]")


def safe(text: str) -> str:
    """``text`` without hidden characters; newlines and tabs stay. Linear, and quick for plain text."""
    if text.isascii():
        return _ASCII.sub("", text) if _ASCII.search(text) else text
    return _HIDDEN.sub("", text)


def safe_json(text: str) -> str:
    """The same for the text of a JSON file, whose strings may hold such characters as ``\\uXXXX``."""
    return safe(
        _ESCAPE.sub(
            lambda found: "" if found[1] and _HIDDEN.match(chr(int(found[1], 16))) else found[0], text
        )
    )


def safe_line(text: str) -> str:
    """The same on one line: a newline becomes a blank, so that nothing begins a line of its own."""
    return safe(text).replace("\n", " ")


def safe_bytes(data: bytes) -> bytes:
    """The same for recorded output: always whole characters, whatever a piece was cut from."""
    text = data.decode("utf-8", "replace")
    return safe(text).encode()
