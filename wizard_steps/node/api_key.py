"""The key that clients of vLLM's API must give (``serve.api_key = true``): VLLM_API_KEY, or a person's word.

Whoever has the key may use the model, so it lives in memory only: it goes to the nodes on standard input,
and the redactor knows it before any command can print it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Awaitable, Callable, Mapping

from wizard_steps.cluster.file import Cluster
from wizard_steps.errors import UsageError

#: The name of the environment variable, here and for vLLM.
NAME = "VLLM_API_KEY"
#: Characters a key has at least. The redactor passes over values under six.
SHORTEST = 8
HOW = "pick a long random one, e.g. `openssl rand -hex 32`"

#: Asks a person: the key, None when there is none to be had.
Ask = Callable[[], Awaitable[str | None]]


def wanted(cluster: Cluster) -> bool:
    return cluster.serve.api_key


def problem(key: str) -> str:
    """What is wrong with a key as a sentence, "" when it can be used."""
    if not key:
        return f"It is empty: {HOW}"
    if not re.fullmatch(r"[!-~]+", key):
        return "It has blanks or letters that a header cannot carry: use plain letters, digits and signs"
    if len(key) < SHORTEST:
        return f"Too short: {len(key)} characters, at least {SHORTEST} are needed: {HOW}"
    return ""


def check(cluster: Cluster, environment: Mapping[str, str] | None = None) -> None:
    """For a walk without a person. Raises UsageError when a key is wanted and VLLM_API_KEY holds none."""
    given = (os.environ if environment is None else environment).get(NAME, "")
    if wanted(cluster) and (wrong := problem(given)):
        state = f"{NAME} cannot be used. {wrong}" if given else f"{NAME} is not set: {HOW}"
        raise UsageError(
            f"serve.api_key: clients must give an API key, but {state}. "
            f"Export {NAME} for the wizard, or set serve.api_key = false"
        )


async def settle(cluster: Cluster, environment: Mapping[str, str], ask: Ask) -> str:
    """The key a person gave; "" where none is wanted or the environment has one.

    Raises UsageError when a person gives none, or what VLLM_API_KEY holds cannot be used.
    """
    if not wanted(cluster):
        return ""
    if environment.get(NAME):
        check(cluster, environment)
        return ""
    key = await ask()
    if key is None or problem(key):
        raise UsageError(
            "No API key was given, and the cluster file says that clients must give one. Nothing was run. "
            f"Walk again and type it, export {NAME}, or set serve.api_key = false."
        )
    return key
