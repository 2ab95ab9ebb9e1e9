"""Sizes against what others count: transformers' own parameter counts, and vLLM's logs of an H100."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from wizard_steps.advisor.config import Config, defaults_of
from wizard_steps.advisor.families import FAMILIES, stack_of
from wizard_steps.advisor.memory import GIB, fit
from wizard_steps.advisor.overhead import Card, overhead
from wizard_steps.advisor.plan import Box, ParallelTopology, Request, consider
from wizard_steps.advisor.shape import parse_config

HERE = Path(__file__).parent
#: Counted by transformers 5.24 on the meta device: sizes of config classes with some fields changed.
COUNTED = json.loads((HERE / "parameters.json").read_text())
TABLE = json.loads((HERE / "measured.json").read_text())
MEASURED = TABLE["runs"]
#: As vLLM was started for the measurements, on a card of 79.18 GiB.
OFFLINE, BUDGET = Card(16384, 1024), int(0.92 * 79.18 * GIB)


@pytest.mark.parametrize("row", COUNTED, ids=lambda row: row["config"]["model_type"])
def test_parameters_are_those_that_transformers_counts(row: dict[str, Any]) -> None:
    config = row["config"]
    kind = config["model_type"]
    stack = stack_of(kind, Config(config, defaults_of(kind)))
    counted = sum(part.size for layer in stack.layers for part in layer.parts)
    counted += sum(part.size for part in stack.outside)
    assert counted == pytest.approx(row["parameters"], rel=0.05)


def test_most_model_types_were_counted() -> None:
    kinds = {row["config"]["model_type"] for row in COUNTED}
    assert kinds <= set(FAMILIES)
    assert len(kinds) >= 80


@pytest.mark.parametrize("run", MEASURED, ids=lambda run: run["name"])
def test_memory_on_an_h100(run: dict[str, Any]) -> None:
    shape = parse_config(run["config"])
    assert shape.known
    assert shape.weight_bytes / GIB == pytest.approx(run["weights"], rel=0.02)
    extra = overhead(shape, 1, 1, OFFLINE)
    assert extra.low <= run["overhead"] * GIB <= extra.high
    if "kv_tokens" in run:
        assert run["kv"] * GIB / shape.kv_bytes_per_token == pytest.approx(run["kv_tokens"], rel=0.01)
    memory = fit(shape, 1, 1, int(79.65 * GIB), max_len=run["max_len"], of=OFFLINE)
    assert memory.budget == pytest.approx(BUDGET, rel=0.002)
    assert memory.kv_low <= run["kv"] * GIB <= memory.kv_high
    if "requests" in run:
        assert memory.requests_low <= run["requests"] <= memory.requests_high


@pytest.mark.parametrize("run", TABLE["two_hosts"], ids=lambda run: run["name"])
def test_memory_of_each_of_two_h100_over_the_network(run: dict[str, Any]) -> None:
    config = next(one["config"] for one in MEASURED if one["name"] == run["name"])
    shape = parse_config(config)
    memory = fit(shape, run["tp"], 1, int(79.65 * GIB), max_len=run["max_len"])
    assert shape.weight_bytes / run["tp"] / GIB == pytest.approx(run["weights"], rel=0.02)
    assert overhead(shape, run["tp"], 1).low <= run["overhead"] * GIB <= overhead(shape, run["tp"], 1).high
    assert memory.kv_low <= run["kv"] * GIB <= memory.kv_high
    assert memory.requests_low <= run["requests"] <= memory.requests_high


def test_requests_of_hybrids_and_windows_as_vllm_counts_them() -> None:
    """With the measured KV cache alone: 69.52 requests of a hybrid, 106,032 tokens beside windows."""
    for run in MEASURED:
        shape = replace(parse_config(run["config"]), weights_off=0.0)
        extra = overhead(shape, 1, 1, OFFLINE).likely
        # A card of just the size that leaves the measured KV cache.
        budget = run["kv"] * GIB + extra + shape.weight_bytes
        memory = fit(shape, 1, 1, int(budget / 0.994), 1.0, max_len=run["max_len"], of=OFFLINE)
        if "requests" in run:
            assert memory.requests == pytest.approx(run["requests"], rel=0.003)
        if "longest" in run:
            assert memory.tokens == pytest.approx(run["longest"], rel=0.01)


def test_a_model_that_vllm_refused_is_not_called_good() -> None:
    """gpt-oss-120b with 131,072 tokens on one H100 at 0.92: vLLM says that 106,032 would fit."""
    run = next(one for one in MEASURED if "longest" in one)
    shape = parse_config(run["config"])
    one = ParallelTopology((Box("a", 1),), int(79.65 * GIB), "NVIDIA H100 80GB HBM3")
    split = consider(shape, one, 1, 1, Request(131072))
    assert split.grade == "tight"
    assert any("rehearse" in reason.text for reason in split.reasons)
