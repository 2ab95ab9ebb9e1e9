"""Whether all nodes have the very same packages: a hash of all of them, and where it differs, which."""

from __future__ import annotations

import shlex
from collections.abc import Mapping

from wizard_steps.engine.step import Known
from wizard_steps.model import Check, Cmd, Results
from wizard_steps.node.lines import fields
from wizard_steps.node.program import program

#: Packages that the processes of all nodes use with each other: unlike ones fail later, and less clearly.
_SHARED = frozenset(
    {"torch", "nvidia-nccl-cu12", "nvidia-nccl-cu13", "msgspec", "transformers", "flashinfer-python"}
)
_SHOWN = 6
_HINT = "install it again there, or make the environment of one node again from the other's `pip freeze`"


def command(venv: str) -> Cmd:
    """One ``package NAME VERSION`` a line."""
    python, code = f"{shlex.quote(venv)}/bin/python", shlex.quote(program("versions.py"))
    shown = f"{venv}/bin/pip freeze"
    return Cmd("packages", f"exec {python} -I -c {code} --all\n", timeout=90, quiet=True, show=shown)


def locks(known: Known, done: Results) -> Mapping[str, str]:
    """By node: the hash of all that is installed there, where the node said it."""
    found = {node.name: done.get("versions", node) for node in known.nodes}
    read = {name: fields(result.text).get("lock", "") for name, result in found.items() if result}
    return {name: lock for name, lock in read.items() if lock}


def checks(known: Known, done: Results) -> list[Check]:
    """A failure where packages differ that all nodes use together, a warning for others; nothing where the
    nodes did not say (recordings of before)."""
    said = locks(known, done)
    if not said:
        return []
    if len(set(said.values())) == 1:
        return [Check("packages", True, f"{next(iter(said.values()))} on every node")]
    versions = {name: _packages(done, name) for name in said}
    names = sorted({package for one in versions.values() for package in one})
    unlike = [n for n in names if len({one.get(n, "missing") for one in versions.values()}) > 1]
    first, *others = said
    odd = next((name for name in others if versions[name] != versions[first]), others[0])
    if not unlike:
        return [Check("packages", True, "differ, and could not be compared", node=odd, warning=True)]
    bad = [name for name in unlike if name in _SHARED]
    shown = [
        f"{name} {versions[odd].get(name, 'missing')} ({first}: {versions[first].get(name, 'missing')})"
        for name in [*bad, *(name for name in unlike if name not in bad)][:_SHOWN]
    ]
    more = f"; and {len(unlike) - _SHOWN} more" if len(unlike) > _SHOWN else ""
    text = "; ".join(shown) + more
    return [Check("packages", not bad, text, "the same on every node", odd, _HINT, warning=not bad)]


def _packages(done: Results, node: str) -> dict[str, str]:
    result = done.get("packages", node)
    lines = (line.split() for line in result.lines) if result else ()
    return {words[1]: words[2] for words in lines if len(words) == 3 and words[0] == "package"}
