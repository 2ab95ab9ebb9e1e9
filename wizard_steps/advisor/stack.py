"""A decoder as a list of layers, each with its own shape: what it keeps per token and what it weighs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from msgspec import Struct

from wizard_steps.advisor import blocks
from wizard_steps.advisor.blocks import LayerPart, RecurrentState
from wizard_steps.advisor.config import Config, UnknownArchitecture

#: full: its KV cache grows with every token; sliding: it is capped at a window; state: a fixed size for a
#: request; none: the layer has no attention.
Keeps = Literal["full", "sliding", "state", "none"]


class Layer(Struct, frozen=True):
    """One layer. Sizes in elements of the KV cache's type, except ``index_bytes``.

    ``latent`` is what MLA keeps for a token instead of keys and values, the same on every GPU.
    """

    keeps: Keeps
    parts: tuple[LayerPart, ...]
    kv_heads: int = 0
    k_dim: int = 0
    v_dim: int = 0
    latent: int = 0
    index_bytes: int = 0
    #: Bytes of ``latent`` with its scales in an FP8 cache, where that is more than a byte an element.
    packed: int = 0
    window: int = 0
    state: RecurrentState | None = None


class Stack(Struct, frozen=True):
    """The layers in order, and what lies outside of them: embeddings, output head, towers."""

    layers: tuple[Layer, ...]
    outside: tuple[LayerPart, ...]
    tied: bool
    notes: tuple[str, ...] = ()
    #: What TP must divide besides the attention heads of the config and what the states say.
    cuts: tuple[tuple[str, int], ...] = ()


class Family(Struct, frozen=True):
    """How one ``model_type`` differs from a Llama.

    ``pattern``: what stands between two full-attention layers ("sliding" or "state"), and the field (or
    number) that says how far they are apart, read only where the config lists no ``layer_types``.
    ``state``: the block of layers that are neither. ``build`` replaces everything.
    """

    gated: bool = True
    mla: bool = False
    moe: bool = False
    pattern: str = ""
    every: tuple[str | int, ...] = ()
    state: str = ""
    gate: bool = False
    attention_free: bool = False
    build: Callable[[Config], Stack] | None = None


#: The words that configs use for the kind of a layer.
_WORDS: dict[str, str] = {
    "full_attention": "full", "attention": "full", "full": "full", "global": "full", "hybrid": "both",
    "indexed_attention": "full", "deepseek_sparse_attention": "full", "chunked_attention": "full",
    "sliding_attention": "sliding",
    "linear_attention": "state", "mamba": "state", "mamba2": "state", "recurrent": "state", "conv": "state",
    "short_conv": "state", "kda": "state", "gdn": "state",
}  # fmt: skip


def decoder(c: Config, family: Family) -> Stack:
    """The stack of a config whose layers are attention (or a state) followed by an MLP or experts."""
    hidden, count = c.need("hidden_size", "n_embd", "n_embed", "d_model", "dim"), depth(c)
    kinds = layer_kinds(c, family, count)
    sparse = sparse_layers(c, count) if family.moe else [False] * count
    layers = []
    for i, kind in enumerate(kinds):
        ffn = tuple(feed_forward(c, family, hidden, sparse[i]))
        layers.append(_layer(c, family, hidden, kind, i, ffn))
    cuts = tuple(("attention heads of some layers", one) for one in sorted(set(_own_heads(c))))
    return Stack(tuple(layers), embeddings(c, hidden), tied(c), cuts=cuts)


def _own_heads(c: Config) -> list[int]:
    return c.numbers("num_attention_heads_per_layer")


def depth(c: Config) -> int:
    return c.need("num_hidden_layers", "n_layer", "num_layers", "n_layers")


def heads_of(c: Config) -> tuple[int, int, int]:
    """Attention heads, KV heads and head size."""
    heads = c.need("num_attention_heads", "n_head", "n_heads", "num_heads")
    kv = c.whole("num_key_value_heads", "num_kv_heads", "n_head_kv", "num_attention_groups", "kv_n_heads")
    dim = c.whole("head_dim", "hidden_size_per_head", "kv_channels")
    return heads, kv or heads, dim or c.need("hidden_size", "n_embd", "n_embed", "d_model") // heads


def tied(c: Config) -> bool:
    return c.flag("tie_word_embeddings", False)


def embeddings(c: Config, hidden: int) -> tuple[LayerPart, ...]:
    table = c.need("padded_vocab_size", "vocab_size") * hidden
    head = () if tied(c) else (LayerPart("lm_head", table),)
    return (LayerPart("embed_tokens", table, "embedding"), *head)


def layer_kinds(c: Config, family: Family, count: int) -> list[str]:
    """One word a layer. UnknownArchitecture where the config uses a word that is not known here."""
    listed = c.words("layer_types") or c.words("layers_block_type") or c.words("block_types")
    if listed:
        if len(listed) < count or not set(listed) <= set(_WORDS):
            odd = sorted(set(listed) - set(_WORDS))
            raise UnknownArchitecture(f"layer_types has {odd[0] if odd else len(listed)!r}")
        kinds = [_WORDS[word] for word in listed[:count]]
    elif family.pattern:
        kinds = _patterned(c, family, count)
    else:
        window = c.whole("sliding_window") if c.get("use_sliding_window") is not False else 0
        kinds = ["sliding" if window else "full"] * count
    if "state" in kinds and not family.state:
        raise UnknownArchitecture("it has layers that keep a state, which this model type had not")
    return kinds


def _patterned(c: Config, family: Family, count: int) -> list[str]:
    for one in family.every:
        text = c.get(one) if isinstance(one, str) else None
        if isinstance(text, str) and text and set(text) <= set("LG"):
            return ["full" if text[i % len(text)] == "G" else "sliding" for i in range(count)]
        step = one if isinstance(one, int) else c.whole(one)
        if step:
            return ["full" if (i + 1) % step == 0 else family.pattern for i in range(count)]
    return ["full"] * count


def sparse_layers(c: Config, count: int) -> list[bool]:
    """Which layers have routed experts, by whichever fields this config uses to say so."""
    if not expert_count(c):
        return [False] * count
    if words := c.words("mlp_layer_types"):
        return [word != "dense" for word in words[:count]] + [True] * (count - len(words))
    for name in ("moe_layer_freq", "is_moe_layer"):
        if isinstance(listed := c.own.get(name), list) and len(listed) >= count:
            return [bool(one) for one in listed[:count]]
    if (text := c.own.get("moe_layers_enum")) and isinstance(text, str):
        chosen = {int(one) for one in text.split(",") if one.strip().isdigit()}
        return [i in chosen for i in range(count)]
    if chosen := set(c.numbers("moe_layers")):
        return [i in chosen for i in range(count)]
    dense = set(c.numbers("mlp_only_layers"))
    first = c.whole("first_k_dense_replace", "num_dense_layers", "moe_layer_num_skipped")
    start, end = c.whole("moe_layer_start_index"), c.whole("moe_layer_end_index") or count - 1
    step = c.whole("decoder_sparse_step", "interleave_moe_layer_step", "expert_layer_period",
                   "moe_layer_interval", "moe_layer_freq") or 1  # fmt: skip
    offset = c.whole("expert_layer_offset") if c.whole("expert_layer_period") else step - 1
    if c.whole("moe_layer_freq") == step > 1:
        offset = 0
    low = max(first, start)
    return [i not in dense and low <= i <= end and i % step == offset % step for i in range(count)]


def expert_count(c: Config) -> int:
    return c.whole("n_routed_experts", "num_local_experts", "num_experts", "moe_num_experts")


def feed_forward(c: Config, family: Family, hidden: int, sparse: bool) -> list[LayerPart]:
    width = c.whole("intermediate_size", "n_inner", "ffn_dim", "ffn_hidden_size") or 4 * hidden
    if not sparse:
        dense = c.whole("intermediate_size_mlp", "dense_intermediate_size")
        shared = c.whole("shared_intermediate_size") if "num_local_experts" in c.own else 0
        return blocks.mlp(
            hidden, dense or (shared if family.moe and not expert_count(c) else 0) or width, family.gated
        )
    narrow = c.whole("moe_intermediate_size", "expert_ffn_hidden_size", "expert_hidden_dim") or width
    parts = blocks.experts(hidden, narrow, expert_count(c), family.gated, c.whole("moe_latent_size"))
    if shared := shared_width(c, narrow):
        parts += blocks.mlp(hidden, shared, family.gated, "mlp.shared_experts")
    return parts


def shared_width(c: Config, narrow: int) -> int:
    """Of all shared experts together; 0 without."""
    count = c.whole("n_shared_experts", "num_shared_experts", "num_shared_expert", "moe_num_shared_experts")
    each = c.whole("shared_expert_intermediate_size", "moe_shared_expert_intermediate_size",
                   "shared_experts_intermediate_size", "share_expert_dim")  # fmt: skip
    if each:
        return each * max(1, count)
    return count * narrow or c.whole("shared_intermediate_size")


def _layer(c: Config, family: Family, hidden: int, kind: str, i: int, ffn: tuple[LayerPart, ...]) -> Layer:
    if family.attention_free:
        ffn = ()
    if kind == "state":
        mixer, kept = state_block(c, family, hidden)
        return Layer("state", (*mixer, *ffn), state=kept)
    heads, kv, dim = heads_of(c)
    if listed := _own_heads(c):
        if len(listed) <= i:
            raise UnknownArchitecture("num_attention_heads_per_layer is shorter than the model")
        heads = listed[i]
    if kind == "full" and family.mla:
        return latent_layer(c, hidden, heads, i, ffn)
    v_dim = c.whole("v_head_dim") or dim
    gate = family.gate and c.get("attn_output_gate") is not False
    parts = blocks.attention(hidden, heads, kv, dim, v_dim, gate)
    window = c.whole("sliding_window", "sliding_window_size") if kind == "sliding" else 0
    state: RecurrentState | None = None
    if kind == "both" or family.state == "beside":
        more, state = blocks.mamba2(c, hidden)
        parts += more
    keeps: Keeps = "sliding" if kind == "sliding" else "full"
    return Layer(keeps, (*parts, *ffn), kv, dim, v_dim, window=window, state=state)


def latent_layer(c: Config, hidden: int, heads: int, i: int, ffn: tuple[LayerPart, ...]) -> Layer:
    """MLA as vLLM keeps it (``v1/kv_cache_interface.py`` MLAAttentionSpec): one vector a token.

    DeepSeek's indexer keeps its keys as FP8 with a 4-byte scale for 128 of them. Sparse attention has an
    FP8 layout of its own, fp8_ds_mla: 656 bytes, with scales and the rotary part in 16 bit. FlashMLA
    (Hopper) needs it; with FlashInfer on data centre Blackwell it is a byte an element.
    """
    if not c.whole("kv_lora_rank") or c.get("use_mla") is False:
        raise UnknownArchitecture("it does not use MLA, which its model type has")
    parts = blocks.latent_attention(c, hidden, heads)
    kinds, dim = c.words("indexer_types"), c.whole("index_head_dim")
    if not dim or (i < len(kinds) and kinds[i] != "full"):
        dim = 0
    else:
        parts += blocks.indexer(c, hidden)
    rank, rope = c.whole("kv_lora_rank"), c.whole("qk_rope_head_dim")
    packed = rank + 4 * (rank // 128) + 2 * rope if c.whole("index_head_dim") else 0
    indexed = dim + 4 * (dim // 128)
    return Layer("full", (*parts, *ffn), 1, latent=rank + rope, index_bytes=indexed, packed=packed)


def state_block(c: Config, family: Family, hidden: int) -> tuple[list[LayerPart], RecurrentState]:
    if family.state == "lightning":
        heads, _, dim = heads_of(c)
        return blocks.lightning(hidden, heads, dim)
    makers = {
        "delta": blocks.delta_net,
        "kda": blocks.delta_attention,
        "mamba1": blocks.mamba1,
        "mamba2": blocks.mamba2,
        "conv": blocks.short_conv,
    }
    return makers[family.state](c, hidden)
