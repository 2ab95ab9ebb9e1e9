"""Reads ``snapshots/expected/<milestone>.md``: what a person reads beside a step, and what its gate compares.

    # Title
    ## Why            prose: why this step
    ## What happens   prose: what is run and changed
    ## If it fails    prose: what usually goes wrong, what to try
    ## Learn          prose, optional

    ```expect KEY [role] [(optional)]
    lines, see expect.py
    ```

KEY is the key of the command whose output is compared; ``pair-*`` compares every command of that kind. Role
(head or worker) limits the block. A gate whose command gave no result fails, unless the block is optional:
then it is compared where the command ran. A heading or
a block that ends in words in square brackets holds only where all of them do: ``## Why [docker]`` is added to
Why in containers, ``[docker without-ray]`` needs both. The words: host, docker, ray, without-ray.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path

from msgspec import Struct

from wizard_steps.engine.expect import VARIABLE, ExpectedLine, compare, fill, parse_line
from wizard_steps.errors import ExpectedTextError
from wizard_steps.model import WIZARD, Comparison, Node, Result

#: ``snapshots/`` lies beside this package, in a checkout and in an installed wheel alike.
SNAPSHOTS = Path(__file__).resolve().parents[2] / "snapshots"

FENCE = re.compile(
    r"^```expect\s+(?P<key>[\w*?-]+)(?:\s+(?P<role>head|worker|wizard))?"
    r"(?:\s+(?P<optional>\(optional\)))?(?P<ways>\s+\[.*\])?\s*$"
)
#: Meant as a fence: what is not one is an error, for nothing would be compared with it.
_MEANT = re.compile(r"^\s*`{3,}\s*expect\b", re.IGNORECASE)
_HEADING = re.compile(r"^## (?P<name>[^\[]*)(?P<ways>\[.*\])?\s*$")
#: The checks that say what of the expected text is missing.
EXPECTED = ("expected line", "expected output")
#: What a heading or a block may depend on: where Ray and vLLM run, and whether vLLM uses Ray.
WAYS = ("host", "docker", "ray", "without-ray", "one-replica", "replicas")


_HOW = "not read as a block; write ```expect KEY, then head or worker, (optional), [ways] where needed"


class Block(Struct, frozen=True):
    """The expected lines of one command, or of a family of them (``pair-*``); ``role`` is empty where they
    hold for every node. ``line`` is where the block begins; its lines follow."""

    key: str
    role: str
    lines: tuple[ExpectedLine, ...]
    ways: frozenset[str] = frozenset()
    required: bool = True
    line: int = 0

    def fits(self, key: str, node: Node) -> bool:
        """Whether the output of a command on a node is compared with it."""
        return fnmatchcase(key, self.key) and self.role in ("", node.role)


class ExpectedPart(Struct, frozen=True):
    """Prose below one heading; ``ways`` is empty where it holds always."""

    name: str
    text: str
    ways: frozenset[str] = frozenset()


class Expected(Struct, frozen=True):
    """An expected file: its parts by heading, and its blocks. ``source`` is its path."""

    title: str
    parts: tuple[ExpectedPart, ...]
    blocks: tuple[Block, ...]
    source: str = ""

    @property
    def name(self) -> str:
        """The name of the file."""
        return Path(self.source).name

    def on(self, ways: Collection[str]) -> Expected:
        """What of it holds for a walk that goes these ways."""
        return Expected(
            self.title,
            tuple(part for part in self.parts if part.ways <= set(ways)),
            tuple(block for block in self.blocks if block.ways <= set(ways)),
            self.source,
        )

    @property
    def sections(self) -> Mapping[str, str]:
        """The prose by heading; parts of one heading follow each other."""
        found: dict[str, list[str]] = {}
        for part in self.parts:
            found.setdefault(part.name, []).append(part.text)
        return {name: "\n\n".join(texts) for name, texts in found.items()}

    @property
    def protocol(self) -> bool:
        """Whether its lines are only marks between programs (``@@…``), which say nothing to a person."""
        lines = [line for block in self.blocks for line in block.lines if not line.gap]
        return bool(lines) and all(line.text.startswith("@@") for line in lines)

    def block(self, key: str, node: Node) -> Block | None:
        """The block for a command on a node; the one that says most about where it holds comes first."""
        fitting = [b for b in self.blocks if b.fits(key, node)]
        return max(fitting, key=lambda b: (b.key == key, bool(b.role), len(b.ways)), default=None)

    def without_result(self, results: Iterable[Result], nodes: Collection[Node]) -> list[Block]:
        """The required blocks that no result could be compared with, where a node of their role exists."""
        roles = {"", WIZARD.role, *(node.role for node in nodes)}
        known = [r for r in results if r.reason != "unrecorded"]
        return [
            block
            for block in self.blocks
            if block.required and block.role in roles and not any(block.fits(r.key, r.node) for r in known)
        ]

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
    """The expected file of a milestone. Raises ExpectedTextError with file and line when it is wrong."""
    path = (folder or SNAPSHOTS / "expected") / f"{step_id}.md"
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ExpectedTextError(f"{path}: cannot be read: {error.strerror or error}") from None
    return parse(text, str(path))


def parse(text: str, source: str) -> Expected:
    """An expected file. Raises ExpectedTextError with ``source`` and the line."""
    title, parts, blocks = "", [("About", frozenset[str](), list[str]())], list[Block]()
    lines = iter(enumerate(text.splitlines(), 1))
    for number, line in lines:
        if fence := FENCE.match(line):
            body = _body(lines, f"{source}:{number}", source)
            ways = _ways(fence["ways"], f"{source}:{number}")
            required = not fence["optional"]
            blocks.append(Block(fence["key"], fence["role"] or "", body, ways, required, number))
        elif _MEANT.match(line):
            raise ExpectedTextError(f"{source}:{number}: {_HOW}")
        elif line.startswith("# "):
            title = line[2:].strip()
        elif heading := _HEADING.match(line):
            parts.append((heading["name"].strip(), _ways(heading["ways"], f"{source}:{number}"), []))
        else:
            parts[-1][2].append(line)
    prose = tuple(
        ExpectedPart(name, "\n".join(body).strip(), ways) for name, ways, body in parts if any(body)
    )
    return Expected(title=title, parts=prose, blocks=tuple(blocks), source=source)


def check(document: Expected, keys: Collection[str], names: Collection[str]) -> None:
    """Whether a file fits its milestone. ``keys``: those of its commands (``pair-*`` for a family), empty
    where the milestone does not say. ``names``: the variables it has values for.

    Raises ExpectedTextError that names every problem with file and line.
    """
    found: list[str] = []
    seen: set[tuple[str, str, frozenset[str]]] = set()
    for block in document.blocks:
        where = f"{document.source}:{block.line}: expect {block.key}"
        if keys and not any(fnmatchcase(block.key, key) or fnmatchcase(key, block.key) for key in keys):
            found.append(f"{where}: the milestone has no such command; it has {', '.join(sorted(keys))}")
        if (block.key, block.role, block.ways) in seen:
            found.append(f"{where}: a second block for the same output")
        seen.add((block.key, block.role, block.ways))
        if not block.lines:
            found.append(f"{where}: the block is empty")
        found += [
            f"{document.source}:{number}: {{{{{name}}}}}: no such variable; known: {', '.join(sorted(names))}"
            for number, line in enumerate(block.lines, block.line + 1)
            for name in VARIABLE.findall(line.text)
            if name not in names
        ]
    if found:
        raise ExpectedTextError("\n".join(found))


def _body(lines: Iterator[tuple[int, str]], fence: str, source: str) -> tuple[ExpectedLine, ...]:
    body: list[ExpectedLine] = []
    for number, line in lines:
        if line.startswith("```"):
            return tuple(body)
        try:
            body.append(parse_line(line))
        except ValueError as error:
            raise ExpectedTextError(f"{source}:{number}: {error}") from None
    raise ExpectedTextError(f"{fence}: this expect block is never closed")


def _ways(text: str | None, where: str) -> frozenset[str]:
    words = (text or "").strip().strip("[]").split()
    for word in words:
        if word not in WAYS:
            raise ExpectedTextError(f"{where}: [{word}] is unknown; known are {', '.join(WAYS)}")
    return frozenset(words)
