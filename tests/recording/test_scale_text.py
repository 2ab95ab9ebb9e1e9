"""The quick ways through the redactor find what the slow ones would: any cut, any neighbours."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers.pieces import pieces
from wizard_steps.recording.redact import MARK, Redactor

#: (before, secret): every kind of pattern, and two known values, one with a blank and one with a line end.
KINDS = [
    ("", "hf_abcdefghijklmnopqrst"),
    ("key: ", "sk-abcdefghijklmnopqrst"),
    ("", "nvapi-abcdefghijklmnopqrst"),
    ("", "ghp_abcdefghijklmnopqrstuvwxyz"),
    ("", "ghs_abcdefghijklmnopqrstuvwxyz"),
    ("Authorization: Bearer ", "abc.def~ghi+jkl/mno=="),
    ("--api-key ", "s3cret!value"),
    ("--api-key=", "s3cret!value"),
    ("https://", "user:pass-word"),
    ("HF_TOKEN=", "tok-en-value"),
    ("DB_PASSWORD=", "pw"),
    ("", "known secret with blanks"),
    ("", "known\nover two lines"),
]
KNOWN = ["known secret with blanks", "known\nover two lines"]


@pytest.mark.parametrize(("before", "secret"), KINDS)
@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 40), max_size=30), left=st.text("ab \n@/:", max_size=30), long=st.booleans()
)
def test_every_kind_is_found_wherever_the_output_is_cut(
    before: str, secret: str, sizes: list[int], left: str, long: bool
) -> None:
    after = "@host.example/x" if before == "https://" else ""
    filler = "z" * 700 + " " if long else ""
    text = f"{left} {filler}{before}{secret}{after} end\n{filler}\n"
    stream = Redactor(KNOWN).stream()
    out = "".join(stream.feed(piece) for piece in pieces(text, sizes)) + stream.end()
    assert secret not in out.replace(left, "", 1)
    assert f"{before}{MARK}{after} end" in out


def test_a_long_line_of_secrets_is_cut_between_them() -> None:
    stream = Redactor().stream()
    text = ",".join(["hf_abcdefghijklmnopqrst"] * 5000)
    out = "".join(stream.feed(text[i : i + 777]) for i in range(0, len(text), 777)) + stream.end()
    assert out == ",".join([MARK] * 5000)
