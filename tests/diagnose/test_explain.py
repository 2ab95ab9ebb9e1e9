"""A failed gate and its diagnosis, from the output of the attempt."""

from __future__ import annotations

from typing import Any

import pytest

from tests.helpers.case_runner import CLUSTER
from wizard_steps.cluster.file import parse
from wizard_steps.diagnose import Diagnosis, Fix
from wizard_steps.diagnose.explain import advised, findings_of, fix_command, fix_nodes
from wizard_steps.engine.step import Known
from wizard_steps.recording import events as ev
from wizard_steps.recording.spool import MemorySpool
from wizard_steps.recording.state import State, fold


def attempt(*outputs: tuple[str, str], cluster: dict[str, Any] | None = None) -> tuple[State, MemorySpool]:
    spool = MemorySpool()
    events: list[Any] = [
        ev.WalkStarted(0, "bare-metal", (("head", "h"),), cluster or {}),
        ev.StepStarted(0, "head", 1),
    ]
    for run, (node, text) in enumerate(outputs):
        start, end = spool.append(f"{node}.log", text.encode())
        events.append(ev.CommandStarted(0, run, "head", node, "start", "ray", run, f"{node}.log"))
        events.append(ev.Output(0, run, node, start, end))
        events.append(ev.CommandEnded(0, run, node, 1, "exit", 0, 1))
    return fold(events), spool


def test_the_node_and_the_line_are_named() -> None:
    state, spool = attempt(
        ("a", "Ray runtime started.\n"),
        (
            "b",
            "RuntimeError: Version mismatch: The cluster was started with:\n    Ray: 2.60.0\n",
        ),
    )
    first = findings_of(state, "head", spool)[0]
    assert (first.family, first.node) == ("version", "b")
    assert "Version mismatch" in first.evidence[0].text


FILE = {
    "nodes": [
        {"name": "a", "host": "gpu-a", "role": "head", "fabric_ip": "10.0.0.1", "user": "me"},
        {"name": "b", "host": "gpu-b", "role": "worker", "fabric_ip": "10.0.0.2; rm -rf /", "user": "me"},
    ],
    "serve": {"model": "org/model"},
    "ray": {"version": "2.60.0"},
}


def test_what_the_cluster_file_knows_stands_in_the_commands() -> None:
    text = "Permission denied (publickey,password).\n"
    state, spool = attempt(("b", text), cluster=FILE)
    commands = [action.command for action in findings_of(state, "head", spool)[0].try_]
    assert "ssh -v me@gpu-b true" in commands


@pytest.mark.parametrize("cluster", [{"nodes": 3, "serve": []}, {"nodes": [1, {}]}, {"ray": {"version": 1}}])
def test_a_strange_cluster_file_is_not_minded(cluster: dict[str, Any]) -> None:
    state, spool = attempt(("b", "Permission denied (publickey,password).\n"), cluster=cluster)
    assert findings_of(state, "head", spool)[0].family == "ssh"


def test_no_value_of_the_cluster_file_reaches_a_shell_unquoted() -> None:
    state, spool = attempt(("b", "RuntimeError: Every node should have a unique IP address.\n"), cluster=FILE)
    commands = " ".join(action.command for action in findings_of(state, "head", spool)[0].try_)
    assert "rm -rf" not in commands


def test_nothing_known_is_nothing_said() -> None:
    state, spool = attempt(("a", "Ray runtime started.\n"))
    assert findings_of(state, "head", spool) == []


def finding(node: str = "b", **values: str) -> Diagnosis:
    return Diagnosis("r", "network", "cause", "c", node, (), (), 0.9, "", values=values)


def test_a_fix_is_filled_in_with_quoted_values_or_not_offered() -> None:
    known = Known(parse(CLUSTER))
    fix = Fix("install", "{venv}/bin/pip install {package}")
    assert (
        fix_command(known, finding(package="x; rm -rf /"), fix)
        == "/opt/vllm-venv/bin/pip install 'x; rm -rf /'"
    )
    assert fix_command(known, finding(), fix) is None


def test_where_a_fix_belongs() -> None:
    known = Known(parse(CLUSTER))
    assert list(fix_nodes(known, finding(), Fix("", "", where="node"))) == ["b"]
    assert list(fix_nodes(known, finding(node=""), Fix("", "", where="node"))) == []
    assert list(fix_nodes(known, finding(), Fix("", "", where="all"))) == ["a", "b"]
    assert list(fix_nodes(known, finding(), Fix("", "", where="head"))) == ["a"]


def test_a_guess_and_the_facts_of_a_node_stand_on_no_gate() -> None:
    state, spool = attempt(("a", "ERROR: the flux of the socket failed\n"))
    assert findings_of(state, "head", spool) == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("nvidia-container-cli: initialization error: nvml error: driver/library version mismatch", "eboot"),
        ("nvidia-container-cli: requirement error: unsatisfied condition: cuda>=13.0", "driver"),
        ("error while creating mount source path '/nfs/hf': mkdir /nfs/hf: permission denied.", "/nfs/hf"),
        (
            "pull access denied for acme/vllm, repository does not exist or may require 'docker login'",
            "login",
        ),
        ("failed to connect to the docker API at unix:///var/run/docker.sock", "daemon"),
        ("sudo: a password is required", "sudo"),
        ("no matching manifest for linux/arm64/v8 in the manifest list entries", "processor"),
        (
            'Error: short-name "vllm/vllm-openai:x" did not resolve to an alias',
            "docker.io/vllm/vllm-openai:x",
        ),
        ("docker: unknown flag: --nosuch\nSee 'docker run --help'.", "--nosuch"),
    ],
)
def test_a_gate_can_ask_what_to_do(text: str, words: str) -> None:
    assert words in advised(text)
    assert "\n" not in advised(text)


def test_a_gate_gets_no_guess() -> None:
    assert advised("something failed in the docker") == ""
