"""The reference of the cluster file: every field with type, default, meaning and example.

Types, defaults and limits are read from the structs in values.py, so that they cannot age; the meanings
are in fields.toml. A test holds both against each other.
"""

from __future__ import annotations

import difflib
import tomllib
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec

from wizard_steps.cluster.values import Cluster

#: Fields that only milepost itself writes.
INTERNAL = frozenset({"simulated"})
#: More fields than this with one name are no hint.
_FEW = 4


class FieldDoc(msgspec.Struct, frozen=True):
    """One field. ``path`` is ``nodes[].gpus`` or ``serve.port``; ``default`` and ``example`` are TOML."""

    path: str
    type: str
    default: str
    required: bool
    meaning: str
    example: str


@lru_cache(maxsize=1)
def meanings() -> dict[str, dict[str, str]]:
    """path -> its "meaning", and its "example" in TOML where there is one."""
    return tomllib.loads(Path(__file__).with_name("fields.toml").read_text(encoding="utf-8"))


def fields() -> tuple[FieldDoc, ...]:
    """Every field that a person may write, tables after plain fields, in the order of the structs."""
    schema = msgspec.json.schema(Cluster)
    return tuple(_walk(schema["$defs"], schema["$defs"]["Cluster"], ""))


def json_schema() -> dict[str, Any]:
    """The JSON schema of the file, with the meanings as descriptions."""
    schema = msgspec.json.schema(Cluster)
    _describe(schema["$defs"], schema["$defs"]["Cluster"], "")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "milepost.toml", **schema}


def nearest(path: str) -> str:
    """The known fields or the table that resemble ``path`` most, joined by "or"; "" when none does."""
    known = [doc.path for doc in fields()]
    tables = {name.rpartition(".")[0] for name in known} - {""}
    plain = "".join(c for c in path if not c.isdigit())
    leaf = plain.rpartition(".")[2]
    same = [name for name in known if name.rpartition(".")[2] == leaf]
    if plain == leaf and 0 < len(same) <= _FEW:
        first = ", ".join(same[:-1])
        return f"{first} or {same[-1]}" if first else same[-1]
    found = difflib.get_close_matches(plain, [*known, *tables], n=1, cutoff=0.5)
    if found:
        return found[0]
    leaves = {name.rpartition(".")[2]: name for name in known}
    close = difflib.get_close_matches(leaf, leaves, n=1, cutoff=0.7)
    return leaves[close[0]] if close else ""


def _walk(defs: dict[str, Any], struct: dict[str, Any], prefix: str) -> list[FieldDoc]:
    plain, tables = [], []
    for name, spec in struct["properties"].items():
        path = f"{prefix}{name}"
        if path in INTERNAL:
            continue
        inner = _struct(defs, spec)
        if inner is None:
            plain.append(_doc(path, spec, name in struct.get("required", ())))
        else:
            tables += _walk(defs, inner, f"{path}[]." if spec.get("type") == "array" else f"{path}.")
    return plain + tables


def _describe(defs: dict[str, Any], struct: dict[str, Any], prefix: str) -> None:
    for name, spec in struct["properties"].items():
        path = f"{prefix}{name}"
        inner = _struct(defs, spec)
        if inner is not None:
            _describe(defs, inner, f"{path}[]." if spec.get("type") == "array" else f"{path}.")
        elif path in meanings():
            spec["description"] = meanings()[path]["meaning"]


def _struct(defs: dict[str, Any], spec: dict[str, Any]) -> dict[str, Any] | None:
    reference = spec.get("$ref") or spec.get("items", {}).get("$ref") or _any_of(spec)
    return defs[reference.rpartition("/")[2]] if reference else None


def _any_of(spec: dict[str, Any]) -> str:
    return next((str(option["$ref"]) for option in spec.get("anyOf", ()) if "$ref" in option), "")


def _doc(path: str, spec: dict[str, Any], required: bool) -> FieldDoc:
    entry = meanings().get(path, {})
    default = "" if required else _toml(spec.get("default"))
    example = entry.get("example", default)
    return FieldDoc(path, _type(spec), default, required, entry.get("meaning", ""), example)


def _type(spec: dict[str, Any]) -> str:
    if "enum" in spec:
        return " or ".join(_toml(value) for value in spec["enum"])
    if "anyOf" in spec:
        return " or ".join(_type(option) for option in spec["anyOf"] if option.get("type") != "null")
    kind = spec.get("type")
    if kind == "array":
        return f"list of {_type(spec['items'])}s"
    if kind == "object":
        return f"table of {_type(spec['additionalProperties'])}s"
    if kind in ("integer", "number"):
        return f"{kind}{_limits(spec)}"
    return {"boolean": "true or false"}.get(str(kind), str(kind))


def _limits(spec: dict[str, Any]) -> str:
    least, most = spec.get("minimum"), spec.get("maximum")
    if least is not None and most is not None:
        return f", {least} to {most}"
    return f", at least {least}" if least is not None else ""


def _toml(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k} = {_toml(v)}" for k, v in value.items()) + "}"
    return f'"{value}"' if isinstance(value, str) else str(value)
