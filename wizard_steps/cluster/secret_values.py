"""Secrets among the values of the cluster file: it is shown, recorded and copied, so it holds none."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from wizard_steps.cluster.values import Cluster

#: Words in the name of a variable whose value is a secret.
_NAMES = re.compile(r"(TOKEN|SECRET|PASSWORD|PASSWD|API_?KEY)", re.IGNORECASE)
#: What tokens of the usual services look like.
LOOKS_SECRET = re.compile(
    r"\b(?:hf_[A-Za-z0-9]{20}|sk-[\w-]{20}|gh[pousr]_\w{20}|github_pat_\w{20}|glpat-[\w-]{20}|xox[abprs]-[\w-]{10}"
    r"|nvapi-[\w-]{20}|AKIA[A-Z0-9]{16})"
)
_WITH_PASSWORD = re.compile(r"[a-z][a-z0-9+.-]{0,19}://[^/?#\s@:]{0,200}:[^/?#\s@]{1,200}@", re.IGNORECASE)
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
            elif (why := _of_value(word)) and not (table == "serve.extra_flags" and why == _NEVER):
                yield f"{table}[{i}]", why  # flag_checks.py tells of tokens in vLLM's flags


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
    for name, value in env.items():
        if _NAMES.search(name):
            yield f"{table}.{name}", _NEVER
        elif name in _OWN:
            yield f"{table}.{name}", "is milepost's own: by it the processes of a cluster are found again"
        elif why := _of_value(value):
            yield f"{table}.{name}", why


def _of_value(value: str) -> str:
    if _WITH_PASSWORD.search(value):
        return _PASSWORD
    return _NEVER if LOOKS_SECRET.search(value) else ""
