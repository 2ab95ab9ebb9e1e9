"""The words that a scan looks for first: every text that an expression matches must hold one of them."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wizard_steps.diagnose.literals import any_of, required

PATTERNS = [
    r"no space left on device",
    r"colou?red words+ (?:here|there)\b",
    r"failed to (?P<what>start|stop) (?:the )?(?:first|second) thing",
    r"error (?:35|804)\b.{0,9}driver|cuda error \d+: invalid",
    r"(?<!not )refused by (?!nobody)\S+ peer",
    r"x{2,3}abcd{0,1}efgh",
    r"(?:abcd|efgh){0,2}\[mnop\]\.(?:qrst){1,2}",
    r"\x41\u0042cdef[)|(]+ghij",
    r"(?i:upper)(?>atomic)lower",
    r"[]a]bcde|\Afghi$",
]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_every_match_holds_a_required_word(pattern: str) -> None:
    words = required(pattern)

    @settings(max_examples=15, deadline=None)
    @given(st.from_regex(re.compile(pattern, re.IGNORECASE | re.ASCII), fullmatch=True))
    def holds(text: str) -> None:
        assert any(word in text.lower() for word in words)
        assert any_of(words).search(text.lower())

    if "(?>" not in pattern:  # hypothesis cannot make texts for it
        holds()


@pytest.mark.parametrize(
    "pattern", ["", r"\d+", "abc", "abc|long word", r"(?:word)?", r"(?=word)", "[word]+"]
)
def test_an_expression_without_such_a_word_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match="no plain word"):
        required(pattern)


@given(st.text(alphabet="ab(|)*?+{1,}[]\\\\^$.x<=!:P>", max_size=40))
def test_it_never_raises_anything_else(pattern: str) -> None:
    try:
        words = required(pattern)
    except ValueError:
        return
    assert words


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        (r"failed to connect to gcs", {"failed to connect to gcs"}),
        (r"(?:refused|timed out)$", {"refused", "timed out"}),
        (r"no \w+ host key is known", {" host key is known"}),
        (r"(?:abc)?long word", {"long word"}),
    ],
)
def test_words_that_a_match_must_hold(pattern: str, words: set[str]) -> None:
    assert required(pattern) == words


@given(
    st.lists(st.text("abcd ", min_size=1, max_size=6), min_size=1, max_size=30), st.text("abcd ", max_size=60)
)
def test_scanner_finds_a_text_exactly_when_a_word_is_in_it(words: list[str], text: str) -> None:
    assert bool(any_of(words).search(text)) is any(word in text for word in words)
