"""Takes the output of the facts script apart."""

from __future__ import annotations

import re
from collections.abc import Mapping

from msgspec import Struct

_END = re.compile(r"^@@fact (\S+) exit (\d+)$")


class FactSection(Struct, frozen=True):
    """What one section printed (stdout and stderr) and its exit code; 127 means that its tool is missing."""

    text: str = ""
    code: int = -1

    @property
    def ok(self) -> bool:
        return self.code == 0

    @property
    def missing(self) -> bool:
        """The tool is not installed (127), or the section was never reached (-1)."""
        return self.code in (127, -1)

    @property
    def lines(self) -> list[str]:
        return [line for line in self.text.splitlines() if line.strip()]


ABSENT = FactSection()


def split(text: str) -> dict[str, FactSection]:
    """Section name -> Section. What follows the last marker (a cut connection) is left out."""
    found: dict[str, FactSection] = {}
    lines: list[str] = []
    for line in text.replace("\r\n", "\n").split("\n"):
        end = _END.match(line)
        if end:
            found[end[1]] = FactSection("\n".join(lines).strip("\n"), int(end[2]))
            lines = []
        else:
            lines.append(line)
    return found


def pick(found: Mapping[str, FactSection], name: str) -> FactSection:
    """A section by name; an absent one where the output lacks it."""
    return found.get(name, ABSENT)
