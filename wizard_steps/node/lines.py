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


def number(text: str) -> int:
    """What a node printed as a whole number; 0 for anything else, and for what no count can be."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else 0


def plain(text: str) -> str:
    """One line without characters that steer a terminal or that no file can hold (lone surrogates)."""
    return "".join(letter if letter.isprintable() else " " for letter in text)
