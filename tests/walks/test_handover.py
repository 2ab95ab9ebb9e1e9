"""The hand-over after the last gate: true for the walk, ready to paste, absent where nothing is served."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from msgspec.structs import replace

from wizard_steps.milestones.certificate import NAMES, TRUSTED
from wizard_steps.milestones.running import KEPT_BY, WRITTEN
from wizard_steps.milestones.units import SERVED_BY
from wizard_steps.model import Check
from wizard_steps.recording.journal import load
from wizard_steps.recording.state import State, fold
from wizard_steps.walks.handover import as_text, handover

WALKS = Path(__file__).parents[2] / "snapshots" / "walks"


def made(name: str, **serve: object) -> tuple[str, State]:
    walk = load(WALKS / name)
    state = fold(walk.events)
    state = replace(state, cluster={**state.cluster, "serve": {**state.cluster["serve"], **serve}})
    found = handover(state, walk.read, "walk folder", "my file.toml")
    return (as_text(found) if found else ""), state


def test_a_real_walk_says_what_vllm_printed() -> None:
    text, _ = made("h100-single")
    assert "3,061,488 tokens; 5979.47 requests of 512 tokens at once (printed by vLLM)" in text
    assert "TP 1 x PP 1 = 1 GPU, cluster of 1 machine\n" in text
    assert "http://192.0.2.2:8000/v1" in text
    assert "vllm serve 2m25s" in text


def test_the_ranks_are_told_by_node_as_the_gate_has_counted_them() -> None:
    text, state = made("real-services")
    assert "node-a: runs 1 of 2 ranks\n" in text
    assert "node-b: runs 1 of 2 ranks\n" in text
    counted = [Check("ranks", True, "runs 1 of 12 ranks", node=f"n{i}") for i in range(12)]
    steps = [step for step in state.steps if step.verdict]
    verdict = replace(steps[0].verdict, checks=(*counted, Check("ranks", False, "idle", node="n13")))
    found = handover(replace(state, steps=(replace(steps[0], verdict=verdict),)), lambda *_: b"")
    assert found is not None
    (row,) = [row.text for row in found.facts if row.label == "ranks"]
    assert row.splitlines()[-2:] == ["n7: runs 1 of 12 ranks", "and 4 more nodes"]


def test_what_is_simulated_says_so_and_is_not_to_be_stopped() -> None:
    text, _ = made("healthy-bare-metal")
    assert text.startswith("SIMULATED: ")
    assert "milepost down" not in text
    assert "milepost --lab --load --services" in text


def test_commands_are_quoted_and_carry_the_key_by_name() -> None:
    text, _ = made("h100-single", api_key=True, served_model_name="it's $HOME")
    for line in text.splitlines():
        if "curl " in line or "ssh " in line or "milepost " in line:
            assert shlex.split(line)
    assert "Bearer $VLLM_API_KEY" in text
    assert "milepost down 'my file.toml'" in text


@pytest.mark.parametrize("name", ["port-taken", "ssh-refused", "h100-tp-too-big"])
def test_a_walk_that_failed_hands_nothing_over(name: str) -> None:
    assert made(name)[0] == ""


def test_a_server_with_a_certificate_is_called_by_its_name() -> None:
    walk = load(WALKS / "h100-single")
    state = fold(walk.events)
    facts = {**state.facts, "url": "https://192.0.2.2:8000/v1", NAMES: ["*.example.org", "llm.example.org"]}
    found = handover(replace(state, facts=facts), walk.read)
    assert found is not None
    text = as_text(found)
    assert "curl -sk https://127.0.0.1:18000/v1/models" in text
    assert "verify=False" in text
    assert "curl -s https://llm.example.org:8000/v1/models" in text
    assert "OPENAI_BASE_URL=https://llm.example.org:8000/v1" in text
    assert "clients need the certificate" in text
    trusted = handover(replace(state, facts={**facts, TRUSTED: True}), walk.read)
    assert trusted is not None
    assert "clients need the certificate" not in as_text(trusted)


def test_the_tunnel_leads_to_the_server_with_the_cluster_files_own_ssh() -> None:
    walk = load(WALKS / "h100-single")
    state = fold(walk.events)
    nodes = [
        {"host": "cpu", "role": "head", "gpus": 0},
        {"host": "gpu", "user": "me", "port": 2222, "gpus": 8, "role": "worker"},
    ]
    ssh = {"config": "/x/my config", "known_hosts": "~/.ssh/known_hosts", "identity": ["/x/key"]}
    serve = {**state.cluster["serve"], "host": "fd00::1"}
    found = handover(replace(state, cluster={"nodes": nodes, "ssh": ssh, "serve": serve}), walk.read)
    assert found is not None
    line = next(command.text for command in found.commands if command.label == "tunnel")
    assert line == "ssh -F '/x/my config' -i /x/key -N -L '18000:[fd00::1]:8000' -p 2222 me@gpu"


def test_what_the_services_of_before_would_start_is_over_once_they_are_written_anew() -> None:
    walk = load(WALKS / "h100-single")
    state = fold(walk.events)
    old = Check(WRITTEN, True, "at the next boot the service starts other values", warning=True)
    step = state.step("serve")
    assert step.verdict is not None
    verdict = replace(step.verdict, checks=(*step.verdict.checks, old))
    steps = tuple(replace(one, verdict=verdict) if one.id == "serve" else one for one in state.steps)
    found = handover(replace(state, steps=steps), walk.read)
    assert found is not None
    assert old in found.warnings
    assert "milepost enable" in as_text(found)
    facts = {**state.facts, SERVED_BY: "a start"}
    after = handover(replace(state, steps=steps, facts=facts), walk.read)
    assert after is not None
    assert old not in after.warnings
    assert "milepost disable" in as_text(after)
    assert "milepost enable" not in as_text(after)


def test_a_later_walk_that_finds_the_services_offers_to_be_rid_of_them_and_not_to_make_them() -> None:
    walk = load(WALKS / "h100-single")
    state = fold(walk.events)
    facts = {**state.facts, KEPT_BY: {"node-1": "milepost-one-node-1-serve.service"}}
    found = handover(replace(state, facts=facts), walk.read)
    assert found is not None
    text = as_text(found)
    assert "milepost disable" in text
    assert "milepost enable" not in text
