"""Reads the programs of scripts/, as they are sent to the nodes."""

from __future__ import annotations

import shlex
from functools import lru_cache
from pathlib import Path


@lru_cache
def program(name: str) -> str:
    """The text of ``scripts/name``. Raises FileNotFoundError for a name that is not there."""
    return (Path(__file__).parent / "scripts" / name).read_text(encoding="utf-8")


def run_python(venv: str, name: str, *words: str) -> str:
    """sh text that runs ``scripts/name`` with the node's ``python3``, else with that of the ``venv``."""
    return (
        f"p=$(command -v python3 || echo {shlex.quote(venv)}/bin/python)\n"
        f'exec "$p" -I -c {shlex.join([program(name), *words])}\n'
    )
