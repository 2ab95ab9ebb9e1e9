"""The prose of the expected texts, filled in (its commands: tests/learn/test_commands.py)."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wizard_steps.cluster.file import Cluster, NodeEntry
from wizard_steps.engine.expected import SNAPSHOTS, load
from wizard_steps.engine.prose import fill_prose, filled
from wizard_steps.engine.step import Known, standard_variables

NAMES = sorted(path.stem for path in (SNAPSHOTS / "expected").glob("*.md"))
CLUSTER = Cluster(
    nodes=(
        NodeEntry(host="gpu-a", gpus=8, role="head", name="gpu-a", user="ann", fabric_ip="10.0.0.1"),
        NodeEntry(host="gpu-b", gpus=8, role="worker", name="gpu-b", user="ann", fabric_ip="10.0.0.2"),
    ),
    name="two-boxes",
)
VALUES = standard_variables(Known(CLUSTER), CLUSTER.head)


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
