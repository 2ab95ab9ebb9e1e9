"""What TP and PP mean, from a cluster file and the facts of a walk."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wizard_steps.advisor import effect_of
from wizard_steps.advisor.flags import number, wanted_by
from wizard_steps.cluster.file import parse

LLAMA_70B = {
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 8192,
    "intermediate_size": 28672,
    "num_attention_heads": 64,
    "num_hidden_layers": 80,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
    "max_position_embeddings": 131072,
    "torch_dtype": "bfloat16",
}
SEEN = {
    "gpu_bytes": 81559 << 20,
    "gpu_name": "NVIDIA H100 80GB HBM3",
    "nvlink": True,
    "config": LLAMA_70B,
    "weight_bytes": 141107412992,
}


def effect(tp: int, pp: int, seen: Any = SEEN, more: str = "", top: str = "") -> str:
    cluster = parse(
        f"""{top}
[[nodes]]
host = "a"
role = "head"
gpus = 8
[[nodes]]
host = "b"
gpus = 8
[serve]
tensor_parallel = {tp}
pipeline_parallel = {pp}
{more}
"""
    )
    lines = effect_of(cluster, {"machines": seen} if seen is not None else {})
    assert max(map(len, lines)) <= 76
    return "\n".join(lines)


def test_stages_memory_and_grade_at_once() -> None:
    text = effect(8, 2)
    assert "TP 8 x PP 2 = 16 GPUs" in text
    assert "stage 1  layers 1-40" in text
    assert "network: one hand-over per step (PP)" in text
    assert "Memory of the fullest GPU, estimated:" in text
    assert "SIMULATED" not in text


def test_an_illegal_pair_says_what_is_wrong() -> None:
    text = effect(5, 1)
    assert "64 attention heads cannot be divided by TP 5" in text
    assert "[G0]" in text


def test_flags_of_vllm_change_the_arithmetic() -> None:
    short = effect(4, 1, more='extra_flags = ["--max-model-len=1024", "--kv-cache-dtype", "fp8"]')
    assert "x 1,024 tokens" in short
    assert "81,920 bytes per token" in effect(4, 1)
    assert "40,960 bytes per token" in short
    tight = effect(4, 1, more='extra_flags = ["--gpu-memory-utilization", "0.5"]')
    assert "--gpu-memory-utilization 0.50" in tight
    assert "--gpu-memory-utilization 0.92" in effect(
        4, 1, more='extra_flags = ["--gpu-memory-utilization=x"]'
    )


@pytest.mark.parametrize(
    ("text", "count"),
    [("8192", 8192), ("128k", 128_000), ("16K", 16_384), ("25.6k", 25_600), ("2M", 2 << 20), ("1.5K", 0),
     ("auto", 0), ("-1", 0), ("", 0), ("9" * 5000, 0), ("\u00b2", 0), ("\u0661", 0)],
)  # fmt: skip
def test_numbers_are_read_as_vllm_reads_them(text: str, count: int) -> None:
    assert number(text) == count


@given(st.lists(st.text()))
def test_any_flags_are_read(words: list[str]) -> None:
    assert wanted_by(words).utilisation > 0


def test_a_length_in_k_counts() -> None:
    assert "x 4,000 tokens" in effect(4, 1, more='extra_flags = ["--max-model-len", "4k"]')


def test_with_an_automatic_length_vllm_takes_what_fits() -> None:
    text = effect(2, 1, more='extra_flags = ["--max-model-len=auto"]')
    assert "--max-model-len auto: requests of about" in text
    assert "refuses to start" not in text


@pytest.mark.parametrize(
    "flags", [["--cpu-offload-gb", "20"], ["-q", "fp8"], ["--dtype=float32"], ["--speculative-config", "{}"]]
)
def test_flags_whose_effect_is_not_known_leave_the_memory_unjudged(flags: list[str]) -> None:
    text = effect(8, 1, more=f"extra_flags = {json.dumps(flags)}")
    assert "unknown, memory not judged:" in text.splitlines()[0]
    assert "changes what the model takes" in text


def test_the_method_of_a_quantised_checkpoint_may_be_repeated() -> None:
    config = {**LLAMA_70B, "quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128]}}
    seen = {**SEEN, "config": config, "weight_bytes": 72 << 30}
    assert "good" in effect(8, 1, seen, 'extra_flags = ["--quantization", "fp8"]').splitlines()[0]


def test_without_ray_every_node_has_its_share_of_the_ranks() -> None:
    """vLLM gives each node world size / nodes ranks; over Ray the first node is filled first."""
    text = effect(4, 1, None, 'executor = "mp"')
    assert text.count("(2 of 4)         [G0][G1]") == 2
    assert "TP all-reduce in every layer (slow)" in text
    assert "(2 of 4)" not in effect(4, 1, None)
    assert effect(4, 1, SEEN, 'executor = "mp"') != effect(4, 1)


def test_replicas_over_several_nodes_are_drawn_where_they_run() -> None:
    text = effect(4, 2, None, 'executor = "mp"\ndata_parallel = 2')
    for row in ("replica 0 stage 1          [G0]", "replica 1 stage 2          [G4]"):
        assert row in text
    nodes = "".join(f'[[nodes]]\nhost = "{name}"\ngpus = 8\n' for name in "cd")
    across = effect(8, 2, None, f'executor = "mp"\ndata_parallel = 2\n{nodes}')
    assert "idle" not in across
    assert across.count("one hand-over per step") == 2
    assert "replica 1 stage 2          [G0][G1][G2][G3][G4][G5][G6][G7]" in across


def test_experts_and_context_are_told_below_the_picture() -> None:
    text = effect(8, 1, None, "data_parallel = 2\nexpert_parallel = true\ndecode_context_parallel = 4")
    assert "dealt out over TP x DP = 16 GPUs" in text
    assert "over 4 of the 8 GPUs of a stage" in text


@pytest.mark.parametrize("seen", [None, {}, "x", {"config": None}, {"config": [1]}])
def test_without_facts_there_is_the_picture(seen: Any) -> None:
    text = effect(8, 2, seen)
    assert "TP 8 x PP 2 = 16 of 16 GPUs" in text
    assert "stage 2" in text
    assert "when the model's config.json is on the head" in text


def test_a_config_without_numbers_is_said() -> None:
    assert "no num_hidden_layers" in effect(8, 2, {**SEEN, "config": {"model_type": "x"}})


def test_legality_without_gpu_memory() -> None:
    blind = {**SEEN, "gpu_bytes": 0}
    assert "legal for this model" in effect(8, 2, blind)
    assert "cannot be divided by TP 3" in effect(3, 2, blind)
    assert "How much memory a GPU has is not known yet" in effect(8, 2, blind)


def test_simulated_gpus_are_called_that() -> None:
    assert effect(8, 2, top="simulated = true").startswith("SIMULATED GPUs")
    assert effect(8, 2, {**SEEN, "gpu_name": "SIMULATED GPU"}).startswith("SIMULATED GPUs")
