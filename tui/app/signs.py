"""ASCII in place of signs that the terminal's encoding does not have: ``✓`` is ``v``, a frame is ``+-|``."""

from __future__ import annotations

import codecs
import unicodedata
from typing import Any

#: The name of the error handler.
SIGNS = "milepost-signs"
_ASCII = dict(
    zip(
        "✓✗●○◆■▶•…·→←↑↓≡‹›×–—‘’“”❚━═┃║▏▎▍▌▊▕▐▔▁▂▃",
        "vx*o*#>*..><^v=<>x--''\"\"|==|||||||||-___",
        strict=True,
    )
)
#: Two columns each.
_WIDE = {"✅": "ok", "❌": "no"}


def signs(error: UnicodeError) -> tuple[str, int]:
    """For ``codecs.register_error``: as many columns as the sign would take."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(_plain, error.object[error.start : error.end])), error.end


def _plain(sign: str) -> str:
    if known := _ASCII.get(sign) or _WIDE.get(sign):
        return known
    place = ord(sign)
    if 0x2500 <= place < 0x2580:
        name = unicodedata.name(sign)
        return "-" if name.endswith("HORIZONTAL") else "|" if name.endswith("VERTICAL") else "+"
    if 0x2580 <= place < 0x25A0:
        return "#"
    if 0x2800 <= place < 0x2900:
        return "*"
    plain = unicodedata.normalize("NFKD", sign).encode("ascii", "ignore").decode()
    wide = 2 if unicodedata.east_asian_width(sign) in "WF" else 1
    return plain if len(plain) == wide else "?" * wide


def plain_signs(stream: Any) -> None:
    """Let a text stream write them where its encoding has no others."""
    if hasattr(stream, "reconfigure") and (stream.encoding or "").lower().replace("-", "") != "utf8":
        stream.reconfigure(errors=SIGNS)


codecs.register_error(SIGNS, signs)
