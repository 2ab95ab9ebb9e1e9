"""The hand-over after the last gate: true for the walk, ready to paste, absent where nothing is served."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from msgspec.structs import replace

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


def test_what_is_simulated_says_so_and_is_not_to_be_stopped() -> None:
    text, _ = made("healthy-bare-metal")
    assert text.startswith("SIMULATED: ")
    assert "milepost down" not in text


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
