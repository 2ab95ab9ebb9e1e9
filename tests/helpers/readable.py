"""Everything a user can read, and the commands in it: expected texts, help pages, lessons, notes of recordings,
rules of the diagnosis, and the strings of the code."""

from __future__ import annotations

import ast
import json
import re
import tomllib
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[2]
#: Strings of these are not read by people: programs for the nodes, patterns, and what a stand-in prints.
_NOT_PROSE = ("wizard_steps/node/scripts/", "wizard_steps/lab/standins/", "wizard_steps/facts/script.py")


class Text(NamedTuple):
    """``place``: file, and line or field. ``filled``: milepost knows this cluster where it is shown."""

    place: str
    text: str
    filled: bool


class Command(NamedTuple):
    """``quoted``: it stands between backquotes; else it is an indented line."""

    place: str
    line: str
    filled: bool
    quoted: bool


@lru_cache(maxsize=1)
def texts() -> tuple[Text, ...]:
    return (*_pages(), *_lessons(), *_notes(), *_rules(), *_code())


def _pages() -> Iterator[Text]:
    for path in [*(ROOT / "snapshots/expected").glob("*.md"), *(ROOT / "tui/help").glob("*.md")]:
        for number, part in _prose(path.read_text(encoding="utf-8")):
            yield Text(f"{path.relative_to(ROOT)}:{number}", part, "expected" in path.parts)


def _prose(text: str) -> Iterator[tuple[int, str]]:
    """(line, text) of what is no expected output."""
    fence = ""
    for number, line in enumerate(_joined(text), 1):
        if line.startswith("```"):
            fence = "" if fence else line
        elif line.strip() and not fence.startswith("```expect"):
            yield number, line


def _joined(text: str) -> list[str]:
    """The lines, with those that a backslash continues in one."""
    return re.sub(r"\\\n\s*", "", text).splitlines()


def _lessons() -> Iterator[Text]:
    for path in sorted((ROOT / "snapshots/course").glob("*.toml")):
        found = tomllib.loads(path.read_text(encoding="utf-8"))
        place = str(path.relative_to(ROOT))
        yield from (Text(place, line, False) for line in _joined(found["text"]) if line.strip())
        for item in (found["title"], found["teaches"], *_strings(found.get("question", []), ("output",))):
            yield Text(place, item, False)


def _notes() -> Iterator[Text]:
    for path in sorted((ROOT / "snapshots/walks").glob("*/notes.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            yield Text(str(path.relative_to(ROOT)), json.loads(line)["text"], False)
        meta = json.loads((path.parent / "meta.json").read_text(encoding="utf-8"))
        yield from (
            Text(f"{path.parent.name}/meta.json", meta[name], False)
            for name in ("title", "note")
            if meta.get(name)
        )


def _rules() -> Iterator[Text]:
    for path in sorted((ROOT / "wizard_steps/diagnose/rules").glob("*.toml")):
        for rule in tomllib.loads(path.read_text(encoding="utf-8")).get("rule", []):
            place = f"{path.relative_to(ROOT)}:{rule['id']}"
            yield Text(place, rule["cause"], True)
            for action in rule.get("try", []):
                yield Text(place, action["text"], True)
                if "command" in action:
                    yield Text(place, f"`{action['command']}`", False)


def _code() -> Iterator[Text]:
    for room in ("wizard_steps", "tui"):
        for path in sorted((ROOT / room).rglob("*.py")):
            place = str(path.relative_to(ROOT))
            if not place.startswith(_NOT_PROSE):
                for number, text in _literals(ast.parse(path.read_text(encoding="utf-8"))):
                    yield Text(f"{place}:{number}", text, True)


def _literals(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """(line, text) of each string that is no docstring; X stands for what an f-string fills in."""
    skip = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            skip |= {id(part) for part in ast.walk(node) if part is not node}
            parts = [part.value if isinstance(part, ast.Constant) else "X" for part in node.values]
            yield node.lineno, "".join(map(str, parts))
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in skip:
            yield node.lineno, node.value


def _strings(value: Any, without: tuple[str, ...]) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item, without)
    elif isinstance(value, dict):
        for name, item in value.items():
            if name not in without:
                yield from _strings(item, without)


def prose() -> Iterator[Text]:
    """What reads as a sentence or a part of one: at least three words, and neither a pattern nor a program."""
    for one in texts():
        bare = re.sub(r"`[^`]*`", "", one.text)
        if len(re.findall(r"(?<![\w/-])[A-Za-z]{2,}(?![\w/(])", bare)) >= 3 and not _PROGRAM.search(bare):
            yield Text(one.place, bare, one.filled)


#: A string of sh, Python, CSS, a regular expression or a configuration file.
_PROGRAM = re.compile(
    r"\\[dwsb]|\(\?|2>&1|/dev/null|\$\(|;\s*do\b|\bfi\b|\bimport \w|\{ \w|exit \$|proxy_|= X;|\b\w+=\$"
)


def commands() -> Iterator[Command]:
    """What stands between backquotes, and the indented lines of pages and lessons."""
    for one in texts():
        for line in re.findall(r"(?<!`)`([^`\n]+)`(?!`)", one.text):
            yield Command(one.place, line, one.filled, True)
        if one.text.startswith("    ") and not one.place.endswith(".py"):
            yield Command(one.place, one.text.strip(), one.filled, False)
