"""How much of a GPU a model takes. Formulas name their source in vLLM; overhead is an estimate."""

from __future__ import annotations

from msgspec import Struct

from wizard_steps.advisor.shape import ModelShape

GIB = 1 << 30

#: vLLM's default ``--gpu-memory-utilization``: the share of a GPU that one engine may use, for weights,
#: activations and KV cache together (``config/cache.py``).
UTILISATION = 0.92

#: Tokens in one KV cache block on NVIDIA GPUs (``config/cache.py``, DEFAULT_BLOCK_SIZE).
BLOCK = 16

#: Tokens of one forward pass for which vLLM profiles its peak memory on large GPUs
#: (``--max-num-batched-tokens``, ``engine/arg_utils.py``), and sequences whose logits are kept at once.
BATCHED_TOKENS, LOGIT_ROWS = 8192, 256


class Memory(Struct, frozen=True):
    """Bytes on the fullest GPU. ``budget`` is what vLLM may use; ``kv`` what is left for KV cache."""

    total: int
    budget: int
    weights: int
    overhead: int
    kv: int
    #: Bytes that one token takes on the GPU with the most layers.
    kv_per_token: int
    #: Tokens that fit all stages, in whole blocks.
    tokens: int


def stage_layers(layers: int, pp: int) -> list[int]:
    """Layers of each pipeline stage.

    Source: ``distributed/utils.py`` get_pp_indices: evenly; what remains goes to the stages before the
    last, from the back, since first and last also hold the embeddings.
    """
    stages = [layers // pp] * pp
    for i in range(2, layers % pp + 2):
        stages[-i] += 1
    return stages


def kv_heads_per_gpu(shape: ModelShape, tp: int) -> int:
    """Source: ``config/model.py`` get_num_kv_heads. With MLA every GPU keeps the one shared vector."""
    return 1 if shape.mla_dim else max(1, shape.kv_heads // tp)


def kv_bytes_per_token(shape: ModelShape, tp: int = 1, layers: int = 0, kv_dtype_bytes: float = 0) -> int:
    """Bytes of KV cache that one token takes on one GPU that holds ``layers`` attention layers (0: all).

    Source: ``v1/kv_cache_interface.py``: a page is 2 x block x kv_heads x head_size x dtype bytes per layer
    (keys and values); MLAAttentionSpec stores one vector of kv_lora_rank + qk_rope_head_dim instead.
    """
    layers = layers or shape.attention_layers or shape.layers
    size = kv_dtype_bytes or min(shape.dtype_bytes, 2.0)
    width = shape.mla_dim if shape.mla_dim else 2 * shape.head_dim * kv_heads_per_gpu(shape, tp)
    return int(layers * width * size)


def kv_tokens(free_bytes: int, bytes_per_token: int, block: int = BLOCK) -> int:
    """Tokens in the whole blocks that fit. Source: ``v1/core/kv_cache_utils.py`` get_num_blocks."""
    if free_bytes <= 0 or bytes_per_token <= 0:
        return 0
    return free_bytes // (bytes_per_token * block) * block


def stage_weights(shape: ModelShape, tp: int, pp: int) -> list[int]:
    """Bytes of weights on one GPU of each stage: its layers, and the embeddings at both ends.

    TP cuts every large matrix into ``tp`` equal parts. When ``tp`` exceeds the KV heads, the key and value
    projections are repeated (``model_executor/layers/linear.py`` QKVParallelLinear, num_kv_head_replicas).
    """
    embedding = int(shape.vocab * shape.hidden * shape.dtype_bytes)
    ends = embedding if shape.tied else 2 * embedding
    body = max(0, shape.weight_bytes - ends)
    per_layer = body / shape.layers
    repeats = max(0, tp - shape.kv_heads) if not shape.mla_dim else 0
    extra = repeats * 2 * shape.hidden * shape.head_dim * shape.dtype_bytes
    stages = []
    for i, layers in enumerate(stage_layers(shape.layers, pp)):
        held = layers * (per_layer + extra)
        if i == 0:
            held += embedding
        if i == pp - 1 and not (shape.tied and pp == 1):
            held += embedding
        stages.append(int(held / tp))
    return stages


def overhead(shape: ModelShape, tp: int, pp: int) -> int:
    """An estimate of what is neither weights nor KV cache, in bytes.

    CUDA context 0.3 GiB and CUDA graphs 0.3 GiB; NCCL buffers 0.5 GiB when GPUs work together; activations
    of a profiling pass (hidden states and a gated MLP, 8,192 tokens) and the logits of 256 sequences.
    vLLM measures this at start (``v1/worker/gpu_worker.py`` determine_available_memory); on one H100 a
    tiny model took 0.37 GiB where this says 0.64, so it errs towards caution.
    """
    fixed = 0.6 * GIB + (0.5 * GIB if tp * pp > 1 else 0)
    wide = max(shape.expert_intermediate * max(1, shape.experts_per_token), shape.intermediate)
    activations = BATCHED_TOKENS * (4 * shape.hidden + 2 * wide / tp) * 2
    logits = LOGIT_ROWS * shape.vocab * 4 * 2
    return int(fixed + activations + logits)


def fit(
    shape: ModelShape,
    tp: int,
    pp: int,
    gpu_bytes: int,
    utilisation: float = UTILISATION,
    kv_dtype_bytes: float = 0,
) -> Memory:
    """The memory of the fullest GPU, and the KV tokens of the stage that has least room for them.

    ``utilisation`` counts from the GPU's whole memory (``v1/worker/utils.py`` request_memory).
    """
    budget = int(gpu_bytes * utilisation)
    extra = overhead(shape, tp, pp)
    weights = stage_weights(shape, tp, pp)
    share = (shape.attention_layers or shape.layers) / shape.layers
    per_token = [
        kv_bytes_per_token(shape, tp, max(1, round(n * share)), kv_dtype_bytes)
        for n in stage_layers(shape.layers, pp)
    ]
    tokens = [kv_tokens(budget - extra - held, each) for held, each in zip(weights, per_token, strict=True)]
    return Memory(
        total=gpu_bytes,
        budget=budget,
        weights=max(weights),
        overhead=extra,
        kv=max(0, budget - extra - max(weights)),
        kv_per_token=max(per_token),
        tokens=min(tokens),
    )
