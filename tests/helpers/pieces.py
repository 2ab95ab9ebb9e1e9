"""Text in pieces of given sizes, for what must not depend on where an output was cut."""

from __future__ import annotations

from collections.abc import Iterator
from typing import AnyStr


def pieces(whole: AnyStr, sizes: list[int]) -> Iterator[AnyStr]:
    """Pieces of these sizes, then the rest in one."""
    at = 0
    for size in sizes:
        yield whole[at : at + size]
        at += size
    yield whole[at:]
