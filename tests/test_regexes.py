"""Every regular expression of the rooms that read nodes takes time in proportion to the text: found in the
source, so that a new one is tried without being named here."""

from __future__ import annotations

import ast
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "wizard_steps"
ROOMS = (
    "advisor", "cluster", "diagnose", "engine", "facts", "lab", "learn", "milestones", "monitor", "node", "pack",
    "recording", "transport", "walks",
)  # fmt: skip
#: One character or a few again and again; also after the words that a pattern begins with.
WORST = (
    "\n",
    " ",
    "1",
    ".",
    ":",
    "|",
    "a",
    "-",
    ", ",
    "0 ",
    "1.",
    "a.",
    "a=",
    "a/",
    "a b ",
    "GPU ",
    "e-1",
    '"',
)
FLAGS = ("MULTILINE", "DOTALL", "IGNORECASE", "VERBOSE", "ASCII")
HOWS = {"match", "fullmatch", "search", "findall", "finditer", "split", "sub"}
SHORT, LONG = 1024, 8192
Regex = tuple[str, int, str]


def regexes() -> Iterator[tuple[Regex, str]]:
    """Pattern, flags and the function of ``re`` that takes it; where it is. A compiled one is tried with each
    function that its name is used with in that file, else with ``search``."""
    trees = [(p, ast.parse(p.read_text(encoding="utf-8"))) for r in ROOMS for p in (ROOT / r).rglob("*.py")]
    for path, tree in trees:
        used: dict[str, set[str]] = {}
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                used.setdefault(node.value.id, set()).add(node.attr)
        names = {id(n.value): ast.unparse(n.targets[0]) for n in ast.walk(tree) if isinstance(n, ast.Assign)}
        for call in ast.walk(tree):
            if (regex := _regex(call)) is None:
                continue
            pattern, flags, how = regex
            hows = used.get(names.get(id(call), ""), set()) & HOWS if how == "compile" else {how}
            for one in hows or {"search"}:
                yield (pattern, flags, one), f"{path.relative_to(ROOT)}:{getattr(call, 'lineno', 0)}"


def _regex(call: ast.AST) -> Regex | None:
    """A call of ``re`` with a literal pattern."""
    if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.args):
        return None
    first = call.args[0]
    if ast.unparse(call.func.value) != "re" or not isinstance(first, ast.Constant):
        return None
    text = ast.unparse(call)
    flags = sum(getattr(re, name).value for name in FLAGS if f"re.{name}" in text)
    return (first.value, flags, call.func.attr) if isinstance(first.value, str) else None


def begins(pattern: str) -> str:
    """The literal words that a pattern begins with."""
    found = re.match(r"\^?((?:[\w :'\"=,/-]|\\[\[\]().|]){0,40})", pattern)
    return found[1].replace("\\", "") if found else ""


def spent(regex: Regex, lead: str, unit: str, size: int) -> float:
    """Seconds of this process."""
    pattern, flags, how = regex
    compiled = re.compile(pattern, flags)
    text = lead + unit * (size // len(unit)) + "\x00"
    every = how in ("findall", "finditer", "split", "sub")
    run = compiled.findall if every else {"match": compiled.match, "fullmatch": compiled.fullmatch}.get(how)
    start = time.process_time()
    (run or compiled.search)(text)
    return time.process_time() - start


def is_slow(regex: Regex, size: int = LONG) -> str:
    """The text for which its time grows with the square of the length, or nothing."""
    for worst in WORST:
        for lead, unit in {("", worst), (begins(regex[0]), worst), ("", begins(regex[0]) + worst)}:
            short = spent(regex, lead, unit, SHORT)
            if short > 0.001 and (long := spent(regex, lead, unit, size)) > 0.05 and long > 20 * short:
                return f"{lead!r} + {unit!r} again and again: {short:.4f} s, then {long:.4f} s"
    return ""


def test_every_regex_is_linear() -> None:
    found = dict(regexes())
    assert len(found) > 250
    slow = {where: text for regex, where in found.items() if (text := is_slow(regex))}
    assert not slow


@pytest.mark.parametrize(
    ("pattern", "size"),
    # The last one's time grows with the cube: half the size shows that.
    [(r"\d+\.\d+", LONG), (r"[a ]*b", LONG), (r"-.*=.*x", LONG // 2)],
)
def test_a_slow_one_is_found(pattern: str, size: int) -> None:
    assert is_slow((pattern, 0, "search"), size)
