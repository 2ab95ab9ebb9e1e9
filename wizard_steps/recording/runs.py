"""The runs of a walk by number, as a value: a changed copy costs little, older copies stay as they are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Generic, TypeVar

V = TypeVar("V")
#: Runs a part holds. A walk over hundreds of nodes has thousands; each piece of output changes one.
_PART = 64


class Runs(Mapping[int, V], Generic[V]):
    """Immutable. In the order in which the numbers came, within parts of consecutive numbers."""

    __slots__ = ("_count", "_parts")

    def __init__(self, parts: Mapping[int, Mapping[int, V]] | None = None, count: int = 0) -> None:
        self._parts = dict(parts or {})
        self._count = count

    def plus(self, number: int, value: V) -> Runs[V]:
        """A copy with ``value`` under ``number``."""
        at = number // _PART
        part = self._parts.get(at, {})
        new: Runs[V] = Runs.__new__(Runs)
        new._parts = {**self._parts, at: {**part, number: value}}
        new._count = self._count + (number not in part)
        return new

    def __getitem__(self, number: int) -> V:
        return self._parts[number // _PART][number]

    def __iter__(self) -> Iterator[int]:
        for part in self._parts.values():
            yield from part

    def __len__(self) -> int:
        return self._count

    def __repr__(self) -> str:
        return f"Runs({dict(self)!r})"
