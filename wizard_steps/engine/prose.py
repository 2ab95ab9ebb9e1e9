"""The prose of an expected file with this cluster's names, addresses and paths in place of ``{{name}}``:
a command in it can be pasted."""

from __future__ import annotations

import re
from collections.abc import Mapping

from msgspec.structs import replace

from wizard_steps.engine.expect import VARIABLE
from wizard_steps.engine.expected import Expected

#: What a shell takes as one plain word, and Markdown as plain text.
_PLAIN = re.compile(r"[\w./:@~+-]+")


def fill_prose(text: str, values: Mapping[str, str]) -> str:
    """Values for ``{{name}}``; one that is not known, or no plain word, stays a NAME in capitals."""

    def value(match: re.Match[str]) -> str:
        found = values.get(match[1], "")
        return found if _PLAIN.fullmatch(found) else match[1].upper()

    return VARIABLE.sub(value, text)


def filled(expected: Expected, values: Mapping[str, str]) -> Expected:
    """The same file with its prose filled in. Its blocks are left: they are filled for each node."""
    return replace(
        expected,
        parts=tuple(replace(part, text=fill_prose(part.text, values)) for part in expected.parts),
    )
