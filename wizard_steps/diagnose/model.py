"""What goes into a diagnosis and what comes out of it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from typing import Literal, get_args

from msgspec import Struct, field

Family = Literal[
    "ssh",
    "image",
    "auth",
    "network",
    "version",
    "stale",
    "placement",
    "identity",
    "collective",
    "memory-limits",
    "driver",
    "container-runtime",
    "model-access",
    "gpu-memory",
    "host-resources",
    "ports",
    "config",
    "install",
    "wrapper",
]
FAMILIES: tuple[str, ...] = get_args(Family)

#: How near to the root a rule's line is. cause: it names what is wrong. effect: it has a cause of its own,
#: which may be elsewhere. hint: so general that any other finding is better. wrapper: it only says that
#: something failed. guess: no rule knows the message, its words only point somewhere. unknown: not even that.
Kind = Literal["cause", "effect", "hint", "wrapper", "guess", "unknown"]
KINDS: tuple[str, ...] = get_args(Kind)


_PLACEHOLDER = re.compile(r"\{(\w+)\}")


class Source(Struct, frozen=True):
    """One output to diagnose. Text without times ranks after text with them, in the order of the sources."""

    name: str
    text: str
    node: str = ""


class Action(Struct, frozen=True, omit_defaults=True):
    """One thing to try; ``command`` where one helps. ``{…}`` in a command is for the reader to fill in."""

    text: str
    command: str = ""


class Fix(Struct, frozen=True, omit_defaults=True):
    """A command that a wizard may offer. ``{name}`` placeholders must be filled with quoted values first:
    those in ``Finding.values`` come from the text, the others (``venv``, ``ray_version`` …) from the cluster
    file.
    ``where`` is the node to run it on. ``mutates`` says that it changes something there.
    """

    text: str
    command: str
    mutates: bool = True
    where: Literal["node", "head", "all", "wizard"] = "node"

    def filled(self, values: Mapping[str, str]) -> str | None:
        """The command with every placeholder replaced by its value, quoted for a shell. None when a value
        is missing or empty: a fix that is only half known is not offered.
        """
        names = set(_PLACEHOLDER.findall(self.command))
        if not all(values.get(name) for name in names):
            return None
        return _PLACEHOLDER.sub(lambda match: shlex.quote(values[match[1]]), self.command)


class Evidence(Struct, frozen=True, omit_defaults=True):
    """Where it was read: source name, line number (from 1) and the cleaned line, shortened when very long,
    with a few lines before and after it.
    """

    file: str
    line: int
    text: str
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()


class Diagnosis(Struct, frozen=True):
    """One diagnosis. ``confidence`` is 0 to 1 and falls along the list; the first finding is the answer.

    ``node`` is empty when neither the text nor the source tells it. ``since`` and ``until`` are versions,
    with the name of the software, where the failure exists only in those.
    """

    rule: str
    family: str
    kind: str
    cause: str
    node: str
    evidence: tuple[Evidence, ...]
    try_: tuple[Action, ...] = field(name="try")
    confidence: float
    source: str
    since: str = ""
    until: str = ""
    fixes: tuple[Fix, ...] = ()
    values: Mapping[str, str] = field(default_factory=dict)
    time: float | None = None
    #: Why it stands before the next finding; empty for the last one.
    why: str = ""
    #: The expression of the rule that matched the first line.
    pattern: str = ""
    #: Other rules that matched that line, and why they were not taken.
    rivals: tuple[str, ...] = ()
    #: Another name or address of the node, where the text gives both.
    alias: str = ""
    #: Who printed the line, where that is not the node in which the cause is to be looked for.
    seen_from: str = ""
