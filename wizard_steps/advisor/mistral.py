"""Mistral's own params.json, in the names of a Hugging Face config.

Source: ``transformers_utils/configs/mistral.py`` of vLLM.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_NAMES = {
    "dim": "hidden_size", "n_kv_heads": "num_key_value_heads", "n_layers": "num_hidden_layers",
    "n_heads": "num_attention_heads", "hidden_dim": "intermediate_size",
    "max_seq_len": "max_position_embeddings",
}  # fmt: skip
_EXPERTS = {
    "num_experts": "n_routed_experts", "num_shared_experts": "n_shared_experts",
    "expert_hidden_dim": "moe_intermediate_size", "first_k_dense_replace": "first_k_dense_replace",
    "num_experts_per_tok": "num_experts_per_tok", "route_every_n": "moe_layer_freq",
}  # fmt: skip


def is_params(config: Mapping[str, Any]) -> bool:
    """Whether this is a params.json: it has ``dim`` and ``n_layers`` and no model type of transformers."""
    return "dim" in config and "n_layers" in config and "model_type" not in config


def translated(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The same as a Hugging Face config; a config that is one already is handed back as it is."""
    if not is_params(config):
        return config
    own = {_NAMES.get(name, name): value for name, value in config.items()}
    moe, quant, latent = config.get("moe"), config.get("quantization"), config.get("kv_lora_rank")
    own["tie_word_embeddings"] = config.get("tied_embeddings") is True
    if isinstance(moe, Mapping):
        own.update({new: moe[old] for old, new in _EXPERTS.items() if old in moe})
    if latent:
        rope = config.get("qk_rope_head_dim")
        own.setdefault("qk_nope_head_dim", _rest(config.get("head_dim"), rope))
        own.setdefault("v_head_dim", 128)
        own.pop("head_dim", None)
        own["model_type"] = "deepseek_v3"
    else:
        own["model_type"] = "mixtral" if isinstance(moe, Mapping) else "mistral"
        if "n_routed_experts" in own:
            own["num_local_experts"] = own.pop("n_routed_experts")
    own.setdefault("n_shared_experts", None)
    own["sliding_window"], own["layer_types"] = _windows(config.get("sliding_window"), config.get("n_layers"))
    own["quantization_config"] = _quantised(quant)
    own["architectures"] = ["MistralLarge3ForCausalLM" if latent else "MistralForCausalLM"]
    vision = config.get("vision_encoder")
    if isinstance(vision, Mapping):
        outer = {"model_type": "pixtral", "architectures": ["PixtralForConditionalGeneration"]}
        return {**outer, "text_config": own, "vision_config": {**vision, "model_type": "pixtral"},
                "quantization_config": own["quantization_config"], "dtype": config.get("dtype")}  # fmt: skip
    return own


def _rest(head: Any, rope: Any) -> int | None:
    return head - rope if isinstance(head, int) and isinstance(rope, int) and head > rope else None


def _windows(window: Any, layers: Any) -> tuple[int | None, list[str] | None]:
    """A list repeats over the layers; null in it stands for full attention."""
    if isinstance(window, list) and window and isinstance(layers, int):
        sizes = [one for one in window if isinstance(one, int)]
        kinds = ["sliding_attention" if one else "full_attention" for one in window]
        return max(sizes, default=None), kinds * max(1, min(layers, 10_000) // len(window))
    return (window, None) if isinstance(window, int) else (None, None)


def _quantised(quant: Any) -> dict[str, Any] | None:
    if not isinstance(quant, Mapping):
        return None
    if quant.get("qformat_weight") == "fp8_e4m3":
        return {"quant_method": "fp8"}
    return dict(quant)
