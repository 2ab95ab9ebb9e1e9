"""Expected lines against real ones: matched, missing or unexpected. The value is pure; drawing is elsewhere.

A line of an expected block is literal unless it ends in a kind, as in cram and scrut:

    Driver Version: 580.*  (glob)
    \\d+ node_[0-9a-f]+    (regex)
    (no failures)          (optional)
    Usage stats*           (glob,optional)
    ...                    anything may stand between the line above and the one below

Lines keep their order. Blanks at both ends of a line and blank real lines do not count.
"""

from __future__ import annotations

import fnmatch
import re
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache

from msgspec import Struct
from msgspec.structs import replace

from wizard_steps.model import Comparison, Row, RowState

_KINDS = re.compile(r"(?:literal|glob|regex|optional)(?:,\s*\w+)*")
#: A value that is put in for each node.
VARIABLE = re.compile(r"\{\{\s*(\w+)\s*\}\}")
#: Real lines beyond this many are compared only at both ends of the output.
_MAX_LINES = 20_000


class ExpectedLine(Struct, frozen=True):
    """A line to find; ``gap`` stands for any number of lines."""

    text: str
    kind: str = "literal"
    optional: bool = False
    gap: bool = False

    def shown(self) -> str:
        return "..." if self.gap else self.text


def parse_line(raw: str) -> ExpectedLine:
    """One line of an expected block. Raises ValueError for a regex that does not compile, whatever values
    are put in."""
    if raw.strip() == "...":
        return ExpectedLine(text="", gap=True)
    before, opened, told = raw.rstrip().removesuffix(")").rpartition("(")
    if not (opened and raw.rstrip().endswith(")") and _KINDS.fullmatch(told)):
        return ExpectedLine(text=raw.strip())
    kinds = {kind.strip() for kind in told.split(",")}
    kind = next((k for k in ("regex", "glob") if k in kinds), "literal")
    text = before.strip()
    if kind == "regex":
        try:
            with warnings.catch_warnings():
                # What Python will read otherwise one day, as in "[[", is an error in a text that is to last.
                warnings.simplefilter("error", FutureWarning)
                re.compile(VARIABLE.sub("x", text))
        except (re.error, FutureWarning) as error:
            raise ValueError(f"not a regular expression: {error}") from None
    return ExpectedLine(text=text, kind=kind, optional="optional" in kinds)


def fill(line: ExpectedLine, variables: Mapping[str, str]) -> ExpectedLine:
    """Put values in for ``{{name}}``; in a glob or regex they stand for themselves.

    A name without a value stays as it is, and matches nothing: ``expected.check`` says so with its line.
    """

    def value(match: re.Match[str]) -> str:
        text = variables.get(match[1], match[0])
        if line.kind == "regex":
            return re.escape(text)
        return re.sub(r"([*?[])", r"[\1]", text) if line.kind == "glob" else text

    text = VARIABLE.sub(value, line.text)
    return ExpectedLine(text=text, kind=line.kind, optional=line.optional, gap=line.gap)


@lru_cache(maxsize=1024)
def _matcher(kind: str, text: str) -> Callable[[str], object]:
    if kind == "literal":
        return lambda line: line == text
    pattern = text if kind == "regex" else fnmatch.translate(text)
    return re.compile(pattern).fullmatch


def matches(line: ExpectedLine, real: str) -> bool:
    """Whether a real line is this one, blanks at its ends aside."""
    return bool(_matcher(line.kind, line.text)(real.strip()))


def compare(key: str, node: str, expected: Sequence[ExpectedLine], real: Sequence[str]) -> Comparison:
    """Align ``expected`` to ``real`` so that as many required lines as possible match, in order."""
    numbered = [(n, text.rstrip()) for n, text in enumerate(real, 1) if text.strip()]
    if len(numbered) > _MAX_LINES:
        numbered = numbered[: _MAX_LINES // 2] + numbered[-_MAX_LINES // 2 :]
    wanted = [line for line in expected if not line.gap]
    pairs = _align(wanted, [text for _, text in numbered])
    return Comparison(key=key, node=node, rows=tuple(_rows(expected, numbered, pairs)))


def without_between(comparison: Comparison) -> Comparison:
    """The comparison without the lines that a "..." passed over: the output has them."""
    return replace(comparison, rows=tuple(row for row in comparison.rows if row.state != "between"))


def with_between(comparison: Comparison, real: Sequence[str]) -> Comparison:
    """The same with every line of the output, in order: a line that no row speaks of was passed over."""
    told = {row.line for row in comparison.rows}
    left = deque((n, text.rstrip()) for n, text in enumerate(real, 1) if text.strip() and n not in told)
    rows: list[Row] = []
    for row in comparison.rows:
        while row.line and left and left[0][0] < row.line:
            rows += _between([left.popleft()], gap=True)
        rows.append(row)
    return replace(comparison, rows=(*rows, *_between(left, gap=True)))


def _align(wanted: Sequence[ExpectedLine], real: Sequence[str]) -> dict[int, int]:
    """Expected index -> real index. Longest common subsequence; a required line outweighs optional ones."""
    hits = [[j for j, text in enumerate(real) if matches(line, text)] for line in wanted]
    width = len(real) + 1
    best = [[0] * width for _ in range(len(wanted) + 1)]
    for i in range(len(wanted) - 1, -1, -1):
        row, below, hit = best[i], best[i + 1], set(hits[i])
        worth = 1 if wanted[i].optional else 1000
        for j in range(len(real) - 1, -1, -1):
            score = below[j] if below[j] > row[j + 1] else row[j + 1]
            if j in hit and below[j + 1] + worth >= score:
                score = below[j + 1] + worth
            row[j] = score
    pairs: dict[int, int] = {}
    i = j = 0
    while i < len(wanted) and j < len(real):
        worth = 1 if wanted[i].optional else 1000
        if best[i][j] == best[i + 1][j]:
            i += 1
        elif matches(wanted[i], real[j]) and best[i][j] == best[i + 1][j + 1] + worth:
            pairs[i] = j
            i, j = i + 1, j + 1
        else:
            j += 1
    return pairs


def _rows(
    expected: Sequence[ExpectedLine], real: Sequence[tuple[int, str]], pairs: Mapping[int, int]
) -> list[Row]:
    rows: list[Row] = []
    position = index = 0
    gap = False
    for line in expected:
        if line.gap:
            gap = True
            continue
        found = pairs.get(index)
        index += 1
        if found is None:
            state: RowState = "optional" if line.optional else "missing"
            rows.append(Row(state=state, expected=line.text, kind=line.kind))
            continue
        rows += _between(real[position:found], gap)
        number, text = real[found]
        rows.append(Row(state="matched", expected=line.text, real=text, kind=line.kind, line=number))
        position, gap = found + 1, False
    return rows + _between(real[position:], gap)


def _between(real: Iterable[tuple[int, str]], gap: bool) -> list[Row]:
    state: RowState = "between" if gap else "unexpected"
    return [Row(state=state, real=text, line=number) for number, text in real]
