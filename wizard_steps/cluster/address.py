"""What ssh is given, taken apart: ``host``, ``user@host:port``, ``ssh://user@host:port``, ``[IPv6]:port``."""

from __future__ import annotations

import re

from msgspec import Struct

_FORM = re.compile(
    r"(?:ssh://)?(?:(?P<user>.+)@)?"
    r"(?:\[(?P<six>[^\[\]@]+)\]|(?P<host>[^:@\[\]/]+|[^@\[\]/:]*:[^@\[\]/:]*:[^@\[\]/]*))"
    r"(?::(?P<port>\d{1,5}))?/?"
)
HIGHEST_PORT = 65535


class Address(Struct, frozen=True):
    """``user`` is empty and ``port`` 0 where the text names none."""

    host: str
    user: str = ""
    port: int = 0


def address(text: str) -> Address | None:
    """None when the text is no such address. A bare IPv6 address has no port; in brackets it may have one."""
    found = _FORM.fullmatch(text.strip())
    port = int(found["port"] or 0) if found else 0
    if found is None or port > HIGHEST_PORT or (found["port"] and not port):
        return None
    return Address(found["six"] or found["host"], found["user"] or "", port)
