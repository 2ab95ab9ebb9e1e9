"""The diagnosis of any bytes at all."""

from __future__ import annotations

import io

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers.diagnose_help import FAILURE, NOISE
from wizard_steps.diagnose import (
    Source,
    diagnose,
    diagnose_streams,
)

PARTS = (
    [
        "\x1b[",
        "\x1b]0;",
        "\x9b31m",
        "\x07",
        "\r",
        "\n",
        "\x00",
        "m",
        ")",
        "ERROR ",
        "é",
        "\u202e",
        "İ",
        "\ud800",
    ],
    ["CUDA out of memory", "ray: command not found", "(X pid=1, ip=", "11-24 08:00:00", "99-99 99:99:99"],
)
SOUP = st.lists(st.sampled_from([part for parts in PARTS for part in parts]))


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=2000))
def test_any_bytes(data: bytes) -> None:
    found = diagnose_streams([(Source("x", ""), lambda: io.BytesIO(data))])
    assert all(0 <= f.confidence <= 1 for f in found)


@settings(max_examples=60, deadline=None)
@given(SOUP)
def test_escape_soup(parts: list[str]) -> None:
    text = "".join(parts)
    for finding in diagnose([Source("x", text)]):
        for item in finding.evidence:
            assert 1 <= item.line <= max(text.count("\n"), text.count("\r")) + 1
            assert "\x1b[" not in item.text


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 400), min_size=1, max_size=40))
def test_pieces_make_no_difference(sizes: list[int]) -> None:
    data = ("\x1b[31mé " + NOISE + FAILURE + "ray: command not found\n").encode() * 3

    def pieces() -> io.BytesIO:
        return _Slow(data, sizes)

    assert diagnose_streams([(Source("x", ""), pieces)]) == diagnose([Source("x", data.decode())])


class _Slow(io.BytesIO):
    """Gives as few bytes at a time as it was told, like a pipe."""

    def __init__(self, data: bytes, sizes: list[int]) -> None:
        super().__init__(data)
        self._sizes, self._count = sizes, 0

    def read(self, size: int | None = -1) -> bytes:
        self._count += 1
        return super().read(self._sizes[self._count % len(self._sizes)])
