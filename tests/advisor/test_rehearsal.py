"""The rehearsal: when it is worth it, and what vLLM said beside what the advisor had said."""

from __future__ import annotations

from typing import Any

import pytest

from wizard_steps.advisor import rehearsal
from wizard_steps.advisor.effect import REHEARSED, effect_of, shape_of
from wizard_steps.advisor.here import KnownMachines
from wizard_steps.advisor.overhead import GIB
from wizard_steps.advisor.plan import Box, ParallelTopology, Request, consider
from wizard_steps.advisor.rehearsed import Said
from wizard_steps.advisor.removed import last_release
from wizard_steps.advisor.shape import parse_config
from wizard_steps.advisor.sits import sits
from wizard_steps.cluster.values import Cluster, NodeEntry, Serve

LLAMA = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "num_hidden_layers": 80, "hidden_size": 8192,
    "num_attention_heads": 64, "num_key_value_heads": 8, "intermediate_size": 28672, "vocab_size": 128256,
    "max_position_embeddings": 8192, "torch_dtype": "bfloat16",
}  # fmt: skip


def cluster(gpus: int = 8, **serve: Any) -> Cluster:
    return Cluster(nodes=(NodeEntry(host="a", gpus=gpus, role="head"),), serve=Serve(**serve))


def facts(config: dict[str, Any] | None = LLAMA, **more: Any) -> dict[str, Any]:
    return {"machines": {"gpu_bytes": int(79.6 * GIB), "gpu_name": "H100", "config": config, **more}}


@pytest.mark.parametrize(
    ("serve", "seen", "says"),
    [
        ({"tensor_parallel": 8}, facts(None), "it is not known what fits"),
        ({"tensor_parallel": 8}, facts({**LLAMA, "model_type": "brand_new"}), "is not known (the model type"),
        ({"tensor_parallel": 8}, facts(), "the weights are not on the head yet"),
        ({"tensor_parallel": 8}, facts(weight_bytes=141 * 10**9), ""),
    ],
)
def test_when_it_is_worth_it(serve: dict[str, Any], seen: dict[str, Any], says: str) -> None:
    found = rehearsal.reason(cluster(**serve), seen)
    assert says in found
    assert bool(found) == bool(says)


def test_a_tight_answer_is_a_reason() -> None:
    seen = facts(weight_bytes=141 * 10**9)
    reasons = [
        rehearsal.reason(cluster(2, tensor_parallel=2, extra_flags=(f"--max-model-len={length}",)), seen)
        for length in range(512, 65536, 2048)
    ]
    assert reasons[0] == ""
    assert any(reason.startswith("it is tight") for reason in reasons)


def test_both_numbers_stand_side_by_side_and_a_miss_is_a_warning() -> None:
    it, seen = cluster(tensor_parallel=8), facts(weight_bytes=141 * 10**9)
    said = Said(weights=int(131.4 * GIB), tokens=1_300_000, workers=8, concurrency=158.7, per_request=8192)
    weights, cache, at_once = rehearsal.compare(it, seen, said)
    assert "131.40 GiB by vLLM; the advisor said 131.32 GiB (-0.1%)" in weights.found
    assert not weights.warning
    assert "1,300,000 tokens by vLLM" in cache.found
    assert at_once.found == "158.7 of 8,192 tokens each"
    far = next(iter(rehearsal.compare(it, seen, Said(weights=2 * 10**11, workers=8))))
    assert far.warning
    assert far.ok


def test_a_size_set_by_hand_is_not_compared() -> None:
    it = cluster(tensor_parallel=8, extra_flags=("--kv-cache-memory-bytes=67108864",))
    (cache,) = rehearsal.compare(it, facts(), Said(tokens=65_536))
    assert "sets its size" in cache.found
    assert not cache.warning


def test_what_was_measured_goes_before_the_estimate() -> None:
    it = cluster(tensor_parallel=8)
    said = rehearsal.fact(it, Said(weights=10**11, workers=8))
    seen = {**facts(weight_bytes=141 * 10**9), REHEARSED: said}
    shape, _ = shape_of(seen, it.serve.model)
    assert shape is not None
    assert shape.weight_bytes == 10**11
    assert "vLLM's own log, the rehearsal" in shape.weights_from
    assert effect_of(it, seen) != effect_of(it, facts(weight_bytes=141 * 10**9))
    other, _ = shape_of(seen, "another/model")
    assert other is not None
    assert other.weight_bytes != 10**11


@pytest.mark.parametrize(
    "fact",
    [
        None,
        3,
        {},
        {"model": "m", "weights": "x"},
        {"model": "m", "tokens": -1},
        {"model": "m", "weights": float("inf")},
    ],
)
def test_any_fact_is_read(fact: Any) -> None:
    assert effect_of(cluster(model="m"), {**facts(), REHEARSED: fact})


def test_the_form_says_what_the_advisor_says() -> None:
    shape = parse_config(LLAMA)
    boxes = (Box("a", 8),)
    for tp in (1, 2, 4, 8):
        grade = consider(shape, ParallelTopology(boxes, int(79.6 * GIB)), tp, 1).grade
        said = sits(boxes, tp, 1, KnownMachines(shape, shape.weight_bytes, "here")).grade
        assert (said == "good") == (grade in ("good", "works")), tp


def test_a_context_dealt_out_takes_less_of_each_gpu() -> None:
    shape, boxes = (
        parse_config({**LLAMA, "num_key_value_heads": 4}),
        ParallelTopology((Box("a", 8),), int(79.6 * GIB)),
    )
    plain = consider(shape, boxes, 8, 1, Request()).memory
    dealt = consider(shape, boxes, 8, 1, Request(context_parallel=2)).memory
    assert plain is not None
    assert dealt is not None
    assert dealt.tokens > 1.9 * plain.tokens


@pytest.mark.parametrize(
    ("heads", "kv", "context", "words"),
    [
        (32, 8, 2, "decode context parallel 2 needs TP greater than the 8 KV heads, and TP is 8"),
        (32, 4, 4, "decode context parallel 4: at most 2 with TP 8 and 4 KV heads"),
        (24, 2, 8, "at most 4 with TP 8 and 2 KV heads"),
        (24, 8, 1, ""),
        (32, 4, 2, ""),
    ],
)
def test_a_context_that_vllm_refuses_to_deal_out(heads: int, kv: int, context: int, words: str) -> None:
    """The words of vLLM 0.32 to 4 KV heads, TP 2: "requires --tensor-parallel-size to be greater than"."""
    shape = parse_config({**LLAMA, "num_attention_heads": heads, "num_key_value_heads": kv})
    split = consider(
        shape, ParallelTopology((Box("a", 8),), int(79.6 * GIB)), 8, 1, Request(context_parallel=context)
    )
    assert (words in split.headline) if words else split.grade != "no"


def test_a_removed_architecture_is_named_as_such() -> None:
    gone = {**LLAMA, "architectures": ["BambaForCausalLM"]}
    assert any("the last release with it is 0.23.0" in note for note in parse_config(gone).notes)
    assert not any("any more" in note for note in parse_config(LLAMA).notes)
    assert last_release("LlamaForCausalLM") == ""
