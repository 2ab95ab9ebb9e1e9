"""Model types whose layers are not all made alike: each built as vLLM's model file builds it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from msgspec.structs import replace

from wizard_steps.advisor import blocks
from wizard_steps.advisor.blocks import LayerPart
from wizard_steps.advisor.config import Config, UnknownArchitecture
from wizard_steps.advisor.stack import (
    Family,
    Layer,
    Stack,
    depth,
    embeddings,
    expert_count,
    feed_forward,
    heads_of,
    layer_kinds,
    sparse_layers,
    tied,
)


def nemotron_h(c: Config) -> Stack:
    """``nemotron_h.py``: a layer is one block: Mamba 2 (M), attention (*), experts (E) or an MLP (-).

    Checkpoints call it ``mixer``, whatever it is. Its states are float32 unless the config says otherwise.
    """
    hidden, family = c.need("hidden_size"), Family(gated=False, moe=True)
    pattern = c.get("hybrid_override_pattern")
    words = {
        "linear_attention": "M",
        "mamba": "M",
        "full_attention": "*",
        "attention": "*",
        "moe": "E",
        "mlp": "-",
    }
    if not isinstance(pattern, str):
        pattern = "".join(words.get(word, "?") for word in c.words("layers_block_type"))
    if not pattern or set(pattern) - set("M*E-"):
        raise UnknownArchitecture("hybrid_override_pattern has letters that are not known")
    heads, kv, dim = heads_of(c)
    layers = []
    for letter in pattern:
        if letter == "M":
            parts, state = blocks.mamba2(c, hidden)
            state = replace(state, wide=blocks.state_bytes(c, "mamba_ssm_cache_dtype", "float32"))
            layers.append(Layer("state", _called("mixer", parts), state=state))
        elif letter == "*":
            parts = blocks.attention(hidden, heads, kv, dim, dim)
            layers.append(Layer("full", _called("mixer", parts), kv, dim, dim))
        else:
            parts = feed_forward(c, family, hidden, letter == "E")
            layers.append(Layer("none", _called("mixer", parts)))
    return Stack(tuple(layers), embeddings(c, hidden), tied(c))


def _called(name: str, parts: Iterable[LayerPart]) -> tuple[LayerPart, ...]:
    """The same parts under another first name; without one where ``name`` is ""."""
    return tuple(replace(one, name=f"{name}.{one.name.partition('.')[2]}".lstrip(".")) for one in parts)


def nemotron_nas(c: Config) -> Stack:
    """``nemotron_nas.py``: ``block_configs`` says of each layer what it has."""
    hidden = c.need("hidden_size")
    heads = c.need("num_attention_heads")
    dim = c.whole("head_dim") or hidden // heads
    listed = c.own.get("block_configs")
    if not isinstance(listed, list) or not listed:
        raise UnknownArchitecture("it has no block_configs")
    layers = []
    for one in listed:
        attention, ffn = _inner(one, "attention"), _inner(one, "ffn")
        parts: list[LayerPart] = []
        kv = 0
        if not attention.flag("no_op"):
            if attention.flag("replace_with_linear") or ffn.flag("replace_with_linear"):
                raise UnknownArchitecture("block_configs replaces attention by a linear layer")
            kv = attention.whole("num_key_value_heads") or heads // attention.need("n_heads_in_group")
            parts += blocks.attention(hidden, heads, kv, dim, dim)
        if not ffn.flag("no_op"):
            width = ffn.whole("intermediate_size") or rounded(2 * ffn.real("ffn_mult", 0) * hidden / 3)
            parts += blocks.mlp(hidden, width, True)
        layers.append(Layer("full" if kv else "none", tuple(parts), kv, dim if kv else 0, dim if kv else 0))
    return Stack(tuple(layers), embeddings(c, hidden), tied(c))


def _inner(block: Any, name: str) -> Config:
    inner = block.get(name) if isinstance(block, Mapping) else None
    return Config(inner if isinstance(inner, Mapping) else {}, {}, f"block_configs.{name}")


def rounded(width: float, multiple: int = 256) -> int:
    return -(-int(width) // multiple) * multiple


def mimo_v2(c: Config) -> Stack:
    """``mimo_v2.py``: sliding layers (1 in ``hybrid_layer_pattern``) have heads of their own."""
    hidden, count, family = c.need("hidden_size"), depth(c), Family(moe=True)
    pattern = c.numbers("hybrid_layer_pattern")
    kinds = ["sliding" if one else "full" for one in pattern] or layer_kinds(c, family, count)
    if len(kinds) < count:
        raise UnknownArchitecture("hybrid_layer_pattern is shorter than the model")
    sparse = sparse_layers(c, count)
    heads, kv, dim = heads_of(c)
    layers = []
    for i in range(count):
        slides = kinds[i] == "sliding"
        own = (
            c.whole("swa_num_attention_heads"),
            c.whole("swa_num_key_value_heads"),
            c.whole("swa_head_dim"),
        )
        h, k, d = (
            (mine or plain for mine, plain in zip(own, (heads, kv, dim), strict=True))
            if slides
            else (heads, kv, dim)
        )
        v = (c.whole("swa_v_head_dim") if slides else 0) or c.whole("v_head_dim") or d
        parts = blocks.attention(hidden, h, k, d, v) + feed_forward(c, family, hidden, sparse[i])
        window = c.whole("sliding_window_size", "sliding_window") if slides else 0
        layers.append(Layer("sliding" if slides else "full", tuple(parts), k, d, v, window=window))
    cuts = _sliding_heads(c.whole("swa_num_attention_heads"))
    return Stack(tuple(layers), embeddings(c, hidden), tied(c), cuts=cuts)


def gemma(c: Config) -> Stack:
    """``gemma3n.py``, ``gemma4.py``: global layers with heads of their own, layers that share the KV cache of
    an earlier one (the last ``num_kv_shared_layers``), and embeddings for each layer."""
    hidden, count = c.need("hidden_size"), depth(c)
    family = Family(pattern="sliding", every=("sliding_window_pattern", "_sliding_window_pattern", 5))
    if c.get("model_type") != "gemma3n_text":
        family = Family(pattern="sliding", every=("sliding_window_pattern", "_sliding_window_pattern", 6))
    kinds = layer_kinds(c, family, count)
    if not c.words("layer_types"):
        kinds[-1] = "full"
    heads, kv, dim = heads_of(c)
    # A config may list one width for each layer; zeros do not occur.
    width, own = c.need("intermediate_size"), count - c.whole("num_kv_shared_layers")
    layers = []
    for i, kind in enumerate(kinds):
        k, d = kv, dim
        if kind == "full" and c.whole("global_head_dim"):
            d = c.whole("global_head_dim")
            k = c.whole("num_global_key_value_heads") or kv
        twice = 2 if c.flag("use_double_wide_mlp") and i >= own else 1
        parts = blocks.attention(hidden, heads, k, d, d)
        if kind == "full" and c.flag("attention_k_eq_v"):
            parts = [part for part in parts if not part.name.endswith("v_proj")]
        if i >= own:
            parts = [part for part in parts if part.name[-6:] not in ("k_proj", "v_proj")]
        parts += blocks.mlp(hidden, width * twice, True)
        if c.flag("enable_moe_block") and expert_count(c):
            narrow = c.need("moe_intermediate_size", "expert_intermediate_size")
            # They lie beside the dense MLP, not in it.
            parts += _called("", blocks.experts(hidden, narrow, expert_count(c), True))
        parts += _per_layer(c, hidden)
        keeps = "none" if i >= own else "sliding" if kind == "sliding" else "full"
        window = c.whole("sliding_window") if kind == "sliding" else 0
        layers.append(
            Layer(keeps, tuple(parts), *((k, d, d) if i < own else (0, 0, 0)), window=window)  # type: ignore[arg-type]
        )
    outside = [*embeddings(c, hidden)]
    if inner := c.whole("hidden_size_per_layer_input"):
        table = c.whole("vocab_size_per_layer_input") or c.need("vocab_size")
        outside += [
            LayerPart("embed_tokens_per_layer", table * inner * count, "embedding"),
            LayerPart("per_layer_model_projection", hidden * inner * count),
        ]
    if altup := c.whole("altup_num_inputs"):
        outside.append(LayerPart("altup_projections", 2 * (altup - 1) * hidden * hidden))
    return Stack(tuple(layers), tuple(outside), tied(c))


def _per_layer(c: Config, hidden: int) -> list[LayerPart]:
    parts = []
    if inner := c.whole("hidden_size_per_layer_input"):
        parts.append(LayerPart("per_layer_input", 2 * hidden * inner))
    if rank := c.whole("laurel_rank"):
        parts.append(LayerPart("laurel", 2 * hidden * rank))
    return parts


def step3p5(c: Config) -> Stack:
    """``step3p5.py``: sliding layers have other head counts (``attention_other_setting``)."""
    hidden, count, family = c.need("hidden_size"), depth(c), Family(moe=True)
    kinds, sparse = layer_kinds(c, family, count), sparse_layers(c, count)
    other = Config(c.part("attention_other_setting"), {}, c.where)
    heads, kv, dim = heads_of(c)
    layers = []
    for i, kind in enumerate(kinds):
        h, k, d = heads, kv, dim
        if kind == "sliding":
            h = other.whole("num_attention_heads") or c.whole("num_sliding_attention_heads") or heads
            k = other.whole("num_attention_groups") or c.whole("num_sliding_attention_groups") or kv
            d = other.whole("head_dim") or dim
        parts = blocks.attention(hidden, h, k, d, d) + feed_forward(c, family, hidden, sparse[i])
        window = c.whole("sliding_window") if kind == "sliding" else 0
        layers.append(Layer("sliding" if kind == "sliding" else "full", tuple(parts), k, d, d, window=window))
    own = other.whole("num_attention_heads") or c.whole("num_sliding_attention_heads")
    return Stack(tuple(layers), embeddings(c, hidden), tied(c), cuts=_sliding_heads(own))


def _sliding_heads(heads: int) -> tuple[tuple[str, int], ...]:
    return (("attention heads of sliding layers", heads),) if heads else ()


def longcat_flash(c: Config) -> Stack:
    """``longcat_flash.py``: each layer has two MLA attentions and two MLPs beside the experts."""
    hidden, family = c.need("hidden_size"), Family(mla=True, moe=True)
    heads = c.need("num_attention_heads")
    width = c.need("ffn_hidden_size", "intermediate_size")
    latent = c.need("kv_lora_rank") + c.whole("qk_rope_head_dim")
    parts = [*blocks.latent_attention(c, hidden, heads) * 2, *blocks.mlp(hidden, width, True) * 2]
    narrow = c.need("expert_ffn_hidden_size", "moe_intermediate_size")
    parts += blocks.experts(hidden, narrow, expert_count(c), family.gated)
    layer = Layer("full", tuple(parts), 1, latent=2 * latent)
    return Stack((layer,) * depth(c), embeddings(c, hidden), tied(c))


def minicpm3(c: Config) -> Stack:
    """``minicpm3.py``: MLA's projections, but ordinary attention: keys and values of full width are kept."""
    hidden, heads = c.need("hidden_size"), c.need("num_attention_heads")
    dim = c.whole("qk_nope_head_dim") + c.whole("qk_rope_head_dim")
    c = Config({"v_head_dim": hidden // heads, **c.own}, c.defaults, c.where)
    parts = blocks.latent_attention(c, hidden, heads) + blocks.mlp(hidden, c.need("intermediate_size"), True)
    layer = Layer("full", tuple(parts), heads, dim, dim)
    return Stack((layer,) * depth(c), embeddings(c, hidden), tied(c))


def zamba2(c: Config) -> Stack:
    """``zamba2.py``: Mamba 2 in every layer; the hybrid ones also run one of ``num_mem_blocks`` shared
    attention blocks, which keep a KV cache for each place where they run."""
    hidden, kinds = c.need("hidden_size"), c.words("layers_block_type")
    if not kinds:
        raise UnknownArchitecture("it has no layers_block_type")
    heads, kv = c.need("num_attention_heads"), c.whole("num_key_value_heads") or c.need("num_attention_heads")
    dim, width = c.whole("attention_head_dim") or 2 * hidden // heads, c.need("intermediate_size")
    parts, state = blocks.mamba2(c, hidden)
    adapters = [
        LayerPart("adapter", c.whole("adapter_rank") * (hidden + 2 * width)),
        LayerPart("linear", hidden * hidden),
    ]
    hybrid = Layer("full", (*parts, *adapters), kv, dim, dim, state=state)
    layers = [Layer("state", tuple(parts), state=state) if one != "hybrid" else hybrid for one in kinds]
    shared = 3 * 2 * hidden * heads * dim + heads * dim * hidden + 3 * hidden * width
    outside = (*embeddings(c, hidden), LayerPart("shared_blocks", shared * (c.whole("num_mem_blocks") or 1)))
    return Stack(tuple(layers), outside, tied(c))
