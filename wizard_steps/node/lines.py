"""Reads what our own sh texts print."""

from __future__ import annotations


def fields(text: str) -> dict[str, str]:
    """``name: value`` lines as a mapping; the first of a name counts."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        name, colon, value = line.partition(":")
        if colon and name.strip() and " " not in name.strip():
            found.setdefault(name.strip(), value.strip())
    return found
