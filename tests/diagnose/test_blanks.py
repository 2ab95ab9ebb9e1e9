"""Commands of findings: filled in where the text tells the value, never left with an open word."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wizard_steps.diagnose import Action, Source, as_json, as_text, blanks, diagnose
from wizard_steps.diagnose.rules import default_rules

GLOO = "(RayWorkerProc pid=77, ip=10.4.0.3) RuntimeError: Gloo connectFullMesh failed with [enforce fail] timed out"
#: Values and names of settings that a command may hold: nothing to fill in.
SETTING = re.compile(r"(?:VLLM|RAY|NCCL|GLOO|IPC_LOCK|INFO|INIT|NET|DEAD|ECC|ROW_REMAPPER|DETAIL)(?:_|$)")
OPEN = re.compile(rf"(?<![\w$.-])(?:{'|'.join(blanks.MEANING)})(?![\w=])")


def test_a_command_with_an_open_word_is_told_in_words() -> None:
    (first, *_) = as_json(diagnose([Source("x.log", GLOO)]))
    told = [action for action in first["try"] if "GLOO_SOCKET_IFNAME" in action["text"]]
    assert told
    assert "IFACE is the interface" in told[0]["text"]
    assert "VLLM_HOST_IP=10.4.0.3" in told[0]["text"]
    assert not any(OPEN.search(action.get("command", "")) for action in first["try"])


def test_the_head_of_the_text_stands_in_the_command() -> None:
    text = (
        "2026-03-02 11:58:30 INFO worker.py:1 -- ray start --address=10.9.0.1:6379\n"
        "2026-03-02 11:58:33,727 INFO worker.py:2013 -- Started a local Ray instance.\n"
        "ERROR 03-02 11:58:35 [core.py:842] ValueError: Current node has no GPU available. x={}\n"
    )
    lines = "\n".join(as_text(diagnose([Source("x.log", text)])))
    assert "ray status --address 10.9.0.1:6379" in lines
    assert "HEAD_IP" not in lines


@pytest.mark.parametrize("rule", default_rules().rules, ids=lambda rule: rule.id)
def test_no_command_of_a_rule_can_stay_open(rule: object) -> None:
    for action in rule.try_:  # type: ignore[attr-defined]
        shown = re.sub(r"\{\w+\|([^{}]*)\}", r"\1", re.sub(r"'[^']*'|\"[^\"]*\"", "", action.command))
        words = set(re.findall(r"(?<![\w$.{-])[A-Z]{2,}(?:_[A-Z]+)*(?![\w=])", shown))
        assert {word for word in words - set(blanks.MEANING) if not SETTING.match(word)} == set()


@given(st.text(), st.dictionaries(st.sampled_from(sorted(blanks.MEANING)), st.just("value")))
def test_filling_in_never_fails(command: str, values: dict[str, str]) -> None:
    blanks.filled(command, values)


def test_shell_variables_are_not_open() -> None:
    assert blanks.filled('env PATH="$PATH" $USER USER@HOST', {"USER": "me", "HOST": "a"}).endswith(
        "$USER me@a"
    )
    assert Action("t", "ls $HF_HOME").command == "ls $HF_HOME"
