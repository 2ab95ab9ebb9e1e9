"""The hosts that a person's ssh configuration names, for a list to choose from. Nothing is contacted."""

from __future__ import annotations

import glob
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

#: Bytes of a configuration file that are read, files that are followed, names that are kept.
_BYTES, _FILES, _NAMES = 1 << 20, 50, 1000
_LINE = re.compile(r"\s*(host|include)(?:\s*=\s*|\s+)(\S.*)", re.IGNORECASE)


def names(config: Path) -> list[str]:
    """The names after ``Host`` in their order, without patterns; included files too. Never raises."""
    found = dict.fromkeys(_names(config.expanduser(), config.expanduser().parent, set()))
    return list(found)[:_NAMES]


def _names(file: Path, folder: Path, seen: set[Path]) -> Iterator[str]:
    if file in seen or len(seen) >= _FILES:
        return
    seen.add(file)
    try:
        with file.open(encoding="utf-8", errors="replace") as stream:
            lines = stream.read(_BYTES).splitlines()
    except (OSError, ValueError):
        return
    for line in lines:
        match = _LINE.fullmatch(line)
        if match is None:
            continue
        try:
            words = shlex.split(match[2], comments=True)
        except ValueError:
            continue
        if match[1].lower() == "host":
            yield from (word for word in words if not set(word) & set("*?!"))
        else:
            for word in words:
                pattern = Path(word).expanduser()
                pattern = pattern if pattern.is_absolute() else folder / pattern
                for path in sorted(glob.glob(str(pattern)))[:_FILES]:
                    yield from _names(Path(path), folder, seen)
