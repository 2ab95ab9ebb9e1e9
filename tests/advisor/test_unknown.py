"""What the advisor does not know it says, whatever a config holds; and how quantised tensors are told apart."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tui.cli.main import main
from wizard_steps.advisor import Box, ParallelTopology, advise
from wizard_steps.advisor.families import FAMILIES
from wizard_steps.advisor.memory import GIB
from wizard_steps.advisor.render import as_json, as_text
from wizard_steps.advisor.shape import parse_config
from wizard_steps.errors import UsageError

LLAMA: dict[str, Any] = {"model_type": "llama", "num_hidden_layers": 4, "num_attention_heads": 8,
                         "num_key_value_heads": 4, "hidden_size": 1024, "intermediate_size": 4096,
                         "vocab_size": 32000, "torch_dtype": "bfloat16"}  # fmt: skip
#: Weights of a layer's attention and MLP.
ATTENTION, MLP = 1024 * 128 * (2 * 8 + 2 * 4), 3 * 1024 * 4096
TABLES = 2 * 32000 * 1024


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"model_type": "brand_new"}, "brand_new was not checked"),
        ({"num_local_experts": 8}, "experts are not known"),
        ({"kv_lora_rank": 512}, "kv_lora_rank is not known"),
        ({"layer_types": ["linear_attention"] * 4}, "layers that keep a state"),
        ({"layer_types": ["quantum_attention"] * 4}, "quantum_attention"),
        ({"quantization_config": {"quant_method": "brand_new"}}, "quantisation brand-new was not checked"),
        ({"text_config": {**LLAMA}, "model_type": "brand_new_vl"}, "multimodal type brand_new_vl"),
        ({"architectures": ["LlamaForSequenceClassification"]}, "generates no text"),
        ({"use_cla": True}, "use_cla"),
        ({"architectures": ["LlamaForCausalLMEagle3"]}, "a draft for another model"),
        ({"architectures": ["LlamaBidirectionalModel"]}, "generates no text"),
        ({"architectures": ["Qwen3Model"]}, "generates no text"),
        ({"use_bidirectional_attention": True}, "looks both ways"),
        ({"attn_output_gate": True}, "attn_output_gate is not known"),
        ({"model_type": "deepseek_v2", "kv_lora_rank": None}, "does not use MLA"),
        ({"num_attention_heads_per_layer": [8, 8]}, "shorter than the model"),
        ({"quantization_config": {"quant_method": "modelopt", "quant_algo": "MIXED_PRECISION", "quantized_layers": {"model.layers.0.mixer.in_proj": {"quant_algo": "FP8"}}}}, "layers.0.mixer.in_proj is none of llama"),
        ({"quantization_config": {"quant_method": "compressed-tensors", "config_groups": {"a": {"targets": ["re:^decoder.*"], "weights": {"num_bits": 8}}, "b": {"targets": ["Linear"], "weights": {"num_bits": 4, "group_size": 32}}}}}, "re:^decoder.* is none of llama"),
    ],
)  # fmt: skip
def test_unknown_instead_of_wrong(more: dict[str, Any], why: str) -> None:
    shape = parse_config({**LLAMA, **more})
    assert not shape.known
    assert why in shape.unknown
    assert shape.kv_bytes_per_token == shape.weight_bytes == 0
    advice = advise(shape, ParallelTopology((Box("a", 8),), 80 * GIB))
    assert (advice.enough, advice.recommended) == ("unknown", None)
    assert advice.summary.startswith("Unknown architecture:")
    data = as_json(advice)
    assert data["model"]["weight_bytes"] is data["model"]["kv_bytes_per_token"] is None
    assert {split["grade"] for split in data["splits"]} == {"unknown"}


def test_what_the_person_says_makes_it_judged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "config.json"
    file.write_text(json.dumps({**LLAMA, "model_type": "brand_new"}))
    assert main(["advise", str(file), "--gpus", "8"]) == 1
    assert "UNKNOWN ARCHITECTURE" in capsys.readouterr().out
    assert (
        main(
            ["advise", str(file), "--gpus", "8", "--weights", "10", "--kv-bytes", "8192", "--max-len", "9000"]
        )
        == 0
    )
    text = capsys.readouterr().out
    assert "Weights: 10.0 GiB (--weights)" in text
    assert "8,192 bytes per token, one replica (--kv-bytes)" in text


def test_weights_of_an_unknown_model_are_still_told_by_its_files() -> None:
    shape = parse_config({**LLAMA, "model_type": "brand_new"}, weight_bytes=123, weights_from="files")
    assert (shape.known, shape.weight_bytes) == (False, 123)
    assert "Its weights are" in advise(shape, ParallelTopology((Box("a", 1),), GIB)).summary


def sized(quant: Any, side: Any = None) -> float:
    """Bytes of everything but embeddings and head, in bf16 elements of 2 bytes."""
    shape = parse_config({**LLAMA, "quantization_config": quant}, side=side)
    assert shape.known, shape.unknown
    return (shape.weight_bytes - 2 * TABLES) / 4


@pytest.mark.parametrize(
    ("quant", "attention", "mlp"),
    [
        ({"quant_method": "fp8", "weight_block_size": [128, 128]}, 8, 8),
        ({"quant_method": "fbgemm_fp8", "modules_to_not_convert": [f"model.layers.{i}.self_attn.{p}_proj" for i in range(4) for p in "qkvo"]}, 16, 8),
        ({"quant_method": "awq", "bits": 4, "group_size": 128}, 4 + 20 / 128, 4 + 20 / 128),
        ({"quant_method": "gptq", "bits": 8, "group_size": -1}, 8, 8),
        ({"quant_method": "compressed-tensors", "ignore": ["lm_head", "re:.*self_attn.*"], "config_groups": {"g": {"targets": ["Linear"], "weights": {"num_bits": 4, "group_size": 32, "type": "int"}}}}, 16, 4.5),
        ({"quant_method": "modelopt", "quant_algo": "NVFP4", "ignore": ["lm_head", *[f"model.layers.{i}.self_attn*" for i in range(4)]]}, 16, 4.5),
        ({"quant_method": "compressed-tensors", "config_groups": {"a": {"targets": ["Linear"], "weights": {"num_bits": 4, "group_size": 16, "type": "float"}}, "b": {"targets": ["re:.*self_attn.*"], "weights": {"num_bits": 8, "type": "float"}}}}, 8, 4.5),
        ({"quant_method": "compressed-tensors", "config_groups": {"a": {"targets": ["Linear"], "weights": {"num_bits": 4, "group_size": 32, "symmetric": False}}}}, 4.625, 4.625),
        ({"quant_method": "modelopt", "quant_algo": "FP8", "ignore": ["lm_head"] + [f"model.layers.{i}.self_attn.qkv_proj" for i in range(4)] + [f"model.layers.{i}.self_attention.o_proj" for i in range(4)]}, 16, 8),
        ({"quant_method": "mxfp4"}, 16, 16),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, 4.5, 4.5),
    ],
    ids=lambda value: str(value)[:40],
)  # fmt: skip
def test_bits_of_each_tensor(quant: dict[str, Any], attention: float, mlp: float) -> None:
    assert sized(quant) == pytest.approx((ATTENTION * attention + MLP * mlp) / 8, rel=1e-6)


def test_modelopt_says_it_beside_the_config() -> None:
    names = {
        f"model.layers.{i}.mlp.{p}_proj": {"quant_algo": "NVFP4"}
        for i in range(4)
        for p in ("gate", "up", "down")
    }
    side = {
        "quantization": {
            "quant_algo": "MIXED_PRECISION",
            "kv_cache_quant_algo": "FP8",
            "quantized_layers": names,
        }
    }
    assert sized(None, side) == pytest.approx((ATTENTION * 16 + MLP * 4.5) / 8)
    assert parse_config(LLAMA, side=side).kv_bytes_per_token == parse_config(LLAMA).kv_bytes_per_token // 2


def test_a_pattern_that_could_take_for_ever_is_not_tried() -> None:
    quant = {
        "quant_method": "compressed-tensors",
        "ignore": ["re:(a+)+$"],
        "config_groups": {"g": {"weights": {"num_bits": 8}}},
    }
    assert "too involved" in parse_config({**LLAMA, "quantization_config": quant}).unknown


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 1 << 40) | st.floats() | st.text(max_size=8)
    | st.sampled_from(["full_attention", "mamba", "sliding_attention", "fp8", "re:.*", "LLLG"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip
FIELDS = ["model_type", "architectures", "layer_types", "num_key_value_heads", "head_dim", "sliding_window",
          "quantization_config", "text_config", "vision_config", "num_experts", "n_routed_experts", "kv_lora_rank",
          "hybrid_override_pattern", "block_configs", "linear_attn_config", "moe_layer_freq", "intermediate_size",
          "moe_layers_enum", "attn_type_list", "dim", "n_layers", "moe", "max_position_embeddings"]  # fmt: skip


@given(
    kind=st.sampled_from(sorted(FAMILIES)),
    more=st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=6),
    side=st.none() | st.dictionaries(st.sampled_from(["quantization", "x"]), VALUES),
)
def test_no_config_breaks_it(kind: str, more: dict[str, Any], side: Any) -> None:
    """Whatever stands in the fields: numbers, "unknown", or a UsageError that names the field."""
    base = {**LLAMA, "model_type": kind}
    try:
        shape = parse_config({**base, **more}, side=side)
    except UsageError:
        return
    if not shape.known:
        assert shape.unknown
    if shape.layers < 200 and shape.heads < 200:
        lines = as_text(advise(shape, ParallelTopology((Box("a", 2),), 80 * GIB)))
        assert max(map(len, lines)) <= 80


def test_float32_is_loaded_as_16_bit() -> None:
    """vLLM's --dtype auto."""
    wide = {**LLAMA, "torch_dtype": "float32"}
    assert parse_config(wide).weight_bytes == parse_config(LLAMA).weight_bytes
    told = parse_config(wide, weight_bytes=4000, weights_from="files")
    assert (told.weight_bytes, told.weights_from) == (2000, "files, loaded as 16 bit")
