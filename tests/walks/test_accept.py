"""`milepost expected --accept`: real output in, patterns that still match kept."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.walk_maker import make, settled_plan
from tui.cli.main import main
from wizard_steps.engine.expect import compare, fill, parse_line
from wizard_steps.engine.expected import SNAPSHOTS
from wizard_steps.walks.accept import Seen, accept, literal, missing

__all__ = ["settled_plan"]

VARIABLES = {"node": "gpu-a", "ip": "10.0.0.1", "head_ip": "10.0.0.1", "gpus": "8", "host": "gpu-a.example"}


def seen(text: str, **variables: str) -> Seen:
    return Seen(tuple(text.strip("\n").splitlines()), {**VARIABLES, **variables})


def accepted(block: str, *nodes: Seen) -> list[str]:
    return accept(block.strip("\n").splitlines(), nodes)


def test_what_still_matches_stays_as_it_is_written() -> None:
    block = "name: {{node}}\nDriver Version: 5\\d+.* (regex)\nend"
    text = "name: gpu-a\nDriver Version: 580.1\nend"
    assert accepted(block, seen(text)) == block.splitlines()


def test_a_missing_line_gives_way_to_what_was_there() -> None:
    block = "first\nCUDA Version: 12.*  (glob)\nlast (glob)"
    assert accepted(block, seen("first\nCUDA Version: 13.0\nlast")) == [
        "first",
        "CUDA Version: 13.0",
        "last (glob)",
    ]


def test_new_lines_are_taken_in_where_no_gap_covers_them() -> None:
    assert accepted("first\nlast\nx", seen("first\nnew\nlast")) == ["first", "new", "last"]
    assert accepted("first\n...\nlast\nx", seen("first\nnew\nlast")) == ["first", "...", "last"]


def test_in_a_gap_the_most_alike_line_takes_the_place() -> None:
    block = "...\nDriver Version: 580.65.06\n...\nDone."
    text = "banner\n| other |\nDriver Version: 590.12.01\nmore\nDone."
    assert accepted(block, seen(text)) == ["...", "Driver Version: 590.12.01", "...", "Done."]


def test_a_line_with_nothing_alike_goes() -> None:
    assert accepted("a\n...\nzzzzzzzz\nb", seen("a\n1\n2\nb")) == ["a", "...", "b"]


def test_optional_lines_stay() -> None:
    assert accepted("a\nUsage stats (optional)\nb\ngone", seen("a\nb")) == [
        "a",
        "Usage stats (optional)",
        "b",
    ]


def test_values_of_the_node_become_variables() -> None:
    assert literal("at 10.0.0.1:6379 on gpu-a", VARIABLES) == "at {{head_ip}}:6379 on {{node}}"
    assert literal("at 10.0.0.12 on gpu-ab", VARIABLES) == "at 10.0.0.12 on gpu-ab"


@pytest.mark.parametrize("text", ["...", "x (glob)", "y (regex)", "{{node}}", "```", "plain", "z (optional)"])
def test_a_real_line_is_taken_literally_whatever_it_looks_like(text: str) -> None:
    line = fill(parse_line(literal(text, {})), {})
    rows = compare("k", "n", [line], [text]).rows
    assert [row.state for row in rows] == ["matched"]
    assert not literal(text, {}).startswith("```")


def test_lines_that_differ_in_numbers_from_node_to_node_become_a_pattern() -> None:
    a, b = seen("pid 1234 of gpu-a\nup 3 days"), seen("pid 77 of gpu-b\nup 3 days", node="gpu-b")
    made = accepted("old line", a, b)
    assert made == [r"pid\ \d+\ of\ {{node}} (regex)", "up 3 days"]
    assert missing(made, a) == missing(made, b) == []


def test_lines_that_only_one_node_has_become_optional() -> None:
    a, b = seen("same\nonly here\nend"), seen("same\nend")
    assert accepted("x\nsame\nend", a, b) == ["same", "only here (optional)", "end"]


words = st.text(alphabet="abcx0159 {}().*", min_size=1, max_size=8).filter(str.strip)
kinds = st.sampled_from(["", "", " (optional)", " (literal)"])
blocks = st.lists(st.one_of(st.just("..."), st.builds(lambda w, k: w + k, words, kinds)), max_size=8)


@given(blocks, st.lists(st.lists(words, max_size=8), min_size=1, max_size=3))
def test_the_new_block_always_matches_every_node(block: list[str], outputs: list[list[str]]) -> None:
    block = [line for line in block if "{{" not in line]
    nodes = [Seen(tuple(lines), {}) for lines in outputs]
    made = accept(block, nodes)
    assert [missing(made, node) for node in nodes] == [[] for _ in nodes]


def test_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make(tmp_path / "w")
    shutil.copytree(SNAPSHOTS / "expected", tmp_path / "expected")
    words = ["expected", str(tmp_path / "w"), "--into", str(tmp_path / "expected")]
    assert main(words) == 0
    assert "everything expected is still there" in capsys.readouterr().out
    file = tmp_path / "expected" / "reach.md"
    before = file.read_text()
    assert "os:" in before
    old = next(line for line in before.splitlines() if line.startswith("user:"))
    file.write_text(before.replace(old, "user: somebody else"))
    words = [*words[:2], "reach", *words[2:]]
    assert main(words) == 1
    assert "-user: somebody else" in capsys.readouterr().out
    assert "somebody else" in file.read_text()
    assert main([*words, "--accept"]) == 0
    after = file.read_text()
    assert "somebody else" not in after
    assert "user: ubuntu" in after
    # Prose and the lines that matched are as they were.
    assert after.replace("user: ubuntu", old) == before
    assert main(words) == 0
    assert main([*words[:2], "nosuch"]) == 2


def test_a_step_whose_facts_failed_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make(tmp_path / "w", {"smi": "one-gpu-lost"})
    assert main(["expected", str(tmp_path / "w"), "smi", "--accept", "--into", str(tmp_path)]) == 0
    assert "left alone" in capsys.readouterr().out
