"""On bare metal a finding names programs of the environment by their path, and lines of the cluster file."""

from __future__ import annotations

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.readable import commands
from wizard_steps.diagnose import bare
from wizard_steps.diagnose.model import Action

VENV = "/opt/v"


@pytest.mark.parametrize(
    ("command", "wanted"),
    [
        ("ray status", "/opt/v/bin/ray status"),
        ("sudo py-spy dump --pid 1; ray list nodes | head", "sudo /opt/v/bin/py-spy dump --pid 1; /opt/v/bin/ray list nodes | head"),
        ("python -c 'import ray; ray.init()'; df -h", "/opt/v/bin/python -c 'import ray; ray.init()'; df -h"),
        ("timeout 9 sh -c 'until ray status; do sleep 1; done'", "timeout 9 sh -c 'until ray status; do sleep 1; done'"),
        ("docker exec c ray status", "docker exec c ray status"),
        ("ssh HOST ray status", "ssh HOST ray status"),
        ("ls /tmp/ray && echo vllm ray", "ls /tmp/ray && echo vllm ray"),
        ("echo 'a' ray status", "echo 'a' ray status"),
    ],
)  # fmt: skip
def test_programs_are_named_by_their_path(command: str, wanted: str) -> None:
    assert bare.by_path(command, VENV) == wanted


def test_no_command_of_a_rule_loses_its_syntax() -> None:
    for command in commands():
        if "rules/" in command.place:
            found = bare.by_path(command.line, VENV)
            assert found.replace(f"{VENV}/bin/", "") == command.line
            if _splits(command.line):
                assert _splits(found), found


def _splits(line: str) -> bool:
    try:
        return bool(shlex.split(line))
    except ValueError:
        return False


@given(st.text(alphabet="ray vlm'\";&|-/\0\n", max_size=60))
def test_nothing_is_lost_of_any_text(text: str) -> None:
    assert bare.by_path(text, VENV).replace(f"{VENV}/bin/", "") == text.lstrip("\0") or "\0" in text


def test_exports_are_lines_of_the_cluster_file() -> None:
    found = bare.in_file(
        Action("Over TCP.", "unset NCCL_NET; export NCCL_IB_DISABLE=1 NCCL_SOCKET_IFNAME=IFACE")
    )
    assert not found.command
    assert found.text.startswith(
        "Over TCP. Take NCCL_NET out of the cluster file's env. In the cluster file, under [env] or in env of one "
        'node: NCCL_IB_DISABLE = "1", NCCL_SOCKET_IFNAME = "IFACE" (IFACE is the interface'
    )


@pytest.mark.parametrize("command", ["export A=$(id)", "export A=1; ray start", "ulimit -n 9", ""])
def test_other_commands_stay_as_they_are(command: str) -> None:
    assert bare.in_file(action := Action("x", command)) is action
