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


@given(st.lists(st.text(alphabet="abcdefgh", min_size=4, max_size=9), min_size=1, max_size=3))
def test_branches_of_plain_words_need_just_these(words: list[str]) -> None:
    assert required("|".join(words)) == frozenset(words)
