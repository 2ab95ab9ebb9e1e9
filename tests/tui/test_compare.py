"""Compare as a person reads it: titled columns, patterns in plain form, near misses side by side."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tui.app.compare import _nothing, _rows
from tui.app.pattern import differing, human, likeness, near
from wizard_steps.engine.expect import compare, parse_line
from wizard_steps.engine.expected import load


@pytest.mark.parametrize(
    ("text", "kind", "shown"),
    [
        (r"\d+ node_[0-9a-f]+", "regex", "<n> node_<id>"),
        (r"[\d.]+/16\.0 GPU.*", "regex", "<n>/16.0 GPU…"),
        (r'.*"id": ?"meta\-llama/Llama\-3\.2\-1B".*', "regex", '…"id": "meta-llama/Llama-3.2-1B"…'),
        (r"HTTP/1\.[01] 200 OK", "regex", "HTTP/1.<0 or 1> 200 OK"),
        ("(Total )?Usage:", "regex", "[Total ]Usage:"),
        ("(Active|Idle|Healthy):", "regex", "<Active, Idle or Healthy>:"),
        (r"(?P<x>a{2,3}b)", "regex", r"(?P<x>a{2,3}b)"),
        ("user: *", "glob", "user: …"),
        ("a[*]b[?]", "glob", "a*b?"),
        ("a*b", "literal", "a*b"),
    ],
)
def test_a_pattern_in_plain_form(text: str, kind: str, shown: str) -> None:
    assert human(text, kind) == shown


@given(st.text(alphabet="ab1 .*+?[]()\\d|-{}^$", max_size=60), st.sampled_from(["regex", "glob", "literal"]))
def test_any_pattern_is_shown(text: str, kind: str) -> None:
    assert isinstance(human(text, kind), str)


def test_the_near_miss_is_the_line_that_differs_in_one_word() -> None:
    reals = ["Total Usage:", " 0.0/12.0 GPU", " 0B/19.20GiB memory", " 0B/8GiB object_store_memory"]
    wanted = "<n>/16.0 GPU…"
    assert near(wanted, reals) == 1
    assert [reals[1][a:b] for a, b in differing(wanted, reals[1])] == ["12.0"]
    assert near("entirely something else", reals) is None


@given(st.text(max_size=80), st.text(max_size=80))
def test_likeness_is_a_share_and_marks_lie_in_the_line(wanted: str, real: str) -> None:
    assert 0 <= likeness(wanted, real) <= 1
    spans = differing(wanted, real)
    assert all(0 <= a < b <= len(real) for a, b in spans)
    assert spans == sorted(spans)


def test_a_line_that_is_as_wanted_has_no_marks() -> None:
    assert differing("<n>/16.0 GPU…", " 0.0/16.0 GPU (more)") == []
    assert likeness("a b c", "a b c") == 1


def test_what_is_nearly_right_stands_beside_what_was_wanted() -> None:
    expected = [parse_line(line) for line in ("Usage:", r"[\d.]+/16\.0 GPU.* (regex)", "...", "end")]
    found = _rows(compare("status", "a", expected, ["Usage:", " 0.0/12.0 GPU", "x", "end"]).rows, False, True)
    rows = [(line.state, line.left, line.right) for line in found]
    assert rows[:2] == [("matched", "Usage:", "Usage:"), ("near", "<n>/16.0 GPU…", " 0.0/12.0 GPU")]
    assert rows[-1] == ("matched", "end", "end")


def test_every_pattern_of_the_shipped_texts_has_a_plain_form() -> None:
    for name in ("ray_status", "curl", "smi", "fabric", "serve", "probe"):
        for block in load(name).blocks:
            for line in block.lines:
                shown = human(re.sub(r"\{\{\w+\}\}", "x", line.text), line.kind)
                assert "\\" not in shown, line.text


def test_protocol_lines_are_known() -> None:
    assert load("preflight").protocol
    assert not load("ray_status").protocol


def test_where_nothing_is_compared_it_says_where_something_is() -> None:
    assert "Compared lines are on a: [ and ] change the node." in _nothing(True, True, ["a"])
    assert "Compared" not in _nothing(True, True, [])
    assert "n2 …" in _nothing(True, True, [f"n{number}" for number in range(9)])
