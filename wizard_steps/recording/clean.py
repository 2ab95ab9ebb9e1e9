"""Terminal output to plain text, as a stream: no escape code of a node ever reaches the user's terminal."""

from __future__ import annotations

import codecs
import re

from wizard_steps.recording.safe import HIDDEN

#: An escape sequence longer than this is not one; it is let go as text.
_MAX_ESCAPE = 4096
# CSI, OSC (and the other string types, ended by BEL or ST), two-byte escapes, and the C1 forms of these. A
# string ends before whatever may begin another: no character is looked at twice, whatever a node sends.
_STRING = rf"(?:\x1b[\]PX^_]|[\x9d\x90\x98\x9e\x9f])[^\x07\x1b\x9c\x9d\x90\x98\x9e\x9f\n]{{0,{_MAX_ESCAPE}}}"
_ESCAPE = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"
    rf"|{_STRING}(?:\x07|\x1b\\|\x9c)"
    r"|\x1b[ -/]*[0-OQ-WYZ\\`-~]"
)
_UNFINISHED = re.compile(rf"(?:(?:\x1b\[|\x9b)[0-?]*[ -/]*|{_STRING}\x1b?|\x1b[ -/]*)\Z")
#: A carriage return is left for later.
_CONTROL = re.compile("[" + HIDDEN.replace("\x0b-\x1f", "\x0b\x0c\x0e-\x1f") + "]")
_RETURNS = re.compile(r"\r+\n?")


class Cleaner:
    """Feed bytes, get text. A carriage return ends a line only where no newline follows: progress bars
    become one line per redraw, which a reader can follow and a file can hold."""

    def __init__(self) -> None:
        self._decode = codecs.getincrementaldecoder("utf-8")("replace")
        self._rest = ""

    def feed(self, data: bytes) -> str:
        return self._take(self._decode.decode(data), final=False)

    def end(self) -> str:
        """What was held back. The cleaner can be used again afterwards."""
        text = self._take(self._decode.decode(b"", final=True), final=True)
        self._decode.reset()
        return text

    def _take(self, text: str, final: bool) -> str:
        text = self._rest + text
        self._rest = ""
        if "\x1b" in text or _CONTROL.search(text):
            text = _ESCAPE.sub("", text)
            if not final:
                text = self._hold(text)
            text = _CONTROL.sub("", text)
        if text.endswith("\r") and not final:
            text, self._rest = text.rstrip("\r"), "\r" + self._rest
        return _RETURNS.sub("\n", text) if "\r" in text else text

    def _hold(self, text: str) -> str:
        match = _UNFINISHED.search(text, max(0, len(text) - _MAX_ESCAPE))
        if match is None:
            return text
        self._rest = text[match.start() :]
        return text[: match.start()]


def clean(data: bytes | str) -> str:
    """The plain text of a whole output."""
    cleaner = Cleaner()
    raw = data if isinstance(data, bytes) else data.encode("utf-8", "surrogateescape")
    return cleaner.feed(raw) + cleaner.end()
