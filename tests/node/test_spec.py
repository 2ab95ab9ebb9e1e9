"""What runs against what would be started: any order, any bytes, both sides shown."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from wizard_steps.node.spec import Spec, differences, parse, stale

WORDS = st.lists(st.text(max_size=12), max_size=6).map(tuple)
ENV = st.dictionaries(st.text(max_size=6), st.text(max_size=6), max_size=4)


@given(WORDS, ENV, st.text(max_size=9), st.text(max_size=9))
def test_a_spec_is_read_as_it_was_written(
    argv: tuple[str, ...], env: dict[str, str], of: str, image: str
) -> None:
    made = Spec(argv, env, of, image)
    line = made.line()
    assert line.isascii()
    assert line.isprintable()
    assert parse(line) == made
    assert differences(made, made) == []
    assert not stale(made, made)


@given(st.one_of(st.text(), st.binary().map(lambda b: b.decode("utf-8", "replace"))))
def test_any_other_text_is_none_or_a_spec(text: str) -> None:
    parse(text)
    parse(f'{{"argv": {text}}}')


def test_json_that_is_no_spec() -> None:
    for text in ("[]", "1", "null", '{"argv": 1}', '{"env": []}', "[" * 100000):
        assert parse(text) is None


def test_flags_are_told_apart_one_by_one() -> None:
    then = Spec(("vllm", "serve", "m", "--max-model-len=512", "--eager", "--seed", "-1"), {"A": "1"})
    now = Spec(("vllm", "serve", "m", "--seed", "-1", "--max-model-len=256"), {"A": "1", "B": "2"})
    assert differences(then, now) == [
        "--max-model-len: 512 -> 256",
        "--eager: set -> not set",
        "B: not set -> 2",
    ]


def test_an_image_differs_only_where_both_are_known() -> None:
    one, two = Spec(image="sha256:aa"), Spec(image="sha256:bb")
    assert differences(one, two) == ["image: sha256:aa -> sha256:bb"]
    assert differences(one, Spec()) == []


def test_what_hangs_on_another_start_is_stale() -> None:
    assert stale(Spec(of="1"), Spec(of="2"))
    assert not stale(Spec(of="1"), Spec())
    assert not stale(Spec(), Spec(of="2"))


def test_a_start_that_came_later_takes_nothing_from_it() -> None:
    assert not stale(Spec(of="1 2"), Spec(of="1 2 3"))
    assert stale(Spec(of="1 2"), Spec(of="1 3"))
