"""The fields of a cluster file as a person edits them: name and present value."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from wizard_steps.cluster.file import Cluster

#: Not for a person to edit at a gate: settled before a walk begins.
_FIXED = ("simulated", "path", "serve.api_key")


def fields(cluster: Cluster, first: Sequence[str] = ()) -> list[tuple[str, str]]:
    """(where, value) of every field; those that match a regex of ``first`` stand first, in its order."""
    found = [(w, v) for w, v in _walk("", msgspec.to_builtins(cluster)) if w not in _FIXED]
    rank = {
        where: next((n for n, pattern in enumerate(first) if re.fullmatch(pattern, where)), len(first))
        for where, _ in found
    }
    return sorted(found, key=lambda item: rank[item[0]])


def _walk(prefix: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _walk(f"{prefix}.{key}" if prefix else str(key), inner)
    elif isinstance(value, list | tuple) and any(isinstance(item, dict) for item in value):
        for number, inner in enumerate(value):
            yield from _walk(f"{prefix}[{number}]", inner)
    else:
        yield prefix, as_text(value)


def as_text(value: Any) -> str:
    """A value as it is typed: lists as shell words."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return shlex.join(str(item) for item in value)
    return str(value)
