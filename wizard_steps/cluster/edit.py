"""Changes one value of a cluster by its field name, with the checks of the cluster file."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Sequence
from typing import Any

import msgspec

from wizard_steps.cluster.file import Cluster, problems
from wizard_steps.cluster.words import own_words
from wizard_steps.errors import UsageError


def with_value(cluster: Cluster, where: str, text: str) -> Cluster:
    """``cluster`` with ``where`` (``nodes[1].fabric_ip``, ``serve.port``) set from what a person typed.

    Numbers and lists are read as such (a list as shell words). ``env.NAME``, of all or of a node, need
    not be there yet; an empty text takes it away. Raises UsageError when it does not fit.
    """
    return with_values(cluster, ((where, text),))


def with_values(cluster: Cluster, edits: Sequence[tuple[str, str]]) -> Cluster:
    """The same for several fields at once: only what comes of all of them has to fit."""
    plain: Any = msgspec.to_builtins(cluster)
    for where, text in edits:
        _put(plain, where, text)
    try:
        changed = msgspec.convert(plain, Cluster)
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at `$.")
        field = path.rstrip("`") or edits[0][0]
        raise UsageError(f"{field}: {own_words(field, message)}") from None
    for field, message in problems(changed):
        raise UsageError(f"{field}: {message}")
    return changed


def _put(plain: Any, where: str, text: str) -> None:
    target: Any = plain
    keys: list[str | int] = [int(k) if k.isdigit() else k for k in re.findall(r"[^.\[\]]+", where)]
    try:
        for key in keys[:-1]:
            target = target[key]
        if len(keys) > 1 and keys[-2] == "env":
            target.pop(keys[-1], None)
            target.update({keys[-1]: text} if text else {})
        else:
            target[keys[-1]] = like(target[keys[-1]], text, where)
    except (KeyError, IndexError, TypeError, AttributeError):
        raise UsageError(f"{where}: no such field in the cluster file") from None


def like(old: Any, text: str, where: str) -> Any:
    """What a person typed as a value of ``old``'s kind. Raises UsageError that begins with the field."""
    if isinstance(old, bool):
        return json.loads(text.lower()) if text.lower() in ("true", "false") else text
    if isinstance(old, int | float):
        try:
            return type(old)(text)
        except ValueError:
            kind = "whole number" if isinstance(old, int) else "number"
            raise UsageError(f"{where}: {text!r} is not a {kind}") from None
    if isinstance(old, list | tuple):
        try:
            return shlex.split(text)
        except ValueError as error:
            raise UsageError(f"{where}: {error}") from None
    return text
