"""Reads the programs of scripts/, as they are sent to the nodes."""

from __future__ import annotations

import shlex
from functools import lru_cache
from pathlib import Path


@lru_cache
def program(name: str) -> str:
    """The text of ``scripts/name``. Raises FileNotFoundError for a name that is not there."""
    return (Path(__file__).parent / "scripts" / name).read_text(encoding="utf-8")


def python3(venv: str, *words: str) -> str:
    """sh text that runs ``python3 -I -c WORDS`` of the node, else the Python of the ``venv``."""
    return (
        f"p=$(command -v python3 || echo {shlex.quote(venv)}/bin/python)\n"
        f'exec "$p" -I -c {shlex.join(words)}\n'
    )


def run_python(venv: str, name: str, *words: str) -> str:
    """The same for ``scripts/name``."""
    return python3(venv, program(name), *words)
