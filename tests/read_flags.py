"""Reads from vLLM's sources which release knows which flag of `vllm serve`:

    python -m tests.read_flags FOLDER > wizard_steps/cluster/vllm_flag_history.toml

FOLDER has one folder for each release, named like it (0.8.5.post1), with the package's own files in it
(engine/arg_utils.py, entrypoints/…): of each source distribution on PyPI, its folder ``vllm``. The sources are
parsed, never run. The other names of a switch (``--no-…``) are left out: they come and go with it.
"""

from __future__ import annotations

import ast
import re
import sys
import textwrap
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from packaging.version import Version

#: Where the parser of `vllm serve` is made, from release to release.
FILES = (
    "engine/arg_utils.py",
    "entrypoints/openai/cli_args.py",
    "entrypoints/cli/serve.py",
    "entrypoints/common/cli_args.py",
    "entrypoints/launchers/cli_args.py",
)
#: Flags of the parser itself, in every release; their place in the sources has changed.
_ELSEWHERE = {"--config", "--help", "-h", "-O"}
_FLAG = re.compile(r"--[a-z][a-z0-9_-]+|-[a-z]{1,12}(?:-[a-z]{1,8}){0,3}")
_HEAD = """\
# Which release of vLLM brought a flag of `vllm serve`, and which one took it away; what is in none of the tables
# is as old as the first release or in no release. Written by `python -m tests.read_flags` from the sources of
# these releases on PyPI (source distributions): engine/arg_utils.py and the entrypoints' cli_args.py, serve.py.
# 0.15 has no source distribution there and was not read.
"""


def flags(package: Path) -> set[str]:
    """Every flag by each of its names, of one release."""
    found: set[str] = set()
    for name in FILES:
        if (file := package / name).exists():
            tree = ast.parse(file.read_text(encoding="utf-8"))
            for node in ast.walk(tree):
                found |= set(_of(node))
    return {name for name in found if not name.startswith("--no-") and name not in _ELSEWHERE}


def _of(node: ast.AST) -> Iterator[str]:
    # Wherever it stands: some are added in a loop over their names.
    if isinstance(node, ast.Constant) and isinstance(node.value, str) and _FLAG.fullmatch(node.value):
        yield node.value.replace("_", "-")
    # Since 0.10 the fields of these classes are flags.
    if isinstance(node, ast.ClassDef) and node.name.endswith("FrontendArgs"):
        for line in node.body:
            if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name):
                yield "--" + line.target.id.replace("_", "-")


def history(releases: dict[str, set[str]]) -> tuple[dict[str, str], dict[str, str]]:
    """Flag -> the first release with it, where it came later; flag -> the first one without it, where it went.
    One that came back counts from its return."""
    order = sorted(releases, key=Version)
    since, until = {}, {}
    for before, after in pairwise(order):
        for name in releases[after] - releases[before]:
            since[name] = after
            until.pop(name, None)
        until |= dict.fromkeys(releases[before] - releases[after], after)
    return since, until


def _table(title: str, found: dict[str, str]) -> Iterator[str]:
    yield f"[{title}]"
    for release in sorted(set(found.values()), key=Version):
        names = sorted(name for name, one in found.items() if one == release)
        yield _row(release, names)


def _row(release: str, names: list[str]) -> str:
    quoted = ", ".join(f'"{name}"' for name in names)
    row = f'"{release}" = [{quoted}]'
    return row if len(row) < 110 else f'"{release}" = [\n' + "".join(f'  "{name}",\n' for name in names) + "]"


def main(folder: Path) -> None:
    releases = {one.name: flags(one) for one in folder.iterdir() if one.is_dir()}
    names = ", ".join(f'"{name}"' for name in sorted(releases, key=Version))
    print(_HEAD + "\n".join(textwrap.wrap(f"releases = [{names}]", 108, subsequent_indent="  ")), end="\n\n")
    for title, found in zip(("since", "until"), history(releases), strict=True):
        print("\n".join(_table(title, found)), end="\n\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
