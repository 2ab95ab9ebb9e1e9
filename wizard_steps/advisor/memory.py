"""How much of a GPU a model takes, and how many requests fit next to it; formulas name their source."""

from __future__ import annotations

import math
from collections.abc import Sequence

from msgspec import Struct
from msgspec.structs import replace

from wizard_steps.advisor.model import Held, ModelShape, token_bytes
from wizard_steps.advisor.overhead import GIB, Card, card, overhead

__all__ = ["GIB", "USABLE", "UTILISATION", "Memory", "fit", "kv_bytes_per_token", "kv_tokens", "stage_layers"]

#: vLLM's default ``--gpu-memory-utilization``: the share of a GPU that one engine may use, for weights,
#: activations and KV cache together (``config/cache.py``).
UTILISATION = 0.92

#: Tokens in one KV cache block on NVIDIA GPUs (``config/cache.py``, DEFAULT_BLOCK_SIZE).
BLOCK = 16

#: Share of the memory that nvidia-smi names which CUDA has: the rest is the driver's (79.18 of 79.65 GiB).
USABLE = 0.994


class Memory(Struct, frozen=True):
    """Bytes on the fullest GPU. ``budget`` is what vLLM may use; ``kv`` what is likely left for KV cache.

    ``*_low`` and ``*_high`` are the ends of a range: what is there at least and at most.
    """

    total: int
    budget: int
    weights: int
    overhead: int
    kv: int
    #: Bytes that one more token of a request takes on the GPU with the most of them.
    kv_per_token: int
    #: The longest request that fits all stages alone, in tokens of whole blocks.
    tokens: int
    weights_low: int = 0
    weights_high: int = 0
    overhead_low: int = 0
    overhead_high: int = 0
    kv_low: int = 0
    kv_high: int = 0
    tokens_low: int = 0
    tokens_high: int = 0
    #: Requests of the wanted length at once.
    requests: float = 0.0
    requests_low: float = 0.0
    requests_high: float = 0.0


class _Cache(Struct, frozen=True):
    """What a request takes in one stage: ``grow`` bytes a token, ``capped`` (window, bytes a token) and
    ``fixed`` bytes. Tokens come in whole blocks of ``block``."""

    grow: float
    capped: tuple[tuple[int, float], ...]
    fixed: float
    block: int = BLOCK

    @property
    def per_token(self) -> float:
        """Where every layer slides, what a token takes as long as it is in the window."""
        return self.grow or sum(each for _, each in self.capped)

    def request(self, tokens: int, batched: int) -> float:
        """Sliding layers hold their window and the tokens in flight (``v1/core/kv_cache_planning.py``,
        SlidingWindowSpec.max_memory_usage_bytes)."""
        tokens = -(-tokens // self.block) * self.block
        near = sum(min(tokens, window - 1 + batched) * each for window, each in self.capped)
        return tokens * self.grow + near + self.fixed


def stage_layers(layers: int, pp: int) -> list[int]:
    """Layers of each pipeline stage.

    Source: ``distributed/utils.py`` get_pp_indices: evenly; what remains goes to the stages before the
    last, from the back, since first and last also hold the embeddings.
    """
    stages = [layers // pp] * pp
    for i in range(2, layers % pp + 2):
        stages[-i] += 1
    return stages


def stages_of(shape: ModelShape, pp: int) -> list[Sequence[Held]]:
    """The layers of each stage in order; layers of an unknown model stand as nothing known."""
    start = 0
    found: list[Sequence[Held]] = []
    for count in stage_layers(shape.layers, pp):
        found.append(shape.held[start : start + count])
        start += count
    return found


def kv_size(shape: ModelShape, kv_dtype_bytes: float = 0) -> float:
    """Bytes of an element: as asked, else as the checkpoint sets it, else as the weights' type."""
    return kv_dtype_bytes or shape.kv_dtype_bytes or min(shape.dtype_bytes, 2.0)


def kv_bytes_per_token(shape: ModelShape, tp: int = 1, layers: int = 0, kv_dtype_bytes: float = 0) -> int:
    """Bytes that one more token takes on one GPU with the first ``layers`` layers (0: all).

    Source: ``v1/kv_cache_interface.py``: 2 x kv_heads x head_size x dtype bytes per layer (keys and values);
    MLAAttentionSpec stores one vector of kv_lora_rank + qk_rope_head_dim instead.
    """
    held = shape.held[: layers or None]
    return int(_cache(held, tp, kv_size(shape, kv_dtype_bytes)).per_token)


def kv_tokens(free_bytes: int, bytes_per_token: int, block: int = BLOCK) -> int:
    """Tokens in the whole blocks that fit. Source: ``v1/core/kv_cache_utils.py`` get_num_blocks."""
    if free_bytes <= 0 or bytes_per_token <= 0:
        return 0
    return free_bytes // (bytes_per_token * block) * block


def _caches(shape: ModelShape, tp: int, pp: int, size: float) -> list[_Cache]:
    """Of each stage. Of a model whose layers are not known, its KV bytes per token are dealt out evenly."""
    if shape.held:
        return [_cache(held, tp, size) for held in stages_of(shape, pp)]
    each = shape.kv_bytes_per_token / shape.layers / min(tp, shape.kv_heads)
    return [_Cache(each * count, (), 0.0) for count in stage_layers(shape.layers, pp)]


def _cache(held: Sequence[Held], tp: int, size: float) -> _Cache:
    """Of the layers of one stage. Layers are put in groups of one size (``kv_cache_planning.py``
    _get_kv_cache_groups_uniform_page_size), so that sliding ones are rounded up to whole groups."""
    full = [one for one in held if one.keeps == "full"]
    sliding = [one for one in held if one.keeps == "sliding"]
    states = [one for one in held if one.state]
    grow = sum(token_bytes(one, tp, size) for one in full)
    group = min((len(part) for part in (full, sliding, states) if part), default=1)
    padded = -(-len(sliding) // group) * group / len(sliding) if sliding else 1.0
    capped = tuple((one.window, token_bytes(one, tp, size) * padded) for one in sliding)
    if not (grow and states):
        return _Cache(grow, capped, sum(one.state for one in states) / tp)
    block, page = _page(
        max(token_bytes(one, tp, size) for one in full), max(one.state for one in states) / tp
    )
    return _Cache(grow, capped, -(-len(states) // group) * group * page, block)


def _page(token: float, state: float) -> tuple[int, float]:
    """Tokens and bytes of a block of a hybrid: it is made so large that the state of a layer fits a page of
    attention, and a state takes a whole page (``platforms/interface.py`` _align_hybrid_block_size)."""
    block = BLOCK * max(1, math.ceil(state / (BLOCK * token)))
    return block, block * token


def stage_weights(shape: ModelShape, tp: int, pp: int) -> list[int]:
    """Bytes of weights on one GPU of each stage: its layers, and the embeddings at both ends.

    TP cuts every large matrix into ``tp`` equal parts. When ``tp`` exceeds the KV heads, the key and value
    projections are repeated (``model_executor/layers/linear.py`` QKVParallelLinear, num_kv_head_replicas).
    Where the files told another total than the config, the layers are scaled to it.
    """
    stages, known = stages_of(shape, pp), bool(shape.held)
    inner = sum(one.weights for one in shape.held)
    ends = shape.embedding_bytes + shape.head_bytes if known else 0
    body = max(0, shape.weight_bytes - ends)
    scale = body / inner if inner else 0.0
    repeats = max(0, tp - shape.kv_heads) if not shape.mla_dim else 0
    extra = repeats * 2 * shape.hidden * shape.head_dim * shape.dtype_bytes
    found = []
    for i, (held, count) in enumerate(zip(stages, stage_layers(shape.layers, pp), strict=True)):
        size = sum(one.weights for one in held) * scale if known else body * count / shape.layers
        size += extra * sum(one.kv_heads > 0 for one in held)
        if i == 0:
            size += shape.embedding_bytes
        if i == pp - 1:
            size += shape.head_bytes
            if shape.tied and pp > 1:
                size += shape.embedding_bytes
        found.append(int(size / tp))
    return found


def fit(
    shape: ModelShape,
    tp: int,
    pp: int,
    gpu_bytes: int,
    utilisation: float = UTILISATION,
    kv_dtype_bytes: float = 0,
    *,
    max_len: int = 0,
    of: Card | None = None,
    context_parallel: int = 1,
) -> Memory:
    """The memory of the fullest GPU, and what the stage with least room for it holds.

    ``utilisation`` counts from the GPU's whole memory (``v1/worker/utils.py`` request_memory).
    ``context_parallel``: GPUs of a TP group over which the tokens of a request are dealt out.
    """
    of = of or card(gpu_bytes)
    budget = int(gpu_bytes * USABLE * utilisation)
    extra = overhead(shape, tp, pp, of)
    weights = stage_weights(shape, tp, pp)
    size = kv_size(shape, kv_dtype_bytes)
    caches = [replace(one, grow=one.grow / context_parallel) for one in _caches(shape, tp, pp, size)]
    off = shape.weights_off
    ends = []
    for load, out in ((1 + off, extra.high), (1.0, extra.likely), (1 - off, extra.low)):
        left = [int(budget - out - one * load) for one in weights]
        ends.append((max(0, min(left)), *_held_at_once(caches, left, max_len, of.batched_tokens)))
    low, likely, high = ends
    most = max(weights)
    return Memory(
        total=gpu_bytes,
        budget=budget,
        weights=most,
        overhead=extra.likely,
        kv=likely[0],
        kv_per_token=int(max(one.per_token for one in caches)),
        tokens=likely[1],
        weights_low=int(most * (1 - off)),
        weights_high=int(most * (1 + off)),
        overhead_low=extra.low,
        overhead_high=extra.high,
        kv_low=low[0],
        kv_high=high[0],
        tokens_low=low[1],
        tokens_high=high[1],
        requests=likely[2],
        requests_low=low[2],
        requests_high=high[2],
    )


def _held_at_once(caches: list[_Cache], left: list[int], max_len: int, batched: int) -> tuple[int, float]:
    """(longest request alone, requests of ``max_len`` at once): of the stage that holds least."""
    tokens = min(_longest(one, room, batched) for one, room in zip(caches, left, strict=True))
    if not max_len:
        return tokens, 0.0
    each = [one.request(max_len, batched) for one in caches]
    counts = [room / one for room, one in zip(left, each, strict=True) if one > 0]
    return tokens, max(0.0, min(counts, default=float(_MANY)))


#: Stands for "as many as one likes": a stage without any KV cache.
_MANY = 1 << 30


def _longest(cache: _Cache, room: int, batched: int) -> int:
    """The longest request that fits; 0 where not even a block does."""
    if room <= 0:
        return 0
    if not cache.grow:
        # All capped: once the windows fit, any length does.
        full = cache.request(_MANY, batched)
        return _MANY if room >= full else 0 if not cache.capped else _within(cache, room, batched)
    return _within(cache, room, batched)


def _within(cache: _Cache, room: int, batched: int) -> int:
    low, high = 0, _MANY  # by halving: a request's size grows with its length
    while low + BLOCK <= high:
        middle = (low + high + BLOCK) // 2 // BLOCK * BLOCK
        if cache.request(middle, batched) <= room:
            low = middle
        else:
            high = middle - BLOCK
    return low
