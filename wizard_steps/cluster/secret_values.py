"""Secrets among the values of the cluster file: it is shown, recorded and copied, so it holds none."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from wizard_steps.cluster.values import Cluster
from wizard_steps.secret_shapes import SECRET_VARIABLES, holds_password, holds_token, readings

#: Words in the name of a variable whose value is a secret.
_NAMES = re.compile(r"(TOKEN|SECRET|PASSWORD|PASSWD|API_?KEY)", re.IGNORECASE)
#: A shorter secret of the environment may be a word of the file by chance.
_LEAST = 8
#: Flags that take a secret, and how many letters of them may also be the beginning of another flag.
_KEY_FLAGS = {"api-key": 4, "hf-token": 3}
_SECRET_FLAG = re.compile(r"(?:^|-)(?:api-?key|token|password|passwd|secret)$")
#: By these a node's processes are told to be this cluster's.
_OWN = ("MILEPOST_ID", "MILEPOST_LIFE")
_NEVER = "looks like a secret; set it in the wizard's environment, never in this file"
_PASSWORD = (
    "has a password in it, which every process list would show: set it in /etc/environment of the nodes"
)
_FLAG = (
    "an API key or token is a secret, and every process list would show it: set serve.api_key = true and "
    "VLLM_API_KEY in your environment; HF_TOKEN for the hub"
)


def problems(cluster: Cluster) -> Iterator[tuple[str, str]]:
    """(field, message) of values that must not be there; no message repeats one."""
    tables = {"env": cluster.env, **{f"nodes[{i}].env": one.env for i, one in enumerate(cluster.nodes)}}
    for table, env in tables.items():
        yield from _of_env(table, env)
    for table, flags in _lists(cluster).items():
        for i, word in enumerate(flags):
            name, equals, _ = word.removeprefix("-e").removeprefix("--env=").partition("=")
            if equals and not name.startswith("-") and _NAMES.search(name):
                yield f"{table}[{i}]", _NEVER
    yield from _of_values("", msgspec.to_builtins(cluster))


def flags(cluster: Cluster) -> Iterator[tuple[str, str]]:
    """The same of flags that take a secret."""
    for table, words in _lists(cluster).items():
        yield from ((f"{table}[{i}]", _FLAG) for i, word in enumerate(words) if secret_flag(word))


def secret_flag(word: str) -> bool:
    """Whether a flag takes a secret, however it is spelt: vLLM reads ``--api_key``, ``--API-KEY`` is a typing
    error, argparse takes ``--api-k``."""
    name = word.strip().partition("=")[0].partition(" ")[0]
    if not name.startswith("-"):
        return False
    name = name.lstrip("-").replace("_", "-").lower()
    short = any(flag.startswith(name) and len(name) > least for flag, least in _KEY_FLAGS.items())
    return short or bool(_SECRET_FLAG.search(name))


def _lists(cluster: Cluster) -> dict[str, tuple[str, ...]]:
    found = {
        "serve.extra_flags": cluster.serve.extra_flags,
        "ray.head_flags": cluster.ray.head_flags,
        "ray.worker_flags": cluster.ray.worker_flags,
        "docker.extra_flags": cluster.docker.extra_flags,
    }
    for i, node in enumerate(cluster.nodes):
        found |= {f"nodes[{i}].docker_flags": node.docker_flags, f"nodes[{i}].ray_flags": node.ray_flags}
    return found


def _of_env(table: str, env: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for name in env:
        if _NAMES.search(name):
            yield f"{table}.{name}", _NEVER
        elif name in _OWN:
            yield f"{table}.{name}", "is milepost's own: by it the processes of a cluster are found again"


def _of_values(where: str, value: Any) -> Iterator[tuple[str, str]]:
    """The same of the text of any field, a name of [env] too."""
    if isinstance(value, str) and (why := _of_value(value)):
        yield where, why
    inner = value.items() if isinstance(value, dict) else ()
    for key, one in inner:
        if why := _of_value(key):
            yield where, f"a name in it {why}"
        yield from _of_values(f"{where}.{key}".lstrip("."), one)
    for n, one in enumerate(value if isinstance(value, list | tuple) else ()):
        yield from _of_values(f"{where}[{n}]", one)


def covered(message: str) -> str:
    """``message`` about a cluster file without the words of it that are secrets."""
    if not _of_value(message):
        return message
    words = " ".join("[REDACTED]" if _of_value(word) else word for word in message.split(" "))
    return "[REDACTED]: what is wrong here would repeat a secret" if _of_value(words) else words


def _of_value(value: str) -> str:
    read = readings(value)
    if holds_password(read):
        return _PASSWORD
    if holds_token(read):
        return _NEVER
    known = {name: secret for name in SECRET_VARIABLES if len(secret := os.environ.get(name, "")) >= _LEAST}
    return next(
        (
            f"holds the value of {name}, which never belongs into this file"
            for name, secret in known.items()
            if any(secret in one for one in read)
        ),
        "",
    )
