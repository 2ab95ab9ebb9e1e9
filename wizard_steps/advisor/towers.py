"""Vision and audio towers beside a language model: their parameters, to within a tenth or so.

A tower is a few percent of a large model; of a small one up to a fifth.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from wizard_steps.advisor.blocks import LayerPart
from wizard_steps.advisor.config import Config, defaults_of

#: Outer model types whose towers were compared with transformers' parameter counts.
_CHECKED = """gemma3 gemma3n gemma4 gemma4_unified llama4 qwen2_vl qwen2_5_vl qwen3_vl qwen3_vl_moe qwen3_5
    qwen3_5_moe llava llava_next llava_onevision llava_next_video mistral3 pixtral internvl internvl_chat
    idefics3 smolvlm
    paligemma cohere2_vision kimi_k25 kimi_vl glm4v glm4v_moe glm46v glm_ocr qwen2_5_omni qwen2_5_omni_thinker
    qwen3_omni_moe qwen3_omni_moe_thinker exaone4_5 lfm2_vl paddleocr_vl vipllava
    hyperclovax_vision_v2 molmo2 aya_vision step3p7"""
MULTIMODAL = frozenset(_CHECKED.split())
#: Vision towers whose MLP has three matrices.
_GATED = (
    "qwen2_5_vl",
    "qwen2_5_omni",
    "glm",
    "pixtral",
    "gemma4",
    "exaone4_5",
    "hyperclovax",
    "mistral3",
    "lighton",
    "lfm3",
)


def towers(config: Mapping[str, Any], hidden: int) -> Iterator[LayerPart]:
    """One part a tower, with its projector into ``hidden``."""
    outer = str(config.get("model_type") or "")
    thinker = config.get("thinker_config")
    if isinstance(thinker, Mapping):
        config = thinker
    for name in ("vision_config", "audio_config", "vision_encoder", "vit_config"):
        own = config.get(name)
        if isinstance(own, Mapping) and own:
            kind = str(own.get("model_type") or "")
            defaults = defaults_of(f"{outer}.{name}") or defaults_of(kind)
            if size := _tower(Config(own, defaults, name), f"{outer} {kind}", hidden):
                yield LayerPart(f"visual.{name}", size)


def _tower(c: Config, kind: str, hidden: int) -> int:
    width = c.whole("embed_dim", "vt_hidden_size", "d_model") or c.whole("hidden_size", "width", "dim")
    depth = c.whole(
        "depth", "num_hidden_layers", "vt_num_hidden_layers", "layers", "encoder_layers", "n_layers"
    )
    wide = c.whole("intermediate_size", "vt_intermediate_size", "encoder_ffn_dim", "mlp_dim", "hidden_dim")
    if kind.startswith(("glm4v", "glm46v")):
        # These layers are as wide as the output; intermediate_size is the merger's.
        wide = c.whole("out_hidden_size") or wide
    wide = wide or int(width * (c.real("mlp_ratio", 4.0) or 4))
    gated = any(kind.startswith(one) or f" {one}" in kind for one in _GATED)
    layers = depth * (4 * width * width + (3 if gated else 2) * width * wide)
    merge = c.whole("spatial_merge_size") or (c.numbers("merge_kernel_size") or [0])[0]
    out = c.whole("out_hidden_size") or hidden
    joined = width * merge * merge
    projector = joined * joined + joined * out if merge else width * hidden + hidden * hidden
    # Qwen3-VL: a merger of its own for each of these layers.
    projector *= 1 + len(c.numbers("deepstack_visual_indexes"))
    patch = c.whole("patch_size")
    return layers + projector + 3 * width * patch * patch
