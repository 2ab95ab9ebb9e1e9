"""The cluster file, ``milepost.toml``: validation with line and field, comment-keeping writes.

No secret is ever in it: HF_TOKEN and friends are taken from the environment of the wizard, or asked for.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec

from wizard_steps.cluster.checks import problems
from wizard_steps.cluster.secret_values import covered
from wizard_steps.cluster.toml_text import line_of, merge_nodes, merge_table, set_item
from wizard_steps.cluster.values import Cluster, Docker, NodeEntry, Ray, Serve, Ssh, Weights
from wizard_steps.cluster.words import own_words
from wizard_steps.errors import UsageError
from wizard_steps.files import read_plain

__all__ = [
    "Cluster",
    "Docker",
    "NodeEntry",
    "Ray",
    "Serve",
    "Ssh",
    "Weights",
    "dump",
    "load",
    "parse",
    "problems",
]


#: Bytes of a cluster file: 10,000 nodes have 1 MB.
MOST = 4 << 20


def load(path: Path) -> Cluster:
    """Read and check a cluster file. Raises UsageError with file, line and field."""
    try:
        text = read_plain(path, MOST).decode("utf-8").replace("\r\n", "\n").replace("\r", "\n")
    except FileNotFoundError:
        raise UsageError(
            f"{path}: no such cluster file. Run `milepost` in a terminal to write one, "
            "or `milepost --lab` to try the embedded lab."
        ) from None
    except IsADirectoryError:
        raise UsageError(f"{path}: is a folder, not a cluster file") from None
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: cannot be read: {error}; a cluster file is UTF-8") from None
    if text.startswith("\ufeff"):
        raise UsageError(f"{path}: begins with a byte order mark: save it as UTF-8 without one")
    return parse(text, str(path))


def parse(text: str, source: str = "milepost.toml") -> Cluster:
    """Check the text of a cluster file. ``source`` is named in errors."""
    data = _toml(text, source)
    try:
        cluster = msgspec.convert(data, Cluster, strict=True)
    except msgspec.ValidationError as error:
        message, where = _split(str(error))
        raise UsageError(covered(_locate(text, source, where, message))) from None
    for where, message in problems(cluster):
        raise UsageError(f"{_place(text, source, where)}: {where or 'file'}: {message}")
    return cluster


def _toml(text: str, source: str) -> dict[str, Any]:
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    try:
        return tomlkit.parse(text).unwrap()
    except TOMLKitError as error:
        line, column = getattr(error, "line", None), getattr(error, "col", None)
        place = f"{source}:{line}" if line else source
        where = f" at column {column}" if column else ""
        what = covered(str(error).partition(" at line ")[0])
        raise UsageError(
            f"{place}: not valid TOML{where}: {what}. Lines of it are `[serve]` and `port = 8000`; "
            "texts are in quotes"
        ) from None


def _split(message: str) -> tuple[str, str]:
    """msgspec says ``... - at `$.nodes[0].gpus` ``, and of a name ``... - at `key` in `$.env` ``."""
    if " - at `key` in `$" in message:
        return message, message.partition(" in `$")[2].rstrip("`").lstrip(".")
    text, _, path = message.partition(" - at `$")
    return text, path.rstrip("`").lstrip(".")


def _locate(text: str, source: str, where: str, message: str) -> str:
    unknown = re.search(r"unknown field `([^`]+)`", message)
    if unknown:
        where = f"{where}.{unknown.group(1)}" if where else unknown.group(1)
        message = _unknown(where)
    if where == "serve.api_key":
        message = "is true or false, never the key itself: that is asked for, or set in VLLM_API_KEY"
    elif not unknown:
        message = own_words(where, message)
    return f"{_place(text, source, where)}: {where or 'file'}: {message}"


def _place(text: str, source: str, where: str) -> str:
    line = line_of(text, where)
    return f"{source}:{line}" if line else source


def _unknown(where: str) -> str:
    from wizard_steps.cluster.reference import nearest

    close = nearest(where)
    hint = f"did you mean {close}? " if close else ""
    return f"unknown field; {hint}`milepost help cluster-file` lists all fields"


def dump(cluster: Cluster, previous: str = "") -> str:
    """The text of a cluster file. Comments and order of ``previous`` are kept; only changed values move."""
    import tomlkit

    document = tomlkit.parse(previous) if previous.strip() else tomlkit.document()
    wanted: dict[str, Any] = msgspec.to_builtins(cluster)
    defaults: dict[str, Any] = msgspec.to_builtins(Cluster(nodes=cluster.nodes))
    scalars = [k for k, v in wanted.items() if not isinstance(v, dict | list | tuple)]
    for key in scalars:
        if key in document or wanted[key] != defaults[key] or key in ("name", "path", "venv"):
            set_item(document, key, wanted[key])
    merge_nodes(document, wanted["nodes"])
    for key, value in wanted.items():
        if isinstance(value, dict):
            merge_table(document, key, value, defaults[key])
    return tomlkit.dumps(document)
