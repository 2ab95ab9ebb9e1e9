"""Reads ``snapshots/expected/<milestone>.md``: what a person reads beside a step, and what its gate compares.

    # Title
    ## Why            prose: why this step
    ## What happens   prose: what is run and changed
    ## If it fails    prose: what usually goes wrong, what to try
    ## Learn          prose, optional

    ```expect KEY [role]
    lines, see expect.py
    ```

KEY is the key of the command whose output is compared; role (head or worker) limits the block. A heading or
a block that ends in words in square brackets holds only where all of them do: ``## Why [docker]`` is added to
Why in containers, ``[docker without-ray]`` needs both. The words: host, docker, ray, without-ray.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from functools import lru_cache
from pathlib import Path

from msgspec import Struct

from wizard_steps.engine.expect import ExpectedLine, compare, fill, parse_line
from wizard_steps.errors import MilepostError
from wizard_steps.model import Comparison, Node, Result

#: ``snapshots/`` lies beside this package, in a checkout and in an installed wheel alike.
SNAPSHOTS = Path(__file__).resolve().parents[2] / "snapshots"

_FENCE = re.compile(
    r"^```expect\s+(?P<key>[\w-]+)(?:\s+(?P<role>head|worker|wizard))?(?P<ways>\s+\[.*\])?\s*$"
)
_HEADING = re.compile(r"^## (?P<name>[^\[]*)(?P<ways>\[.*\])?\s*$")
#: What a heading or a block may depend on: where Ray and vLLM run, and whether vLLM uses Ray.
WAYS = ("host", "docker", "ray", "without-ray")


class Block(Struct, frozen=True):
    """The expected lines of one command; ``role`` is empty where they hold for every node."""

    key: str
    role: str
    lines: tuple[ExpectedLine, ...]
    ways: frozenset[str] = frozenset()


class Part(Struct, frozen=True):
    """Prose below one heading; ``ways`` is empty where it holds always."""

    name: str
    text: str
    ways: frozenset[str] = frozenset()


class Expected(Struct, frozen=True):
    """An expected file: its parts by heading, and its blocks."""

    title: str
    parts: tuple[Part, ...]
    blocks: tuple[Block, ...]

    def on(self, ways: Collection[str]) -> Expected:
        """What of it holds for a walk that goes these ways."""
        return Expected(
            self.title,
            tuple(part for part in self.parts if part.ways <= set(ways)),
            tuple(block for block in self.blocks if block.ways <= set(ways)),
        )

    @property
    def sections(self) -> Mapping[str, str]:
        """The prose by heading; parts of one heading follow each other."""
        found: dict[str, list[str]] = {}
        for part in self.parts:
            found.setdefault(part.name, []).append(part.text)
        return {name: "\n\n".join(texts) for name, texts in found.items()}

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
    title, parts, blocks = "", [("About", frozenset[str](), list[str]())], list[Block]()
    lines = iter(enumerate(text.splitlines(), 1))
    for number, line in lines:
        if fence := _FENCE.match(line):
            body = _body(lines, f"{source}:{number}", source)
            ways = _ways(fence["ways"], f"{source}:{number}")
            blocks.append(Block(key=fence["key"], role=fence["role"] or "", lines=body, ways=ways))
        elif line.startswith("# "):
            title = line[2:].strip()
        elif heading := _HEADING.match(line):
            parts.append((heading["name"].strip(), _ways(heading["ways"], f"{source}:{number}"), []))
        else:
            parts[-1][2].append(line)
    prose = tuple(Part(name, "\n".join(body).strip(), ways) for name, ways, body in parts if any(body))
    return Expected(title=title, parts=prose, blocks=tuple(blocks))


def _body(lines: Iterator[tuple[int, str]], fence: str, source: str) -> tuple[ExpectedLine, ...]:
    body: list[ExpectedLine] = []
    for number, line in lines:
        if line.startswith("```"):
            return tuple(body)
        try:
            body.append(parse_line(line))
        except ValueError as error:
            raise MilepostError(f"{source}:{number}: {error}") from None
    raise MilepostError(f"{fence}: this expect block is never closed")


def _ways(text: str | None, where: str) -> frozenset[str]:
    words = (text or "").strip().strip("[]").split()
    for word in words:
        if word not in WAYS:
            raise MilepostError(f"{where}: [{word}] is unknown; known are {', '.join(WAYS)}")
    return frozenset(words)
