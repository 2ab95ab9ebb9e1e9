"""Reads words for ``vllm serve`` as vLLM's parser does: aliases, underscores, ``=`` or a blank, dots.

Source: FlexibleArgumentParser of vllm/utils/argparse_utils.py (0.32.0) on top of argparse, which takes any
unambiguous beginning of a flag's name for the flag.
"""

from __future__ import annotations

import difflib
import json
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from msgspec import Struct

Kind = Literal["value", "values", "optional", "switch"]
_NUMBER = re.compile(r"-\d+(\.\d*)?|-\.\d+")


class Flag(Struct, frozen=True):
    """One flag as typed. ``name``: vLLM's canonical name, or the typed one where it is not known.

    ``keys`` is the path behind the dots of ``--compilation-config.mode``. ``values`` is empty for a switch;
    ``off`` is ``--no-NAME``. ``place`` is the index of its word. A stray word has an empty name.
    """

    place: int
    typed: str
    name: str
    keys: tuple[str, ...] = ()
    values: tuple[str, ...] = ()
    off: bool = False

    @property
    def value(self) -> str:
        return self.values[0] if self.values else ""

    @property
    def number(self) -> int | None:
        """The value as a whole number; None when it is none."""
        return int(self.value) if re.fullmatch(r"\d{1,9}", self.value, re.ASCII) else None

    @property
    def tree(self) -> Any:
        """The value as JSON where it is some, under its keys."""
        try:
            value: Any = json.loads(self.value)
        except (ValueError, RecursionError):
            value = self.value
        for key in reversed(self.keys):
            value = {key: value}
        return value


class _Known(Struct, frozen=True):
    name: str
    kind: Kind
    off: bool = False


@lru_cache(maxsize=1)
def _table() -> dict[str, _Known]:
    """Every way to write a flag in full -> what it is."""
    data = tomllib.loads(Path(__file__).with_name("vllm_flags.toml").read_text(encoding="utf-8"))
    found: dict[str, _Known] = {"-O": _Known("--optimization-level", "value")}
    for kind in ("value", "values", "optional", "switch"):
        for row in data[kind]:
            name, *others = row.split()
            found[name] = _Known(name, kind)
            found |= {other: _Known(name, kind, other.startswith("--no-")) for other in others}
    return found


class History(Struct, frozen=True):
    """Flag, by each of its names -> the release of vLLM that brought it, and the first one without it, of
    ``releases``. What is in neither is as old as the oldest of them, or in none."""

    releases: tuple[str, ...]
    since: Mapping[str, str]
    until: Mapping[str, str]


@lru_cache(maxsize=1)
def history() -> History:
    data = tomllib.loads(Path(__file__).with_name("vllm_flag_history.toml").read_text(encoding="utf-8"))
    tables = [{name: r for r, names in data[table].items() for name in names} for table in ("since", "until")]
    return History(tuple(data["releases"]), *tables)


def known(typed: str) -> _Known | None:
    """The flag that ``typed`` (without value and dots) names in full or by an unambiguous beginning."""
    table = _table()
    if typed in table:
        return table[typed]
    if len(typed.lstrip("-")) < 1:
        return None
    starts = {value for name, value in table.items() if name.startswith(typed)}
    return starts.pop() if len(starts) == 1 else None


def ever(typed: str) -> bool:
    """Whether some release of ``history`` has this flag, or one that begins so."""
    past = history()
    names = [*_table(), *past.since, *past.until]
    on = typed.replace("--no-", "--", 1)
    return on in names or any(name.startswith(typed) for name in names if len(typed) > 2)


def nearest(typed: str) -> str:
    """The flag of the pinned release with the most similar name; "" where none is similar."""
    found = difflib.get_close_matches(typed, [name for name in _table() if name[:2] == "--"], 1, 0.8)
    return found[0] if found else ""


def parse(words: Sequence[str]) -> list[Flag]:
    """Never raises: what vLLM would refuse as well comes out as it was typed."""
    return list(_parsed(list(words)))


def _parsed(words: list[str]) -> Iterator[Flag]:
    place = 0
    while place < len(words):
        word = words[place]
        if not _is_flag(word):
            yield Flag(place, word, "", values=(word,))
            place += 1
            continue
        typed, keys, given = _taken_apart(word)
        found = known(typed)
        kind: Kind = found.kind if found else "optional"
        values: tuple[str, ...] = () if given is None else (given,)
        taken = 0
        if given is None:
            values = _following(words[place + 1 :], "value" if keys else kind)
            taken = len(values)
        yield Flag(
            place=place,
            typed=word.partition("=")[0],
            name=found.name if found else typed,
            keys=keys,
            values=values,
            off=bool(found and found.off),
        )
        place += 1 + taken


def _is_flag(word: str) -> bool:
    return word.startswith("-") and word != "-" and not _NUMBER.fullmatch(word)


def _taken_apart(word: str) -> tuple[str, tuple[str, ...], str | None]:
    """Name with dashes, keys behind its dots, and the value that is in the same word."""
    name, equals, value = word.partition("=")
    given = value if equals else None
    base, *keys = name.rstrip("+").split(".")
    if base.startswith("--"):
        return "--" + base[2:].replace("_", "-"), tuple(keys), given
    if base.startswith("-O") and base != "-O" and not keys:
        return "-O", (), base[2:]
    # argparse takes the rest of the word for the value of a flag of one letter: ``-n2``.
    if base not in _table() and base[:2] in _table() and not keys:
        return base[:2], (), word[2:]
    return base, tuple(keys), given


def _following(words: Sequence[str], kind: Kind) -> tuple[str, ...]:
    most = {"switch": 0, "value": 1, "optional": 1, "values": len(words)}[kind]
    taken: list[str] = []
    for word in words[:most]:
        if _is_flag(word):
            break
        taken.append(word)
    return tuple(taken)


def value(flags: Sequence[Flag], name: str) -> str:
    """The value of the last flag of this name, as vLLM takes it; "" where there is none."""
    return next((flag.value for flag in reversed(flags) if flag.name == name), "")


def without(words: Sequence[str], name: str) -> list[str]:
    """The words less one flag and its values, however it is spelt."""
    flags = parse(words)
    ends = [*(flag.place for flag in flags), len(words)][1:]
    gone = {
        place
        for flag, end in zip(flags, ends, strict=True)
        if flag.name == name
        for place in range(flag.place, end)
    }
    return [word for place, word in enumerate(words) if place not in gone]
