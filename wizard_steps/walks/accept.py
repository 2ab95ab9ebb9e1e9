"""Takes real output into an expected block and keeps every line and pattern that still matches.

Matched lines are anchors and stay as they are written. Between two anchors: optional lines and gaps stay;
lines that are missing give way to what was really there, to the most alike line where a gap would swallow
all. Lines that differ from node to node become a pattern where only numbers differ, else optional.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from difflib import SequenceMatcher

from msgspec import Struct

from wizard_steps.engine import expected
from wizard_steps.engine.expect import ExpectedLine, compare, fill, parse_line

GAP = "..."
#: A real line at least this like a missing one takes its place (0 to 1, see difflib).
_ALIKE = 0.6
#: Values that are put back as variables: they are told apart from chance by their length.
_VARIABLES = ("head_ip", "ip", "host", "node", "venv", "served_model", "model", "vllm_version", "ray_version")


class Seen(Struct, frozen=True):
    """What one node printed, and the values of the variables there."""

    lines: tuple[str, ...]
    variables: Mapping[str, str]


class _Region(Struct, frozen=True):
    """What stands between two anchors: expected lines that did not match, and real lines."""

    raw: tuple[str, ...]
    real: tuple[str, ...]
    anchor: str = ""


def accept(raw: Sequence[str], seen: Sequence[Seen]) -> list[str]:
    """The lines of the new block: they match every node of ``seen``."""
    lines = [line for line in raw if line.strip()]
    for number, node in enumerate(seen):
        settle = _first if number == 0 else _another
        lines = _tidy(_pass(lines, node, settle))
    # A line that fits one node can keep another node's line from matching: then it is optional.
    for _ in range(len(lines) + 1):
        bad = [line for node in seen for line in missing(lines, node)]
        if not bad:
            break
        lines = [_optional(line) if line in bad else line for line in lines]
    return lines


def missing(raw: Sequence[str], node: Seen) -> list[str]:
    """The required lines of a block that a node's output lacks, as they are written."""
    return [
        line
        for region in _regions(raw, node)
        for line in region.raw
        if line.strip() != GAP and not parse_line(line).optional
    ]


def _pass(raw: Sequence[str], node: Seen, settle: Callable[[_Region, Seen], list[str]]) -> list[str]:
    lines: list[str] = []
    for region in _regions(raw, node):
        lines += settle(region, node)
        if region.anchor:
            lines.append(region.anchor)
    return lines


def _regions(raw: Sequence[str], node: Seen) -> list[_Region]:
    """The block cut at the lines that match. The last region has no anchor."""
    wanted = [fill(parse_line(line), node.variables) for line in raw]
    comparison = compare("", "", wanted, node.lines)
    rest = list(raw)
    regions: list[_Region] = []
    loose: list[str] = []
    real: list[str] = []
    for row in comparison.rows:
        if row.state in ("between", "unexpected"):
            real.append(row.real)
            continue
        while rest and rest[0].strip() == GAP:
            loose.append(rest.pop(0))
        line = rest.pop(0)
        if row.state == "matched":
            regions.append(_Region(tuple(loose), tuple(real), line))
            loose, real = [], []
        else:
            loose.append(line)
    return [*regions, _Region((*loose, *rest), tuple(real))]


def _first(region: _Region, node: Seen) -> list[str]:
    """From one output alone: what is missing is replaced, what is new is taken in."""
    gap = any(line.strip() == GAP for line in region.raw)
    gone = [line for line in region.raw if line.strip() != GAP and not parse_line(line).optional]
    kept = [line for line in region.raw if line not in gone]
    if not gap:
        return kept + [literal(line, node.variables) for line in region.real]
    if not gone:
        return list(region.raw)
    lines, at = [GAP], 0
    for line in gone:
        found = _most_alike(fill(parse_line(line), node.variables), region.real[at:])
        if found is not None:
            lines += [literal(region.real[at + found], node.variables), GAP]
            at += found + 1
    return [*(line for line in kept if line.strip() != GAP), *lines]


def _another(region: _Region, node: Seen) -> list[str]:
    """From one more node: what it lacks becomes a pattern that fits both, else optional."""
    lines: list[str] = []
    at = 0
    gap = any(line.strip() == GAP for line in region.raw)
    for line in region.raw:
        if line.strip() == GAP or parse_line(line).optional:
            lines.append(line)
            continue
        found = next(
            (n for n, real in enumerate(region.real[at:]) if _both(line, real, node.variables)), None
        )
        if found is None:
            lines.append(_optional(line))
            continue
        lines += [_optional(literal(x, node.variables)) for x in region.real[at : at + found] if not gap]
        lines.append(_both(line, region.real[at + found], node.variables))
        at += found + 1
    return lines + [_optional(literal(x, node.variables)) for x in region.real[at:] if not gap]


def _most_alike(line: ExpectedLine, real: Sequence[str]) -> int | None:
    scores = [SequenceMatcher(None, line.text, text.strip(), autojunk=False).ratio() for text in real[:500]]
    best = max(scores, default=0.0)
    return scores.index(best) if best >= _ALIKE else None


#: Short hexadecimal words, such as pids and ids, are numbers too; ordinary words are not.
_NUMBER = re.compile(r"\b(?=[0-9a-f]*\d)[0-9a-f]+\b|\d+")


def _both(line: str, real: str, variables: Mapping[str, str]) -> str:
    """A regex for a literal line and a real one that differ in numbers alone; nothing when they do not."""
    parsed, other = parse_line(line), parse_line(literal(real, variables))
    if (
        parsed.kind != "literal"
        or other.kind != "literal"
        or _NUMBER.sub("#", parsed.text) != _NUMBER.sub("#", other.text)
    ):
        return ""
    if parsed.text == other.text:
        return line
    pattern = ""
    numbers = zip([*_NUMBER.findall(parsed.text), ""], [*_NUMBER.findall(other.text), ""], strict=True)
    for text, (mine, theirs) in zip(_NUMBER.split(parsed.text), numbers, strict=True):
        pattern += re.sub(r"\\{\\{(\w+)\\}\\}", r"{{\1}}", re.escape(text))
        alike = r"\d+" if (mine + theirs).isdigit() else "[0-9a-f]+"
        pattern += re.escape(mine) if mine == theirs else alike
    made = f"{pattern} (regex)"
    return made if re.fullmatch(fill(parse_line(made), variables).text, real.strip()) else ""


def literal(real: str, variables: Mapping[str, str]) -> str:
    """A real line as an expected one; values of this node become variables."""
    text = real.strip()
    if "{{" in text:
        return f"{re.escape(text)} (regex)"
    for name in _VARIABLES:
        value = variables.get(name, "")
        if len(value) >= 4:
            text = re.sub(rf"(?<![\w.-]){re.escape(value)}(?![\w-]|\.\d)", "{{" + name + "}}", text)
    line = f"{text} (literal)" if text == GAP or parse_line(text).text != text else text
    return f" {line}" if line.startswith("```") else line


def _optional(line: str) -> str:
    parsed = parse_line(line)
    if parsed.gap or parsed.optional:
        return line
    if parsed.kind == "literal":
        return f"{parsed.text} (optional)"
    return f"{parsed.text} ({parsed.kind},optional)"


def _tidy(lines: Sequence[str]) -> list[str]:
    """One gap in a row is enough; two optional lines alike too."""
    kept: list[str] = []
    for line in lines:
        if kept and line == kept[-1] and (line.strip() == GAP or parse_line(line).optional):
            continue
        kept.append(line)
    return kept


def with_blocks(text: str, change: Callable[[int, list[str]], list[str]]) -> str:
    """An expected file with each block's lines changed by ``change(line, lines)``, where ``line`` is the
    number of the line that the block begins with; all else stays."""
    done: list[str] = []
    body: list[str] = []
    begin = 0
    for number, line in enumerate(text.splitlines(), 1):
        if not begin:
            done.append(line)
            begin, body = number if expected.FENCE.match(line) else 0, []
        elif line.startswith("```"):
            done += [*change(begin, body), line]
            begin = 0
        else:
            body.append(line)
    return "\n".join(done) + "\n"
