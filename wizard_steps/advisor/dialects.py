"""Model types that are made of the usual layers, but say so in fields of their own."""

from __future__ import annotations

from msgspec.structs import replace

from wizard_steps.advisor.blocks import LayerPart
from wizard_steps.advisor.config import Config, UnknownArchitecture
from wizard_steps.advisor.special import rounded
from wizard_steps.advisor.stack import Family, Stack, decoder, depth, expert_count


def llama4(c: Config) -> Stack:
    """``llama4.py``: experts in every ``interleave_moe_layer_step``-th layer, one shared expert as wide as a
    routed one. vLLM turns its hybrid KV cache manager off for chunked attention (``config/vllm.py``), so
    chunked layers keep everything too."""
    own = {**c.own, "num_shared_experts": 1, "moe_intermediate_size": c.need("intermediate_size")}
    stack = decoder(Config(own, c.defaults, c.where), Family(moe=True))
    note = (
        "chunked attention: vLLM keeps all of it unless VLLM_ALLOW_CHUNKED_LOCAL_ATTN_WITH_HYBRID_KV_CACHE=1"
    )
    return Stack(stack.layers, stack.outside, stack.tied, (note,))


def dbrx(c: Config) -> Stack:
    """``dbrx.py``: the sizes lie in ``attn_config`` and ``ffn_config``."""
    attention, ffn = c.part("attn_config"), c.part("ffn_config")
    flat = {
        "num_key_value_heads": attention.get("kv_n_heads"),
        "moe_intermediate_size": ffn.get("ffn_hidden_size"),
        "num_experts": ffn.get("moe_num_experts"),
        "tie_word_embeddings": c.get("tie_word_embeddings"),
    }
    return decoder(Config({**c.own, **flat}, c.defaults, c.where), Family(moe=True))


def laguna(c: Config) -> Stack:
    """``laguna.py``: a gate on what attention puts out, for each head or, said so, for each element; the
    first layer is dense where nothing is said."""
    own = {**c.own}
    if not c.words("mlp_layer_types"):
        own.setdefault("mlp_only_layers", [0])
    c = Config(own, c.defaults, c.where)
    stack = decoder(c, Family(moe=True))
    hidden, gate = c.need("hidden_size"), c.get("gating")
    if gate in (False, None) and "gating" in c.own:
        return stack
    each = 1 if gate in (None, True, "per-head") else c.need("head_dim")
    layers = []
    for layer in stack.layers:
        out = next(part.size for part in layer.parts if part.name.endswith("o_proj"))
        heads = out // hidden // layer.v_dim
        layers.append(
            replace(layer, parts=(*layer.parts, LayerPart("self_attn.g_proj", hidden * heads * each)))
        )
    return replace(stack, layers=tuple(layers))


def mpt(c: Config) -> Stack:
    heads = c.need("n_heads", "num_attention_heads")
    kv = Config(c.part("attn_config"), {}, c.where).whole("kv_n_heads") or heads
    width = c.need("d_model", "hidden_size") * (c.whole("expansion_ratio") or 4)
    own = {**c.own, "num_key_value_heads": kv, "intermediate_size": width, "tie_word_embeddings": True}
    return decoder(Config(own, c.defaults, c.where), Family(gated=False))


def falcon(c: Config) -> Stack:
    """``falcon.py``: ``num_kv_heads`` counts in the new architecture only; before it, one for all heads."""
    kv = c.need("num_attention_heads", "n_head")
    if c.flag("new_decoder_architecture"):
        kv = c.whole("num_kv_heads", "n_head_kv") or kv
    elif c.flag("multi_query", True):
        kv = 1
    own = {**c.own, "num_key_value_heads": kv}
    return decoder(Config(own, c.defaults, c.where), Family(gated=False))


def chatglm(c: Config) -> Stack:
    """``chatglm.py``: GLM-4 and ChatGLM 2 and 3 by their first field names."""
    heads = c.need("num_attention_heads")
    kv = c.whole("multi_query_group_num") if c.flag("multi_query_attention") else heads
    return decoder(Config({**c.own, "num_key_value_heads": kv}, c.defaults, c.where), Family())


def with_positions(c: Config) -> Stack:
    """GPT-2, GPT-BigCode and OPT: two MLP matrices and a table of learned positions."""
    kv = 1 if c.flag("multi_query") else c.need("num_attention_heads", "n_head")
    stack = decoder(Config({**c.own, "num_key_value_heads": kv}, c.defaults, c.where), Family(gated=False))
    hidden = c.need("hidden_size", "n_embd")
    positions = LayerPart(
        "position_embeddings", c.whole("max_position_embeddings", "n_positions") * hidden, "embedding"
    )
    return Stack(stack.layers, (*stack.outside, positions), stack.tied)


def minimax_text(c: Config) -> Stack:
    """``minimax_text_01.py``: ``attn_type_list`` has 1 for softmax attention, 0 for linear."""
    kinds = ["full_attention" if one else "linear_attention" for one in c.numbers("attn_type_list")]
    own = {**c.own, "layer_types": kinds} if kinds else c.own
    return decoder(Config(own, c.defaults, c.where), Family(moe=True, state="lightning"))


def jamba(c: Config) -> Stack:
    period, offset = c.need("attn_layer_period"), c.whole("attn_layer_offset")
    kinds = ["full_attention" if i % period == offset else "mamba" for i in range(depth(c))]
    own = {**c.own, "layer_types": c.words("layers_block_type") or kinds}
    return decoder(Config(own, c.defaults, c.where), Family(moe=True, state="mamba1"))


def bamba(c: Config) -> Stack:
    chosen = set(c.numbers("attn_layer_indices"))
    kinds = ["full_attention" if i in chosen else "mamba" for i in range(depth(c))]
    own = c.own if c.words("layer_types") else {**c.own, "layer_types": kinds}
    return decoder(Config(own, c.defaults, c.where), Family(state="mamba2"))


def kimi_linear(c: Config) -> Stack:
    """``kimi_linear``: ``linear_attn_config.full_attn_layers`` counts layers from 1."""
    full = set(Config(c.part("linear_attn_config"), {}, c.where).numbers("full_attn_layers"))
    kinds = ["full_attention" if i + 1 in full else "kda" for i in range(depth(c))]
    own = c.own if c.words("layer_types") or not full else {**c.own, "layer_types": kinds}
    shape = Config(own, c.defaults, c.where)
    if not shape.words("layer_types"):
        raise UnknownArchitecture("it does not say which layers have full attention")
    return decoder(shape, Family(mla=True, moe=True, state="kda"))


def lfm2(c: Config) -> Stack:
    """``lfm2.py``: short convolutions between attention; the MLP's width is adjusted."""
    count = depth(c)
    full = set(c.numbers("full_attn_idxs"))
    own = dict(c.own)
    if not c.words("layer_types"):
        if not full:
            raise UnknownArchitecture("it does not say which layers have attention")
        own["layer_types"] = ["full_attention" if i in full else "conv" for i in range(count)]
    width = c.whole("intermediate_size", "block_ff_dim")
    if c.flag("block_auto_adjust_ff_dim", not expert_count(c)) and not expert_count(c):
        width = int(c.real("block_ffn_dim_multiplier", 1.0) * int(2 * width / 3))
        width = rounded(width, c.whole("block_multiple_of") or 256)
    own["intermediate_size"] = width
    return decoder(Config(own, c.defaults, c.where), Family(moe=True, state="conv"))
