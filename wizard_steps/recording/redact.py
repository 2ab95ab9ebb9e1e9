"""Secrets out of text before it is written or shown anywhere, also when one spans two pieces of output."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping

#: What stands where a secret was.
MARK = "[REDACTED]"
#: A shorter value would blank out ordinary words.
_MIN = 6
#: How much of a piece without a line end is held back for patterns.
_HOLD = 512
#: A piece longer than this is no secret; it goes on rather than fill the memory.
_MAX_HELD = 65536
#: Environment variables whose values are secrets, whatever they look like.
SECRET_VARIABLES = (
    "HF_TOKEN",
    "HUGGING_FACE_HUB_TOKEN",
    "VLLM_API_KEY",
    "OPENAI_API_KEY",
    "RAY_AUTH_TOKEN",
    "AWS_SECRET_ACCESS_KEY",
    "WANDB_API_KEY",
    "NGC_API_KEY",
)
#: (what every match has in or right before it, the match). A pattern is only tried where its word occurs: a
#: flood of output passes ten times as fast. No match holds a blank.
_PATTERNS = tuple(
    (word, re.compile(pattern))
    for word, pattern in (
        ("hf_", r"hf_[A-Za-z0-9]{16,}"),
        ("sk-", r"sk-[A-Za-z0-9_-]{16,}"),
        ("nvapi-", r"nvapi-[A-Za-z0-9_-]{16,}"),
        *((f"gh{kind}_", rf"gh{kind}_[A-Za-z0-9]{{20,}}") for kind in "pousr"),
        ("earer ", r"(?<=[Bb]earer )[A-Za-z0-9._~+/-]{8,}=*"),
        ("--api-key", r"(?<=--api-key[ =])\S+"),
        ("@", r"(?<=://)[^\s/:@]+:[^\s/@]+(?=@)"),
        ("TOKEN=", r"(?<=TOKEN=)[^\s'\"]{6,}"),
        ("PASSWORD=", r"(?<=PASSWORD=)[^\s'\"]+"),
    )
)
#: What a look-behind may need to see before a match, in characters.
_BEFORE = 16

_KEY = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?-----END [A-Z ]*PRIVATE KEY-----")
_KEY_BEGIN = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----")
_KEY_END = re.compile(r"-----END [A-Z ]*PRIVATE KEY-----")


class Redactor:
    """Knows the secrets of this run: given values, and anything that looks like a key or token."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._secrets: set[str] = set()
        self._known: re.Pattern[str] | None = None
        self._longest = 0
        for secret in secrets:
            self.add(secret)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Redactor:
        env = os.environ if environment is None else environment
        return cls(env[name] for name in SECRET_VARIABLES if env.get(name))

    def add(self, secret: str) -> None:
        """From now on ``secret`` is taken out. Values under six characters are ignored."""
        if len(secret) < _MIN or secret in self._secrets:
            return
        self._secrets.add(secret)
        ordered = sorted(self._secrets, key=len, reverse=True)
        self._known = re.compile("|".join(re.escape(item) for item in ordered))
        self._longest = len(ordered[0])

    def text(self, text: str) -> str:
        if self._known is not None and any(secret in text for secret in self._secrets):
            text = self._known.sub(MARK, text)
        if "-----BEGIN" in text:
            text = _KEY.sub(MARK, text)
        for word, pattern in _PATTERNS:
            if word in text:
                text = pattern.sub(MARK, text)
        return text

    def stream(self) -> RedactedStream:
        return RedactedStream(self)

    def cut(self, text: str) -> int:
        """Where ``text`` can be parted: what follows may be, or become, part of a secret."""
        line = len(text) - (text.rfind("\n") + 1)
        cut = len(text) - max(min(line, _HOLD), self._partial(text))
        if self._known is not None:
            begin = max(0, cut - self._longest)
            cut = _before(self._known, text, begin, cut)
        for word, pattern in _PATTERNS:
            begin = _run_start(text, cut)
            if text.find(word, max(0, begin - _BEFORE)) >= 0:
                cut = _before(pattern, text, begin, cut)
        return cut if len(text) - cut <= _MAX_HELD else len(text)

    def _partial(self, text: str) -> int:
        """The longest end of ``text`` that some known secret (they can span lines) begins with."""
        tail = text[-self._longest :] if self._longest else ""
        lengths = range(len(tail), 0, -1)
        return next((n for n in lengths if any(s.startswith(tail[-n:]) for s in self._secrets)), 0)


def _run_start(text: str, at: int) -> int:
    """Where the unbroken run of characters that ``at`` is in begins."""
    return max(text.rfind(blank, 0, at) for blank in (" ", "\n", "\t")) + 1


def _before(pattern: re.Pattern[str], text: str, begin: int, cut: int) -> int:
    """``cut``, or the start of a match that it would part."""
    return next((m.start() for m in pattern.finditer(text, begin) if m.start() < cut < m.end()), cut)


class RedactedStream:
    """Holds back an unfinished line (up to 512 characters) so that a secret cut in two is still seen.

    A private key is left out from its BEGIN line to its END line, however long that is.
    """

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._rest = ""
        self._in_key = False

    def feed(self, text: str) -> str:
        text = self._keys(self._rest + text)
        cut = self._redactor.cut(text)
        self._rest = text[cut:]
        return self._redactor.text(text[:cut])

    def end(self) -> str:
        text, self._rest = self._redactor.text(self._rest), ""
        self._in_key = False
        return text

    def _keys(self, text: str) -> str:
        if not self._in_key and "-----BEGIN" not in text:
            return text
        kept = []
        for line in text.splitlines(keepends=True):
            begins = bool(_KEY_BEGIN.search(line))
            if begins and not self._in_key:
                kept.append(MARK + "\n")
            self._in_key = (self._in_key or begins) and not _KEY_END.search(line)
            if not self._in_key and not begins and not _KEY_END.search(line):
                kept.append(line)
        return "".join(kept)
