"""TOML as text: the line a field is on, and changes that leave comments and untouched lines alone."""

from __future__ import annotations

import re
from typing import Any


def line_of(text: str, where: str) -> int:
    """The 1-based line of a field such as ``nodes[1].gpus``; of its nearest table if it is absent; else 0."""
    import tomlkit

    keys = [int(k) if k.isdigit() else k for k in re.findall(r"[^.\[\]]+", where)]
    marker = "milepost-marker-5f1c"
    while keys:
        document: Any = tomlkit.parse(text)
        target = document
        try:
            for key in keys[:-1]:
                target = target[key]
            _mark(target, keys[-1], marker)
        except (KeyError, IndexError, TypeError):
            keys.pop()
            continue
        before, found, _ = tomlkit.dumps(document).partition(marker)
        return before.count("\n") + 1 if found else 0
    return 0


def _mark(target: Any, key: Any, marker: str) -> None:
    """Put the marker where ``key`` is, so that a dump shows its line."""
    value = target[key]
    if hasattr(value, "keys") and not hasattr(value, "trivia"):
        raise TypeError
    if hasattr(value, "keys"):
        first = next(iter(value.keys()), None)
        if first is None:
            raise KeyError(key)
        _mark(value, first, marker)
    else:
        target[key] = marker


def merge_table(document: Any, key: str, value: dict[str, Any], default: dict[str, Any]) -> None:
    """Make one table say ``value``; keys that are at their default and absent stay absent."""
    import tomlkit

    current = document.get(key)
    changed = {
        k: v for k, v in value.items() if (current is not None and k in current) or v != default.get(k)
    }
    if current is not None:
        for gone in [k for k in current if k not in value]:
            del current[gone]
    if not changed:
        return
    if current is None:
        document[key] = tomlkit.table()
    for k, v in changed.items():
        set_item(document[key], k, list(v) if isinstance(v, tuple) else v)


def merge_nodes(document: Any, nodes: list[dict[str, Any]]) -> None:
    """Make the [[nodes]] tables say ``nodes``, in place."""
    import tomlkit

    tables = document.get("nodes")
    if tables is None:
        document["nodes"] = tables = tomlkit.aot()
        tables = document["nodes"]
    kept = [(node.get("host"), node.get("port") or 0, node.get("name")) for node in nodes]
    while len(tables) > len(nodes):
        # The table of the node that is gone, with its comments; not just the last one.
        is_of = [(one.get("host"), one.get("port") or 0, one.get("name")) in kept for one in tables]
        del tables[is_of.index(False) if False in is_of else len(tables) - 1]
    while len(tables) < len(nodes):
        tables.append(tomlkit.table())
    for table, node in zip(tables, nodes, strict=True):
        for k, v in node.items():
            if k in table or v not in ("", 0, None, {}, [], ()) or k in ("host", "role", "gpus"):
                if v is None:
                    table.pop(k, None)
                else:
                    set_item(table, k, list(v) if isinstance(v, tuple) else v)


def set_item(table: Any, key: str, value: Any) -> None:
    """Assign only on a change: an untouched item keeps its comment and spacing."""
    if key in table and table[key] == value:
        return
    table[key] = value
