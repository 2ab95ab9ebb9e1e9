"""What the nodes say they are, and what is refused in words."""

from __future__ import annotations

import contextlib
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.helpers.case_runner import CLUSTER
from tui.cli.main import main
from wizard_steps.cluster.file import parse
from wizard_steps.errors import MilepostError, UsageError
from wizard_steps.facts.node import NodeAnswer
from wizard_steps.node.kit import kind
from wizard_steps.pack.target import PackTarget, check, of_nodes

A = NodeAnswer("machine: x86_64\npython: 3.12\nglibc: 2.39\n")
OLDER = NodeAnswer("machine: x86_64\npython: 3.12\nglibc: 2.35\n")


def test_the_oldest_glibc_of_the_nodes_counts() -> None:
    assert of_nodes({"a": A, "b": OLDER}, contained=False) == PackTarget("3.12", "x86_64", "2.35")
    assert of_nodes({"a": A}, contained=True) == PackTarget("", "x86_64", "")


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (
            NodeAnswer(problem="no route to host"),
            "b cannot be asked what it is: no route to host. Give --pyth",
        ),
        (NodeAnswer("machine: aarch64\npython: 3.12\nglibc: 2.39"), "in their machine: a x86_64, b aarch64"),
        (NodeAnswer("machine: x86_64\npython: 3.10\nglibc: 2.39"), "in their Python: a 3.12, b 3.10"),
        (NodeAnswer("machine: x86_64\n"), "b: did not say its Python"),
        (NodeAnswer("machine: x86_64\npython: 3.12\nglibc: \n"), "b: no glibc there"),
    ],
)
def test_what_no_kit_can_be_for_is_refused_in_words(answer: NodeAnswer, words: str) -> None:
    with pytest.raises(MilepostError, match=words.replace("(", r"\(")):
        of_nodes({"a": A, "b": answer}, contained=False)


def test_a_python_that_vllm_does_not_take() -> None:
    with pytest.raises(
        UsageError, match=r"vLLM 0\.33\.0 takes Python 3\.11 or newer.*; the nodes have 3\.10"
    ):
        check(PackTarget("3.10", "x86_64", "2.35"), "0.33.0", UsageError)
    check(PackTarget("3.12", "x86_64", "2.35"), "0.33.0", UsageError)


@given(st.text())
def test_whatever_a_node_says_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(MilepostError):
        of_nodes({"a": NodeAnswer(text), "b": A}, contained=False)


def test_the_python_of_the_environment_is_asked_where_there_is_one() -> None:
    cluster = replace(parse(CLUSTER), venv=sys.prefix)
    said = subprocess.run(["sh", "-c", kind(cluster)], capture_output=True, text=True, check=True).stdout
    assert "python: {}.{}\n".format(*sys.version_info[:2]) in said


def test_a_wrong_flag_is_told(tmp_path: object, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "c.toml").write_text(CLUSTER)  # type: ignore[operator]
    assert main(["pack", str(tmp_path / "c.toml"), "--python", "3"]) == 2  # type: ignore[operator]
    assert "--python '3': not of the form" in capsys.readouterr().err
