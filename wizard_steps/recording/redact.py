"""Secrets out of text before it is written or shown anywhere, also when one spans two pieces of output."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from typing import Any

from wizard_steps.secret_shapes import (
    LEAST,
    SECRET_VARIABLES,
    SHAPES,
    WRAP_BEGINS,
    forms,
    kept,
    spans,
    unescaped,
    unwrapped,
)

#: What stands where a secret was.
MARK = "[REDACTED]"
#: How much of a piece without a line end is held back for patterns.
_HOLD = 512
#: What a pattern may keep before the secret itself, in characters.
_BEFORE = 80
#: A piece longer than this is no secret; it goes on rather than fill the memory.
_MAX_HELD = 65536
_KEY = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?-----END [A-Z ]*PRIVATE KEY-----")
_KEY_BEGIN = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----")
_KEY_END = re.compile(r"-----END [A-Z ]*PRIVATE KEY-----")


class Redactor:
    """Knows the secrets of this run, in all the forms that programs print, and what looks like a key.

    A known secret is also found where line ends break it.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._secrets: set[str] = set()
        self._forms: set[str] = set()
        self._begins: set[str] = set()
        self._longest = 0
        for secret in secrets:
            self.add(secret)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Redactor:
        env = os.environ if environment is None else environment
        return cls(env[name] for name in SECRET_VARIABLES if env.get(name))

    def add(self, secret: str) -> None:
        """From now on ``secret`` is taken out. Values under six characters are ignored."""
        if len(secret) < LEAST:
            return
        flat = secret.replace("\n", "")
        if len(flat) >= LEAST:
            self._secrets.add(flat)
        self._forms |= forms(secret)
        self._longest = max(map(len, self._forms), default=0)
        self._begins = {form[:n] for form in self._forms for n in range(1, len(form) + 1)}

    def _holds(self, text: str) -> bool:
        if not self._forms:
            return False
        flat = unwrapped(text)
        if any(form in flat for form in self._forms):
            return True
        plain = unescaped(flat)
        return plain is not flat and any(secret in plain for secret in self._secrets)

    def tree(self, value: Any) -> Any:
        """The same for every text in plain values: lists, and mappings with their keys."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {self.tree(key): self.tree(item) for key, item in value.items()}
        return [self.tree(item) for item in value] if isinstance(value, list | tuple) else value

    def text(self, text: str) -> str:
        if self._holds(text):
            found = spans(text, self._secrets, self._forms)
            between = zip(
                [0, *(end for _, end in found)], [*(begin for begin, _ in found), None], strict=True
            )
            text = MARK.join(text[begin:end] for begin, end in between)
        if "-----BEGIN" in text:
            text = _KEY.sub(MARK, text)
        for words, pattern in SHAPES:
            if any(word in text for word in words):
                text = pattern.sub(_marked, text)
        return text

    def stream(self) -> RedactedStream:
        return RedactedStream(self)

    def cut(self, text: str) -> int:
        """Where ``text`` can be parted: what follows may be, or become, part of a secret."""
        line = len(text) - (text.rfind("\n") + 1)
        cut = len(text) - max(min(line, _HOLD), self._partial(text))
        begin = max(0, cut - 2 * self._longest)
        if self._holds(text[begin : cut + 2 * self._longest]):
            found = spans(text[begin:], self._secrets, self._forms)
            cut = begin + _before(found, cut - begin)
        if cut > 0 and text[cut - 1] != "\n":
            # In the midst of a long line: what began before may go on behind.
            run = max(text.rfind(blank, 0, cut) for blank in (" ", "\n", "\t")) + 1
            begin = max(0, run - _BEFORE)
            tail = text[begin:]
            for words, pattern in SHAPES:
                if any(word in tail for word in words):
                    cut = _before((match.span() for match in pattern.finditer(text, begin)), cut)
        return cut if len(text) - cut <= _MAX_HELD else len(text)

    def _partial(self, text: str) -> int:
        """The longest end of ``text`` that some form of a secret begins with, past line ends too."""
        if not self._longest:
            return 0
        tail = text[-2 * self._longest :]
        end = WRAP_BEGINS.search(tail)
        places = [place for place in kept(tail) if end is None or place < end.start()]
        flat = "".join(tail[place] for place in places)
        for n in range(min(len(flat), self._longest), 0, -1):
            if flat[-n:] in self._begins:
                return len(tail) - places[-n]
        return 0


def _marked(found: re.Match[str]) -> str:
    return found[1] + MARK


def _before(found: Iterable[tuple[int, int]], cut: int) -> int:
    """``cut``, or the start of what it would part."""
    return next((begin for begin, end in found if begin < cut < end), cut)


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
