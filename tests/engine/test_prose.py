"""The prose of the expected texts and lessons: filled in, and its commands can be pasted."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wizard_steps.cluster.file import Cluster, NodeEntry
from wizard_steps.engine.expected import SNAPSHOTS, load
from wizard_steps.engine.prose import fill_prose, filled
from wizard_steps.engine.step import Known, standard_variables
from wizard_steps.learn.lessons import course

NAMES = sorted(path.stem for path in (SNAPSHOTS / "expected").glob("*.md"))
CLUSTER = Cluster(
    nodes=(
        NodeEntry(host="gpu-a", gpus=8, role="head", name="gpu-a", user="ann", fabric_ip="10.0.0.1"),
        NodeEntry(host="gpu-b", gpus=8, role="worker", name="gpu-b", user="ann", fabric_ip="10.0.0.2"),
    ),
    name="two-boxes",
)
VALUES = standard_variables(Known(CLUSTER), CLUSTER.head)

#: First words of what a person may paste. Each exists on the nodes, in the environment, or beside milepost.
PROGRAMS = frozenset(
    (
        *(
            "milepost",
            "ray",
            "vllm",
            "hf",
            "ssh",
            "ssh-keygen",
            "rsync",
            "scp",
            "curl",
            "ping",
            "ip",
            "ss",
            "df",
        ),
        *("nvidia-smi", "docker", "podman", "pip", "python3", "systemctl", "journalctl", "dmesg", "lspci"),
        *("dkms", "ibstat", "apt", "uv", "timeout", "openssl", "chmod", "usermod"),
    )
)
#: In backticks without being a command line of that kind.
_CODE = re.compile(r"`([^`\n]+)`")


def commands(text: str) -> list[str]:
    """What stands in backticks and begins with a program, or has several words and no placeholder sign."""
    found = []
    for code in _CODE.findall(text):
        words = [word for word in code.split() if not re.fullmatch(r"[A-Z_]+=\S*", word)]
        if words[:1] == ["sudo"]:
            words = words[1:]
        setting = words[1:2] == ["="]
        if (
            words
            and not setting
            and (Path(words[0]).name in PROGRAMS or (len(words) > 1 and words[0][0].islower()))
        ):
            found.append(code)
    return found


def texts() -> list[tuple[str, str]]:
    expected = [(name, "\n".join(filled(load(name), VALUES).sections.values())) for name in NAMES]
    lessons = [(lesson.id, lesson.text) for lesson in course()]
    answers = [
        (lesson.id, "\n".join((q.ask, q.right, *q.wrong, q.why)))
        for lesson in course()
        for q in lesson.questions
    ]
    return expected + lessons + answers


COMMANDS = sorted({(name, command) for name, text in texts() for command in commands(text)})


def test_there_are_commands() -> None:
    assert len(COMMANDS) > 40


@pytest.mark.parametrize(("name", "command"), COMMANDS, ids=[f"{n}-{c[:30]}" for n, c in COMMANDS])
def test_a_command_is_shell_and_begins_with_a_known_program(name: str, command: str) -> None:
    assert subprocess.run(["sh", "-n", "-c", command], check=False).returncode == 0, command
    assert "…" not in command
    for part in re.split(r"\s*(?:\|\||&&|;|\|)\s*", command):
        words = [word for word in part.split() if not re.fullmatch(r"[A-Z_]+=\S*", word)]
        words = words[1:] if words[:1] == ["sudo"] else words
        known = PROGRAMS | {"grep", "sort", "uniq", "echo", "mkdir", "sh", "bash"}
        assert words, f"{name}: {command}"
        assert Path(words[0]).name in known, f"{name}: {command}"


@pytest.mark.parametrize("name", NAMES)
def test_nothing_that_is_known_is_left_open(name: str) -> None:
    text = "\n".join(filled(load(name), VALUES).sections.values())
    assert "{{" not in text
    # Milepost knows them: they must not be left to the reader.
    for word in ("HEAD_IP", "HEAD:PORT", "USER@", "VENV/", "RAY_PORT"):
        assert word not in text, f"{name}: {word}"


def test_every_variable_of_the_prose_is_one_that_steps_provide() -> None:
    for name in NAMES:
        for part in load(name).parts:
            for variable in re.findall(r"\{\{\s*(\w+)\s*\}\}", part.text):
                assert variable in VALUES, f"{name}: {variable}"


def test_without_a_cluster_names_stand_in_capitals() -> None:
    assert fill_prose("ssh {{user}}@{{host}}", {}) == "ssh USER@HOST"
    assert fill_prose("{{venv}}/bin/ray", {"venv": "/opt/v"}) == "/opt/v/bin/ray"


@given(st.text(), st.text())
def test_a_value_is_one_plain_word_or_left_open(text: str, value: str) -> None:
    found = fill_prose("ping {{ip}} " + text.replace("{", ""), {"ip": value})
    assert found.startswith("ping IP ") or re.match(r"ping [\w./:@~+-]+ ", found)
