"""Looks into the environment of a node: which Python, and which versions are installed in it."""

from __future__ import annotations

import shlex

from wizard_steps.node.program import program


def look(venv: str, *names: str) -> str:
    """sh text that prints ``name: version`` or ``name: missing`` for each distribution, or ``venv: missing``.

    A ``vllm`` command without the package can only be a stand-in: what it says of itself is its version.
    """
    bin_, code = f"{shlex.quote(venv)}/bin", shlex.quote(program("versions.py"))
    return (
        f"if [ ! -x {bin_}/python ]; then echo 'venv: missing'; exit 0; fi\n"
        f"echo venv: {shlex.quote(venv)}\n"
        f"out=$({bin_}/python -I -c {code} {shlex.join(names)}) || exit 1\n"
        f'case $out in *"vllm: missing"*) if [ -x {bin_}/vllm ]; then '
        f'echo "vllm: $({bin_}/vllm --version 2>/dev/null | tail -n 1)"; fi;; esac\n'
        'echo "$out"\n'
    )
