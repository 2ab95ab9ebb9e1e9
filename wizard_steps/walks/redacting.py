"""Takes secrets out of a recording that already has them."""

from __future__ import annotations

from wizard_steps.model import counted
from wizard_steps.recording.redact import Redactor
from wizard_steps.walks.identify import secrets
from wizard_steps.walks.texts import Draft, Span, TextChange, changed


def redact(item: Draft, redactor: Redactor) -> Draft:
    """The recording with every secret that ``redactor`` knows replaced by a mark."""
    places = secrets(item, redactor)
    if not places:
        return item

    def spans(whole: bytes) -> list[Span]:
        """The lines with a secret; all of it when one spans lines, as a private key does."""
        text = whole.decode("utf-8", "surrogateescape")
        if redactor.text(text) != "".join(map(redactor.text, text.splitlines(keepends=True))):
            return [(0, len(whole), _bytes(redactor.text(text)))]
        found, at = [], 0
        for line in text.splitlines(keepends=True):
            end = at + len(_bytes(line))
            if redactor.text(line) != line:
                found.append((at, end, _bytes(redactor.text(line))))
            at = end
        return found

    change = TextChange(redactor.text, lambda key, value: redactor.text(value), spans)
    kept = {name: redactor.text(text) for name, text in item.evidence.items()}
    done = Draft(changed(item.walk, change), kept, item.said)
    return done.but(f"took secrets out of {counted(len(places), 'place')}")


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
