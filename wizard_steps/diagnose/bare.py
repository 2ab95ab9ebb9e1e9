"""Commands on bare metal: programs of the virtual environment by their path, and `export` as lines of the
cluster file."""

from __future__ import annotations

import re

from wizard_steps.diagnose.blanks import meanings
from wizard_steps.diagnose.model import Action

_QUOTED = re.compile(r"""('[^']*'|"[^"]*")""")
#: A program where a command begins: at the start, after what joins commands or runs another one.
_PROGRAM = re.compile(
    r"((?:^|[;&|(]|\b(?:sudo|env|nohup|exec|do|then|until|while))\s{0,9})(ray|vllm|hf|python3?|pip3?|py-spy)(?=\s)"
)
#: Another machine, or a container, has programs of its own.
_ELSEWHERE = re.compile(r"\b(?:docker|podman|ssh|srun|kubectl)\b|\bvenv\b")
_NAME = "[A-Z][A-Z0-9_]{0,60}"
_EXPORTS = re.compile(
    rf"(?:unset ({_NAME}(?: {_NAME}){{0,9}}); )?export ({_NAME}=\S+(?: {_NAME}=\S+){{0,9}})"
)


def by_path(command: str, venv: str) -> str:
    """``command`` with programs of the environment ``venv`` by their path. It must be safe in a shell."""
    if not venv or _ELSEWHERE.search(command):
        return command
    parts = _QUOTED.split(command)
    # What is quoted stands at the odd places; a command begins after it only behind a joining character.
    found = [
        part
        if n % 2
        else _PROGRAM.sub(rf"\g<1>{venv}/bin/\g<2>", part if n == 0 else f"\0{part}").lstrip("\0")
        for n, part in enumerate(parts)
    ]
    return "".join(found)


def in_file(action: Action) -> Action:
    """An `export` line does nothing for what milepost starts: the same as lines of the cluster file."""
    found = _EXPORTS.fullmatch(action.command.strip())
    if found is None or "$" in action.command:
        return action
    pairs = ", ".join(
        '{} = "{}"'.format(name, value.strip("'\""))
        for name, _, value in (word.partition("=") for word in found[2].split())
    )
    out = f"Take {found[1].replace(' ', ', ')} out of the cluster file's env. " if found[1] else ""
    said = meanings(found[2])
    where = (
        f"{out}In the cluster file, under [env] or in env of one node: {pairs}{f' ({said})' if said else ''}."
    )
    return Action(f"{action.text} {where}")
