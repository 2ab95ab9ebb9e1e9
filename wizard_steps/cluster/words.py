"""What is wrong with a value of the cluster file, in our own words: the parser's are about its types."""

from __future__ import annotations

import re

_NODES = "one [[nodes]] table for each machine, with host, gpus and role (`milepost help cluster-file nodes`)"


def own_words(where: str, message: str) -> str:
    """``message`` of msgspec about the field ``where``, without its place; itself where nothing is known."""
    from wizard_steps.cluster.reference import fields

    if lacking := re.search(r"missing required field `(\w{1,40})`", message):
        more = f": {_NODES}" if lacking[1] == "nodes" else ""
        return f"{lacking[1]} is missing{more}"
    if " - at `key` in" in message:
        return "a name in it is none of an environment variable: letters, digits and _, no digit first"
    path = re.sub(r"\[\d+\]", "[]", where)
    doc = next((doc for doc in fields() if doc.path == path), None)
    if doc is None or "unknown field" in message:
        return message
    if "length >= 1" in message:
        return "must not be empty"
    if "length <=" in message:
        return f"is too long: at most {message.rpartition(' ')[2]} characters"
    if "regex" in message:
        return _form(where, doc.type, doc.example)
    if doc.type.startswith(("integer", "number")):
        kind, _, limits = doc.type.partition(", ")
        said = "a whole number" if kind == "integer" else "a number"
        return f"must be {said}, {limits}" if limits else f"must be {said}"
    return f"must be {doc.type}"


def _form(where: str, kind: str, example: str) -> str:
    if not example or where.endswith("name"):
        return "may hold letters, digits, dots, dashes and underscores, 63 characters at most"
    return f"does not have the form of {example}" if example != '""' else f"is not a valid {kind}"
