"""Checkpoints of 2025 and 2026 as published, against what vLLM allocates for them or their files hold.

``published.json`` names the source of each config and of each number.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from wizard_steps.advisor.plan import Box, ParallelTopology, consider
from wizard_steps.advisor.reasons import illegal
from wizard_steps.advisor.shape import parse_config

ROWS: list[dict[str, Any]] = json.loads((Path(__file__).parent / "published.json").read_text())
BY_NAME = {row["name"]: row for row in ROWS}
TWO_BOXES = ParallelTopology((Box("a", 16), Box("b", 16)), 80 << 30)


def expanded(row: dict[str, Any]) -> dict[str, Any]:
    """The config with the lists that name every layer written out again."""
    config: dict[str, Any] = json.loads(json.dumps(row["config"]))
    text = config.get("text_config", config)
    if kinds := row.get("repeated"):
        text[kinds["field"]] = kinds["words"] * kinds["times"]
    if each := row.get("ignored_of_each_layer"):
        layers = range(text["num_hidden_layers"])
        names = [f"{each['at']}{i}.{one}" for i in layers for one in each["names"]]
        config["quantization_config"]["ignore"] += names
    if mixed := row.get("quantised_of_each_layer"):
        listed = {"lm_head": {"quant_algo": row["quantised_head"]}}
        for i, kind in enumerate(text["layers_block_type"]):
            for name, algorithm in mixed.get(kind, {}).items():
                for expert in range(text["n_routed_experts"] if "{}" in name else 1):
                    listed[f"backbone.layers.{i}.{name.format(expert)}"] = {"quant_algo": algorithm}
        config["quantization_config"]["quantized_layers"] = listed
    return config


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["name"])
def test_sizes_are_those_of_vllm_or_of_the_files(row: dict[str, Any]) -> None:
    shape = parse_config(expanded(row))
    assert shape.known, shape.unknown
    assert shape.weight_bytes == pytest.approx(row["weights"], rel=row.get("within", 0.01))
    assert shape.kv_bytes_per_token == row["kv"]
    assert sum(one.state for one in shape.held) == row.get("state", 0)


def refused(name: str, tp: int) -> str:
    return "; ".join(one.text for one in illegal(parse_config(expanded(BY_NAME[name])), 64, tp, 1))


@pytest.mark.parametrize(
    ("name", "legal", "not_legal", "why"),
    [
        ("Qwen3.5-27B", 8, 12, "16 key heads of linear attention"),
        ("Laguna-S-2.1", 8, 16, "72 attention heads of some layers"),
        ("Nemotron-H-56B-Base-8K", 8, 16, "8 Mamba groups"),
    ],
)
def test_tp_must_divide_all_that_vllm_cuts(name: str, legal: int, not_legal: int, why: str) -> None:
    assert not refused(name, legal)
    assert why in refused(name, not_legal)


def test_shared_experts_are_cut_with_expert_parallel_too() -> None:
    """DeepSeek-V3: 2048 / 32 is half a block of its FP8 weights, and vLLM refuses to make the layer."""
    deep = {"model_type": "deepseek_v3", "num_hidden_layers": 4, "num_attention_heads": 128, "hidden_size": 7168,
            "kv_lora_rank": 512, "q_lora_rank": 1536, "qk_rope_head_dim": 64, "qk_nope_head_dim": 128,
            "v_head_dim": 128, "n_routed_experts": 256, "n_shared_experts": 1, "moe_intermediate_size": 2048,
            "first_k_dense_replace": 0, "intermediate_size": 18432, "vocab_size": 129280,
            "quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128]}}  # fmt: skip
    shape = parse_config(deep)
    assert not list(illegal(shape, 32, 16, 1, expert_parallel=True))
    assert "shared expert width 2048" in next(illegal(shape, 32, 32, 1, expert_parallel=True)).text
    assert "shared expert" in consider(shape, TWO_BOXES, 32, 1).headline


def test_a_model_of_another_class_has_no_pipeline() -> None:
    """SmolVLM: its language model is a Llama, its own class in vLLM is not SupportsPP."""
    text = {"model_type": "llama", "num_hidden_layers": 4, "num_attention_heads": 8, "hidden_size": 1024,
            "intermediate_size": 4096, "vocab_size": 32000}  # fmt: skip
    around = {"model_type": "smolvlm", "architectures": ["SmolVLMForConditionalGeneration"], "text_config": text,
              "vision_config": {}}  # fmt: skip
    assert any("pipeline" in one.text for one in illegal(parse_config(around), 8, 1, 2))
    assert not list(illegal(parse_config(text), 8, 1, 2))


@pytest.mark.parametrize(("kept", "each"), [(None, 2 * 576 + 132), ("FP8", 656 + 132)])
def test_sparse_mla_keeps_scales_beside_an_fp8_cache(kept: str | None, each: int) -> None:
    """DeepSeek-V3.2 and GLM-5: fp8_ds_mla, 656 bytes a token and layer (``mla_attention.py``)."""
    deep = {"model_type": "deepseek_v32", "num_hidden_layers": 4, "num_attention_heads": 128, "hidden_size": 7168,
            "kv_lora_rank": 512, "q_lora_rank": 1536, "qk_rope_head_dim": 64, "qk_nope_head_dim": 128,
            "v_head_dim": 128, "index_head_dim": 128, "index_n_heads": 64, "intermediate_size": 18432,
            "vocab_size": 129280}  # fmt: skip
    side = {"quantization": {"quant_algo": "NVFP4", "kv_cache_quant_algo": kept}}
    shape = parse_config(deep, side=side)
    assert shape.kv_bytes_per_token == 4 * each
    assert any("fp8_ds_mla" in note for note in shape.notes) == bool(kept)


@pytest.mark.parametrize(
    ("names", "kept"),
    [
        (["model.layers.0.share_expert", "model.layers.0.moe.gate"], "mlp.shared_experts"),
        (["model.layers.0.mlp.shared_expert", "model.layers.0.mlp.shared_expert_gate"], "mlp.shared_experts"),
        (["model.layers.0.moe.gate_proj", "model.layers.0.moe.down_proj"], "mlp.experts"),
        (["model.layers.0.mlp.experts.gate_up_proj"], "mlp.experts"),
        (["model.layers.0.mlp.experts.3.down_proj"], ""),
    ],
)
def test_names_of_experts_that_stay_plain(names: list[str], kept: str) -> None:
    moe = {"model_type": "qwen3_moe", "num_hidden_layers": 1, "num_attention_heads": 8, "hidden_size": 1024,
           "num_experts": 16, "moe_intermediate_size": 512, "shared_expert_intermediate_size": 512,
           "vocab_size": 32000}  # fmt: skip
    quant = {"quant_method": "fp8", "modules_to_not_convert": names}
    plain = parse_config({**moe, "quantization_config": {"quant_method": "fp8"}})
    each = {"mlp.experts": 16 * 3 * 1024 * 512, "mlp.shared_experts": 3 * 1024 * 512, "": 0}[kept]
    assert parse_config({**moe, "quantization_config": quant}).weight_bytes == plain.weight_bytes + each
