"""The words of the field, one sentence each: read from lines ``- **word**: sentence`` of a help page."""

from __future__ import annotations

import re
from collections.abc import Mapping

_ENTRY = re.compile(r"- \*\*([^*]{1,60})\*\*([^:]{0,60}): (.+)")


def parse(text: str) -> Mapping[str, str]:
    """Word -> its sentence, in the order of the page. Other lines are passed over."""
    found = {}
    for line in text.splitlines():
        if entry := _ENTRY.fullmatch(line.strip()):
            found[entry[1] + entry[2].rstrip()] = entry[3]
    return found
