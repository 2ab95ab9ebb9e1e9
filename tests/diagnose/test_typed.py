"""What is typed or set is no message: no rule finds anything in it."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wizard_steps.diagnose import Source, diagnose
from wizard_steps.diagnose.rules import FOLDER
from wizard_steps.diagnose.typed import is_command, is_set

#: Every variable that a rule or its advice names.
NAMES = sorted(
    set(
        re.findall(
            r"\b[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+\b", "".join(p.read_text() for p in FOLDER.glob("*.toml"))
        )
    )
)
FORMS = (
    "export {}=22",
    "{}=1",
    "  -e {}=1 \\",
    "docker run --rm --env {}=22 -e OTHER_NAME=1 vllm/vllm-openai:v0.32.0",
    "OTHER_NAME=1 {}=eth0 vllm serve /models/m",
    "- {}: False",
    '        "{}": "1",',
    "Environment={}=1",
)


@pytest.mark.parametrize("form", FORMS)
def test_a_variable_that_is_set_is_no_failure(form: str) -> None:
    assert len(NAMES) > 150
    text = "".join(form.format(name) + "\n" for name in NAMES)
    assert [f"{f.rule}: {f.evidence[0].text}" for f in diagnose([Source("x.log", text)])] == []


@pytest.mark.parametrize(
    "line",
    [
        "grep -i 'address already in use' server.log | tail",
        "kubectl logs vllm-0 | grep -E 'CUDA out of memory|NCCL error'",
        'echo "ERROR: no kernel image is available for execution on the device"',
        "sudo dmesg -T | grep -iE 'xid|fallen off the bus' \\",
        "+ printf 'Permission denied (publickey)'",
    ],
)
def test_a_command_that_names_a_failure_is_none(line: str) -> None:
    assert diagnose([Source("x.log", line + "\n")]) == []


def test_a_sentence_about_a_variable_is_a_message() -> None:
    text = "ValueError: outgoing traffic has been disabled. To enable downloads set 'HF_HUB_OFFLINE=0'.\n"
    assert diagnose([Source("x.log", text)])[0].rule == "model-hub-offline"


@given(st.text(alphabet="ABC_=:-ex 'd\"\\\t1", max_size=80))
def test_no_line_upsets_them(line: str) -> None:
    is_command(line)
    if match := re.search("ABC|A_B", line):
        is_set(match)
