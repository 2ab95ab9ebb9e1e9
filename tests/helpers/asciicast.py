"""A strict reader of asciicast v3, written from https://docs.asciinema.org/manual/asciicast/v3/."""

from __future__ import annotations

import json
from typing import Any

HEADER = {
    "version": int,
    "term": dict,
    "timestamp": int,
    "idle_time_limit": (int, float),
    "command": str,
    "title": str,
    "env": dict,
    "tags": list,
}
TERM = {"cols": int, "rows": int, "type": str, "version": str, "theme": dict}


def read(text: str) -> tuple[dict[str, Any], list[tuple[float, str, str]]]:
    """(header, events). AssertionError for anything the specification does not allow."""
    assert text.endswith("\n")
    first, *rest = text[:-1].split("\n")
    header = json.loads(first)
    assert set(header) <= set(HEADER)
    for name, value in header.items():
        assert isinstance(value, HEADER[name]), name
    assert header["version"] == 3
    assert set(header["term"]) <= set(TERM)
    for name, value in header["term"].items():
        assert isinstance(value, TERM[name]), name
    assert header["term"]["cols"] > 0
    assert header["term"]["rows"] > 0
    events = []
    for line in rest:
        if line.startswith("#"):
            continue
        interval, code, data = json.loads(line)
        assert isinstance(interval, int | float)
        assert interval >= 0
        assert code in ("o", "i", "m", "r", "x")
        assert isinstance(data, str)
        if code == "x":
            int(data)
        events.append((float(interval), code, data))
    assert "x" not in [code for _, code, _ in events[:-1]], "x is the last event"
    return header, events
