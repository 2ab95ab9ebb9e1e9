"""The text of units and their scripts: systemd and sh take them, and nothing in a cluster file gets out of its place."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers.case_runner import CLUSTER
from wizard_steps.cluster.file import parse
from wizard_steps.engine.step import Known
from wizard_steps.milestones.units import planned
from wizard_steps.model import Cmd
from wizard_steps.node import units
from wizard_steps.node.place import SERVE, Service
from wizard_steps.node.remote import service_name
from wizard_steps.node.unit_script import Unit, script_text, unit_text

KNOWN = Known(parse(CLUSTER))
WORDS = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=20)


def unit(argv: tuple[str, ...] = ("/v/bin/vllm", "serve"), env: dict[str, str] | None = None) -> Unit:
    return Unit(Service(KNOWN.head, SERVE, 8000, argv, env or {}), "vllm serve", 8, "10.0.0.1", "", 16, "ray")


def test_ray_on_each_node_and_the_server_after_its_ray() -> None:
    found = planned(KNOWN)
    assert [(one.node.name, one.role) for one in found] == [("a", "ray"), ("b", "ray"), ("a", "serve")]
    head, worker, server = (script_text(KNOWN.cluster, one) for one in found)
    assert "does not answer at" not in head
    assert "the head does not answer at 10.0.0.1:6379" in worker
    assert "Ray does not have 16 GPUs" in server
    assert "After=milepost-milepost-a-ray.service" in unit_text(KNOWN.cluster, found[2])
    assert "VLLM_API_KEY" not in head, "everybody's code on Ray inherits its environment"


@given(st.lists(WORDS, min_size=1, max_size=4), st.dictionaries(st.sampled_from(["A", "B_C"]), WORDS))
@settings(max_examples=30, deadline=None)
def test_every_value_reaches_the_program_as_it_is(words: list[str], env: dict[str, str]) -> None:
    text = script_text(KNOWN.cluster, unit(("/v/bin/vllm", *words), env))
    last = text.rstrip("\n").split("\nexec env ", 1)[1]
    done = subprocess.run(["sh", "-c", f"printf '%s\\n' {last}"], capture_output=True, text=True, check=True)
    lines = done.stdout.split("\n")[:-1]
    assert lines[-len(words) :] == words
    assert set(lines) >= {f"{name}={value}" for name, value in env.items()}


def _commands() -> list[Cmd]:
    node, cluster = KNOWN.head, KNOWN.cluster
    return [
        units.look(cluster, node),
        units.write(cluster, [unit(("/v/bin/vllm", "it's", "$HOME", "%h"))]),
        units.act(cluster, node, "restart", [SERVE], "restart"),
        units.state(cluster, [unit(), unit()]),
        units.stop_all(cluster, node),
        units.remove(cluster, node),
    ]


@pytest.mark.parametrize("cmd", _commands(), ids=lambda cmd: cmd.key)
def test_sh_reads_each_command(cmd: Cmd) -> None:
    for text in (cmd.text, script_text(KNOWN.cluster, unit())):
        done = subprocess.run(["sh", "-n"], input=text, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


def test_systemd_takes_the_units(tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze") or pytest.skip("no systemd-analyze on this machine")
    for one in planned(KNOWN):
        text = unit_text(KNOWN.cluster, one)
        text = text.replace("@HOME@", str(tmp_path)).replace("@TARGET@", "multi-user.target")
        file = tmp_path / service_name(KNOWN.cluster, one.node, one.role)
        file.write_text(text)
        done = subprocess.run([analyze, "verify", str(file)], capture_output=True, text=True)
        said = [line for line in done.stderr.splitlines() if file.name in line]
        assert said == [], text
