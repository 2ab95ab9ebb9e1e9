"""Reads ``snapshots/expected/<milestone>.md``: what a person reads beside a step, and what its gate compares.

    # Title
    ## Why            prose: why this step
    ## What happens   prose: what is run and changed
    ## If it fails    prose: what usually goes wrong, what to try
    ## Learn          prose, optional

    ```expect KEY [role]
    lines, see expect.py
    ```

KEY is the key of the command whose output is compared; role (head or worker) limits the block.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from msgspec import Struct

from wizard_steps.engine.expect import ExpectedLine, compare, fill, parse_line
from wizard_steps.errors import MilepostError
from wizard_steps.model import Comparison, Node, Result

#: ``snapshots/`` lies beside this package, in a checkout and in an installed wheel alike.
SNAPSHOTS = Path(__file__).resolve().parents[2] / "snapshots"

_FENCE = re.compile(r"^```expect\s+(?P<key>[\w-]+)(?:\s+(?P<role>head|worker|wizard))?\s*$")


class Block(Struct, frozen=True):
    """The expected lines of one command; ``role`` is empty where they hold for every node."""

    key: str
    role: str
    lines: tuple[ExpectedLine, ...]


class Expected(Struct, frozen=True):
    """An expected file: its sections by heading, and its blocks."""

    title: str
    sections: Mapping[str, str]
    blocks: tuple[Block, ...]

    def block(self, key: str, node: Node) -> Block | None:
        """The block for a command on a node; one for the node's role comes before a general one."""
        fitting = [b for b in self.blocks if b.key == key and b.role in ("", node.role)]
        return max(fitting, key=lambda b: bool(b.role), default=None)

    def filled(self, key: str, node: Node, variables: Mapping[str, str]) -> tuple[ExpectedLine, ...]:
        """The expected lines for one node, variables filled in; empty when there is no block."""
        block = self.block(key, node)
        return tuple(fill(line, variables) for line in block.lines) if block else ()

    def compare(self, result: Result, variables: Mapping[str, str]) -> Comparison | None:
        lines = self.filled(result.key, result.node, variables)
        if not lines:
            return None
        return compare(result.key, result.node.name, lines, result.lines)


@lru_cache(maxsize=64)
def load(step_id: str, folder: Path | None = None) -> Expected:
    """The expected file of a milestone. Raises MilepostError with file and line when it is wrong."""
    path = (folder or SNAPSHOTS / "expected") / f"{step_id}.md"
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise MilepostError(f"{path}: cannot be read: {error.strerror or error}") from None
    return parse(text, str(path))


def parse(text: str, source: str) -> Expected:
    """An expected file. Raises MilepostError with ``source`` and the line."""
    title, section = "", "About"
    sections: dict[str, list[str]] = {}
    blocks: list[Block] = []
    lines = iter(enumerate(text.splitlines(), 1))
    for number, line in lines:
        fence = _FENCE.match(line)
        if fence:
            body = []
            for inner_number, inner in lines:
                if inner.startswith("```"):
                    break
                try:
                    body.append(parse_line(inner))
                except ValueError as error:
                    raise MilepostError(f"{source}:{inner_number}: {error}") from None
            else:
                raise MilepostError(f"{source}:{number}: this expect block is never closed")
            blocks.append(Block(key=fence["key"], role=fence["role"] or "", lines=tuple(body)))
        elif line.startswith("# "):
            title = line[2:].strip()
        elif line.startswith("## "):
            section = line[3:].strip()
        else:
            sections.setdefault(section, []).append(line)
    prose = {name: "\n".join(body).strip() for name, body in sections.items() if any(body)}
    return Expected(title=title, sections=prose, blocks=tuple(blocks))
