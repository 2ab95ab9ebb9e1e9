"""The advisor against case files, and its arithmetic against numbers that vLLM itself printed."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wizard_steps.advisor import (
    Box,
    ParallelTopology,
    Request,
    advise,
    kv_bytes_per_token,
    kv_tokens,
    picture,
)
from wizard_steps.advisor.memory import GIB, fit, stage_layers, stage_weights
from wizard_steps.advisor.model import ModelShape
from wizard_steps.advisor.overhead import Card, overhead
from wizard_steps.advisor.plan import Split, consider
from wizard_steps.advisor.render import as_json, as_text
from wizard_steps.advisor.shape import parse_config
from wizard_steps.advisor.sources import load_model
from wizard_steps.errors import UsageError

CASES = sorted((Path(__file__).parents[1] / "cases" / "advisor").glob("*.toml"))

#: The shape of the tiny Llama of the H100 run. Hidden size and heads are deduced: 8,192 bytes a token,
#: heads of 64 and 0.02 GiB of weights leave 4 layers of 8 heads.
TINY_H100 = parse_config(
    {"model_type": "llama", "num_hidden_layers": 4, "num_attention_heads": 8, "hidden_size": 512, "intermediate_size": 1024,
     "vocab_size": 512, "torch_dtype": "bfloat16", "max_position_embeddings": 2048}
)  # fmt: skip
#: The tiny Llama of the CPU lab.
TINY_LAB = parse_config(
    {"model_type": "llama", "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 4, "hidden_size": 128,
     "intermediate_size": 256, "vocab_size": 512, "torch_dtype": "bfloat16"}
)  # fmt: skip


def read(path: Path) -> tuple[dict[str, Any], ModelShape, ParallelTopology, Request]:
    case = tomllib.loads(path.read_text())
    shape = parse_config(case["config"], weight_bytes=case.get("weight_bytes", 0), weights_from="case")
    each, boxes = (int(part) for part in case["gpus"].split("x"))
    topology = ParallelTopology(
        tuple(Box(f"gpu-{i + 1}", each) for i in range(boxes)), int(case["gpu_memory_gib"] * GIB)
    )
    return case["expect"], shape, topology, Request(case.get("max_len", 0), case.get("concurrency", 1))


def pair_of(pair: str, shape: ModelShape, topology: ParallelTopology, wanted: Request) -> Split:
    tp, pp = (int(part) for part in pair.split("x"))
    return consider(shape, topology, tp, pp, wanted)


def spoken(split: Split) -> list[str]:
    return [f"{'+' if reason.good else '-'} {reason.text}" for reason in split.reasons]


def says(split: Split, wanted: list[str]) -> None:
    for text in wanted:
        assert any(line.startswith(text) for line in spoken(split)), (text, spoken(split))


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_case(path: Path) -> None:
    expect, shape, topology, wanted = read(path)
    advice = advise(shape, topology, wanted)
    assert advice.enough == expect["enough"], advice.summary
    assert expect.get("summary", "") in advice.summary
    best = advice.recommended
    assert ([best.tp, best.pp] if best else None) == expect.get("recommended")
    if best and best.memory:
        assert best.grade == expect.get("grade", best.grade)
        assert best.memory.kv_per_token == expect.get("kv_per_token", best.memory.kv_per_token)
        assert list(best.layers) == expect.get("layers", list(best.layers))
        says(best, expect.get("reasons", []))
    if "whole" in expect:
        assert advice.whole is not None
        assert [advice.whole.tp, advice.whole.pp] == expect["whole"]
    for pair, text in expect.get("illegal", {}).items():
        split = pair_of(pair, shape, topology, wanted)
        assert not split.legal
        assert any(text in reason.text for reason in split.reasons), split.reasons
    for pair, texts in expect.get("consider", {}).items():
        says(pair_of(pair, shape, topology, wanted), texts)
    lines = as_text(advice)
    assert max(len(line) for line in lines) <= 76
    assert json.loads(json.dumps(as_json(advice)))["enough"] == expect["enough"]


def test_there_are_cases() -> None:
    assert len(CASES) >= 10


def test_kv_cache_size_of_the_h100_run() -> None:
    """vLLM 0.23 printed: Available KV cache memory: 23.36 GiB; GPU KV cache size: 3,061,600 tokens."""
    each = kv_bytes_per_token(TINY_H100)
    assert each == 8192
    # 23.36 is rounded to 0.01 GiB, which is 655 tokens either way.
    low, high = (kv_tokens(int((23.36 + d) * GIB), each) for d in (-0.005, 0.005))
    assert low <= 3_061_600 <= high
    assert f"{3_061_600 * each / GIB:.2f}" == "23.36"
    assert 3_061_600 % 16 == 0


def test_overhead_of_the_h100_run() -> None:
    """0.3 of the 79.18 GiB that torch sees, less 0.02 GiB of weights, left 23.36 GiB: vLLM 0.23 with 2,048
    batched tokens, and before its estimate of CUDA graphs counted."""
    measured = int((0.3 * 79.18 - 0.02 - 23.36) * GIB)
    found = overhead(TINY_H100, 1, 1, Card(2048, 256))
    assert found.low <= measured <= found.high
    assert round(stage_weights(TINY_H100, 1, 1)[0] / GIB, 2) == 0.02
    memory = fit(TINY_H100, 1, 1, int(79.65 * GIB), utilisation=0.3, max_len=2048)
    assert 0.9 * 3_061_600 < memory.tokens_low < memory.tokens < memory.tokens_high < 1.05 * 3_061_600


def test_kv_cache_size_of_the_lab_run() -> None:
    """TP 2 x PP 2, 64 MiB a worker: CPU KV cache size: 131,072 tokens, 64.00 requests of 2,048 tokens."""
    each = kv_bytes_per_token(TINY_LAB, tp=2, layers=stage_layers(4, 2)[0])
    assert each == 512
    assert kv_tokens(64 << 20, each) == 131_072
    assert 131_072 / 2_048 == 64.0


@pytest.mark.parametrize(
    ("layers", "pp", "stages"),
    [(80, 2, [40, 40]), (61, 2, [31, 30]), (126, 4, [31, 32, 32, 31]), (10, 4, [2, 3, 3, 2]), (7, 1, [7])],
)
def test_layers_of_stages_follow_vllm(layers: int, pp: int, stages: list[int]) -> None:
    assert stage_layers(layers, pp) == stages


def test_more_tp_than_kv_heads_repeats_them() -> None:
    shape = parse_config({"model_type": "qwen3", "num_hidden_layers": 1, "num_attention_heads": 16, "num_key_value_heads": 2,
                          "head_dim": 64, "hidden_size": 1024})  # fmt: skip
    sizes = [kv_bytes_per_token(shape, tp) for tp in (1, 2, 4, 8)]
    assert sizes == [512, 256, 256, 256]


def test_weights_of_stages_add_up() -> None:
    shape = parse_config({"model_type": "llama", "num_hidden_layers": 8, "num_attention_heads": 8,
                          "hidden_size": 1024, "vocab_size": 1000}, weight_bytes=10**9)  # fmt: skip
    total = sum(stage_weights(shape, 2, 4)) * 2
    assert abs(total - 10**9) < 100


def test_text_config_quantisation_and_notes() -> None:
    shape = parse_config(
        {
            "architectures": ["Gemma3ForConditionalGeneration"],
            "model_type": "gemma3",
            "vision_config": {"hidden_size": 1152, "num_hidden_layers": 27},
            "text_config": {
                "model_type": "gemma3_text",
                "num_hidden_layers": 6, "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256,
                "hidden_size": 2560, "sliding_window": 1024, "dtype": "bfloat16",
                "layer_types": ["sliding_attention"] * 5 + ["full_attention"],
            },
            "quantization_config": {
                "quant_method": "compressed-tensors",
                "config_groups": {"group_0": {"weights": {"num_bits": 4, "group_size": 32}}},
            },
        }
    )  # fmt: skip
    assert (shape.layers, shape.head_dim, shape.sliding_layers) == (6, 256, 5)
    assert shape.quantisation is not None
    assert (shape.quantisation.bits, shape.quantisation.group) == (4.5, 32)
    assert any("multimodal" in note for note in shape.notes)
    assert any("5 of 6 layers see a window of 1,024 tokens" in note for note in shape.notes)
    assert shape.kv_bytes_per_token == 1 * 2 * 4 * 256 * 2


def test_hybrid_models_count_only_layers_with_a_cache() -> None:
    kinds = (["linear_attention"] * 3 + ["full_attention"]) * 2
    shape = parse_config({"model_type": "qwen3_next", "num_hidden_layers": 8, "num_attention_heads": 16,
                          "num_key_value_heads": 2, "head_dim": 256, "hidden_size": 2048,
                          "layer_types": kinds})  # fmt: skip
    assert shape.state_layers == 6
    assert shape.attention_layers == 2
    assert kv_bytes_per_token(shape) == 2 * 2 * 2 * 256 * 2


def test_model_folder_takes_the_size_from_the_index(tmp_path: Path) -> None:
    config = {"model_type": "llama", "num_hidden_layers": 2, "num_attention_heads": 2, "hidden_size": 128}
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert load_model(tmp_path).weights_from.startswith("estimated")
    (tmp_path / "model-00001.safetensors").write_bytes(b"x" * 1000)
    assert load_model(tmp_path).weight_bytes == 1000
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 12345}}))
    shape = load_model(tmp_path / "config.json")
    assert (shape.weight_bytes, shape.weights_from) == (12345, index.name)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not valid JSON"),
        ("[]", "no JSON object"),
        ("{}", "no num_hidden_layers"),
        ('{"num_hidden_layers": "many"}', "num_hidden_layers: 'many' is not an integer"),
    ],
)
def test_bad_files_are_named(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "config.json"
    file.write_text(text)
    with pytest.raises(UsageError, match=r"config\.json") as caught:
        load_model(file)
    assert message in str(caught.value)
    with pytest.raises(UsageError, match="not found"):
        load_model(tmp_path / "absent")


@given(
    boxes=st.integers(1, 40), gpus=st.integers(0, 32), tp=st.integers(1, 70), pp=st.integers(1, 70),
    layers=st.integers(0, 100),
)  # fmt: skip
def test_the_picture_always_fits(boxes: int, gpus: int, tp: int, pp: int, layers: int) -> None:
    names = tuple(Box(f"a-rather-long-machine-name-{'x' * 60}-{i}", gpus) for i in range(boxes))
    lines = picture(ParallelTopology(names, GIB), tp, pp, layers)
    assert lines
    assert max(len(line) for line in lines) <= 76
    assert len(lines) < 60


def test_a_stage_over_two_machines_shows_all_its_gpus() -> None:
    boxes = (Box("a", 8), Box("b", 16))
    text = "\n".join(picture(ParallelTopology(boxes, GIB), 12, 2, 126))
    assert "stage 1  layers 1-63 (8 of 12) [G0][G1][G2][G3][G4][G5][G6][G7]" in text
    assert "stage 1  layers 1-63 (4 of 12) [G0][G1][G2][G3]" in text
    assert "TP all-reduce in every layer" in text


def test_the_picture_shows_every_gpu_and_stage() -> None:
    text = "\n".join(picture(ParallelTopology((Box("a", 8), Box("b", 8)), GIB), 4, 3, 80))
    for part in ("-- a --", "-- b --", "stage 1  layers 1-27", "stage 3  layers 55-80", "idle", ".G7."):
        assert part in text
    assert text.count("[G") == 12
    assert "2 GPUs missing" in picture(ParallelTopology((Box("a", 2),), GIB), 4, 1)[-1]
