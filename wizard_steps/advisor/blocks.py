"""How many parameters the blocks of a decoder layer have, named as in a checkpoint.

Matrices only: norms and biases are below a thousandth. Names and shapes follow vLLM's and transformers'
model files; ``tests/advisor/test_parameters.py`` holds what transformers itself counts.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from wizard_steps.advisor.config import Config

#: linear: what quantisers quantise; experts: routed ones; other: what they leave alone (routers, states).
Kind = Literal["linear", "experts", "other", "embedding"]


class LayerPart(Struct, frozen=True):
    """``size`` parameters under ``name`` (relative to the layer, or to the model)."""

    name: str
    size: int
    kind: Kind = "linear"


class RecurrentState(Struct, frozen=True):
    """What a layer keeps for a whole request, whatever its length, in elements.

    ``wide``: bytes of an element of ``recurrent`` (0: as the model's type). ``cuts``: what TP must divide.
    """

    conv: int = 0
    recurrent: int = 0
    wide: float = 0.0
    cuts: tuple[tuple[str, int], ...] = ()


def state_bytes(c: Config, field: str, default: str = "") -> float:
    """``field`` of a config sets the type of recurrent states (``models/config.py``); 0: as the model's."""
    kind = c.get(field)
    return 4.0 if (kind if isinstance(kind, str) else default) == "float32" else 0.0


def attention(
    hidden: int, heads: int, kv_heads: int, k_dim: int, v_dim: int, gate: bool = False
) -> list[LayerPart]:
    at = "self_attn."
    return [
        LayerPart(f"{at}q_proj", hidden * heads * k_dim * (2 if gate else 1)),
        LayerPart(f"{at}k_proj", hidden * kv_heads * k_dim),
        LayerPart(f"{at}v_proj", hidden * kv_heads * v_dim),
        LayerPart(f"{at}o_proj", heads * v_dim * hidden),
    ]


def latent_attention(c: Config, hidden: int, heads: int) -> list[LayerPart]:
    """MLA: queries and keys through low-rank projections, and DeepSeek's indexer where there is one."""
    rank, q_rank = c.need("kv_lora_rank"), c.whole("q_lora_rank")
    nope, rope, v_dim = c.whole("qk_nope_head_dim"), c.whole("qk_rope_head_dim"), value_dim(c)
    at = "self_attn."
    queries = (
        [
            LayerPart(f"{at}q_a_proj", hidden * q_rank),
            LayerPart(f"{at}q_b_proj", q_rank * heads * (nope + rope)),
        ]
        if q_rank
        else [LayerPart(f"{at}q_proj", hidden * heads * (nope + rope))]
    )
    return [
        *queries,
        LayerPart(f"{at}kv_a_proj_with_mqa", hidden * (rank + rope)),
        LayerPart(f"{at}kv_b_proj", rank * heads * (nope + v_dim)),
        LayerPart(f"{at}o_proj", heads * v_dim * hidden),
    ]


def indexer(c: Config, hidden: int) -> list[LayerPart]:
    heads, dim = c.whole("index_n_heads"), c.whole("index_head_dim")
    size = heads * dim * c.whole("q_lora_rank") + hidden * (dim + heads)
    return [LayerPart("self_attn.indexer", size)] if size else []


def value_dim(c: Config) -> int:
    return c.whole("v_head_dim") or c.whole("qk_nope_head_dim") or 128


def mlp(hidden: int, width: int, gated: bool, name: str = "mlp") -> list[LayerPart]:
    parts = [LayerPart(f"{name}.up_proj", hidden * width), LayerPart(f"{name}.down_proj", hidden * width)]
    return [LayerPart(f"{name}.gate_proj", hidden * width), *parts] if gated else parts


def experts(hidden: int, width: int, count: int, gated: bool, latent: int = 0) -> list[LayerPart]:
    """Routed experts and their router; with ``latent`` they work in a narrower space (Nemotron 3 Super)."""
    inner = latent or hidden
    parts = [
        LayerPart("mlp.gate", hidden * count, "other"),
        LayerPart("mlp.experts", count * (3 if gated else 2) * inner * width, "experts"),
    ]
    return [*parts, LayerPart("mlp.latent_proj", 2 * hidden * latent)] if latent else parts


def delta_net(c: Config, hidden: int) -> tuple[list[LayerPart], RecurrentState]:
    """Gated DeltaNet of Qwen3-Next, Qwen3.5 and OLMo Hybrid."""
    k_heads, v_heads = c.need("linear_num_key_heads"), c.need("linear_num_value_heads")
    k_dim, v_dim = c.need("linear_key_head_dim"), c.need("linear_value_head_dim")
    keys, values, kernel = k_heads * k_dim, v_heads * v_dim, c.whole("linear_conv_kernel_dim") or 4
    at = "linear_attn."
    parts = [
        LayerPart(f"{at}in_proj_qkv", hidden * (2 * keys + values)),
        LayerPart(f"{at}in_proj_z", hidden * values),
        LayerPart(f"{at}in_proj_ba", hidden * 2 * v_heads, "other"),
        LayerPart(f"{at}conv1d", (2 * keys + values) * kernel, "other"),
        LayerPart(f"{at}out_proj", values * hidden),
    ]
    # Only Qwen3.5's config class reads the field.
    wide = state_bytes(c, "mamba_ssm_dtype") if c.get("model_type") != "qwen3_next" else 0.0
    cuts = (("key heads of linear attention", k_heads), ("value heads of linear attention", v_heads))
    return parts, RecurrentState((2 * keys + values) * (kernel - 1), v_heads * v_dim * k_dim, wide, cuts)


def delta_attention(c: Config, hidden: int) -> tuple[list[LayerPart], RecurrentState]:
    """Kimi Delta Attention. Sizes lie in ``linear_attn_config`` or, since transformers 5, at the top.

    Its state is float32 (``mamba_utils.py`` kda_state_dtype)."""
    own = Config(c.part("linear_attn_config"), c.defaults, c.where)
    heads = own.whole("num_heads") or c.need("linear_num_heads")
    dim = own.whole("head_dim") if own.own else c.need("linear_head_dim")
    kernel = own.whole("short_conv_kernel_size") or c.whole("linear_conv_kernel_dim") or 4
    width = heads * dim
    at = "self_attn."
    parts = [
        *[LayerPart(f"{at}{one}_proj", hidden * width) for one in "qkv"],
        *[LayerPart(f"{at}{one}_a_proj", hidden * dim) for one in "fg"],
        *[LayerPart(f"{at}{one}_b_proj", dim * width) for one in "fg"],
        LayerPart(f"{at}b_proj", hidden * heads),
        LayerPart(f"{at}conv1d", 3 * width * kernel, "other"),
        LayerPart(f"{at}o_proj", width * hidden),
    ]
    cuts = (("heads of linear attention", heads),)
    return parts, RecurrentState(3 * width * (kernel - 1), heads * dim * dim, 4.0, cuts)


def mamba1(c: Config, hidden: int) -> tuple[list[LayerPart], RecurrentState]:
    states, kernel = c.need("mamba_d_state", "state_size"), c.whole("mamba_d_conv", "conv_kernel") or 4
    width = c.whole("mamba_expand", "expand") * hidden or 2 * hidden
    rank = c.whole("mamba_dt_rank", "time_step_rank") or -(-hidden // 16)
    parts = [
        LayerPart("mamba.in_proj", 2 * width * hidden),
        LayerPart("mamba.x_proj", (rank + 2 * states) * width),
        LayerPart("mamba.dt_proj", rank * width),
        LayerPart("mamba.ssm", width * (states + kernel), "other"),
        LayerPart("mamba.out_proj", width * hidden),
    ]
    cuts = (("Mamba channels", width),)
    return parts, RecurrentState(width * (kernel - 1), width * states, 0.0, cuts)


def mamba2(c: Config, hidden: int) -> tuple[list[LayerPart], RecurrentState]:
    heads = c.need("mamba_n_heads", "mamba_num_heads", "n_mamba_heads", "num_heads")
    dim = c.whole("mamba_d_head", "mamba_head_dim", "mamba_headdim", "head_dim")
    dim = dim or c.whole("mamba_expand", "expand") * hidden // heads
    groups = c.whole("mamba_n_groups", "mamba_ngroups", "n_groups") or 1
    states = c.need("mamba_d_state", "ssm_state_size", "state_size")
    kernel = c.whole("mamba_d_conv", "conv_kernel") or 4
    width = c.whole("mamba_d_ssm") or heads * dim
    conv = width + 2 * groups * states
    parts = [
        LayerPart("mamba.in_proj", hidden * (width + conv + heads)),
        LayerPart("mamba.conv1d", conv * kernel, "other"),
        LayerPart("mamba.out_proj", width * hidden),
    ]
    # ``mamba_mixer2.py``: one group is kept by every GPU, several are dealt out.
    cuts = (("Mamba heads", heads), *((("Mamba groups", groups),) if groups > 1 else ()))
    return parts, RecurrentState(conv * (kernel - 1), heads * dim * states, 0.0, cuts)


def lightning(hidden: int, heads: int, dim: int) -> tuple[list[LayerPart], RecurrentState]:
    """MiniMax's linear attention: q, k, v, an output gate and the output."""
    return [LayerPart("self_attn.qkvgo", 5 * hidden * heads * dim)], RecurrentState(0, heads * dim * dim)


def short_conv(c: Config, hidden: int) -> tuple[list[LayerPart], RecurrentState]:
    kernel = c.whole("conv_L_cache") or 3
    parts = [LayerPart("conv.in_proj", 3 * hidden * hidden), LayerPart("conv.out_proj", hidden * hidden)]
    return parts, RecurrentState(hidden * (kernel - 1), 0)
