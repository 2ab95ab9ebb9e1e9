"""The numbers of a model that decide how it can be split, from its config.json and safetensors files.

The names a field can have follow vLLM's ``transformers_utils/model_arch_config_convertor.py``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from wizard_steps.errors import UsageError

_DTYPE_BYTES = {"float32": 4.0, "float16": 2.0, "bfloat16": 2.0, "half": 2.0, "float": 4.0}
_QUANT_BITS = {
    "fp8": 8, "fbgemm_fp8": 8, "awq": 4, "gptq": 4, "mxfp4": 4, "nvfp4": 4, "bitsandbytes": 4,
    "modelopt": 8, "modelopt_fp4": 4, "compressed-tensors": 8, "int8": 8,
}  # fmt: skip


class Quantisation(Struct, frozen=True):
    """``bits`` per weight; ``group`` is the run of weights that share a scale and cannot be cut (0: none)."""

    method: str
    bits: int
    group: int = 0


class ModelShape(Struct, frozen=True):
    """Sizes in elements unless the name says bytes. ``attention_layers`` keep a KV cache that grows."""

    architecture: str
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    hidden: int
    intermediate: int
    vocab: int
    dtype: str = "bfloat16"
    dtype_bytes: float = 2.0
    attention_layers: int = 0
    max_len: int = 0
    quantisation: Quantisation | None = None
    #: Multi-head latent attention: one vector of this many elements per token and layer, 0 when not MLA.
    mla_dim: int = 0
    experts: int = 0
    experts_per_token: int = 0
    expert_intermediate: int = 0
    dense_layers: int = 0
    sliding_window: int = 0
    sliding_layers: int = 0
    tied: bool = False
    #: Bytes of all weights; from the checkpoint where ``weights_from`` says so, else estimated.
    weight_bytes: int = 0
    weights_from: str = "estimated from config.json"
    notes: tuple[str, ...] = ()


def load_model(path: Path) -> ModelShape:
    """Read a config.json or a model folder. Raises UsageError that names file and field."""
    file = path / "config.json" if path.is_dir() else path
    config = _json(file)
    total, source = checkpoint_size(file.parent)
    return parse_config(config, weight_bytes=total, weights_from=source, where=str(file))


def checkpoint_size(folder: Path) -> tuple[int, str]:
    """Bytes of the weights and where the number is from; (0, "") when the folder holds none."""
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        total = _json(index).get("metadata", {}).get("total_size")
        if isinstance(total, int | float) and total > 0:
            return int(total), index.name
    files = [file for file in folder.glob("*.safetensors") if file.is_file()]
    total = sum(file.stat().st_size for file in files)
    return (total, f"{len(files)} safetensors file(s)") if total else (0, "")


def parse_config(
    config: Mapping[str, Any], *, weight_bytes: int = 0, weights_from: str = "", where: str = "config.json"
) -> ModelShape:
    """Numbers of a Hugging Face config. Multimodal models are read by their ``text_config``."""
    text = _text_config(config)
    need = _Fields(text, where)
    layers = need.first("num_hidden_layers", "n_layer", "num_layers", "n_layers")
    heads = need.first("num_attention_heads", "n_head", "n_heads")
    hidden = need.first("hidden_size", "n_embd", "d_model", "dim")
    kinds = _layer_kinds(text)
    dtype = str(text.get("dtype") or text.get("torch_dtype") or config.get("dtype")
                or config.get("torch_dtype") or "bfloat16").removeprefix("torch.")  # fmt: skip
    mla = need.maybe("kv_lora_rank")
    shape = ModelShape(
        architecture=str(_first(config.get("architectures")) or text.get("model_type") or "unknown"),
        layers=layers,
        heads=heads,
        kv_heads=need.maybe("num_key_value_heads", "n_head_kv", "num_kv_heads", "multi_query_group_num")
        or (1 if text.get("multi_query") else heads),
        head_dim=need.maybe("head_dim", "hidden_size_per_head") or hidden // heads,
        hidden=hidden,
        intermediate=need.maybe("intermediate_size", "n_inner", "ffn_dim", "ffn_hidden_size") or 4 * hidden,
        vocab=need.maybe("vocab_size") or 32000,
        dtype=dtype,
        dtype_bytes=_DTYPE_BYTES.get(dtype, 2.0),
        attention_layers=layers - sum(kind in ("linear_attention", "mamba") for kind in kinds),
        max_len=need.maybe("max_position_embeddings", "n_positions", "max_seq_len", "seq_length"),
        quantisation=_quantisation(config.get("quantization_config") or text.get("quantization_config")),
        mla_dim=mla + need.maybe("qk_rope_head_dim") if mla else 0,
        experts=need.maybe("num_local_experts", "n_routed_experts", "num_experts"),
        experts_per_token=need.maybe("num_experts_per_tok", "num_experts_per_token"),
        expert_intermediate=need.maybe("moe_intermediate_size"),
        dense_layers=need.maybe("first_k_dense_replace"),
        sliding_window=need.maybe("sliding_window") if _slides(text, kinds) else 0,
        sliding_layers=_sliding_layers(text, kinds, layers),
        tied=bool(text.get("tie_word_embeddings", config.get("tie_word_embeddings", False))),
        notes=tuple(_notes(config, text, kinds)),
    )
    if weight_bytes:
        return msgspec.structs.replace(shape, weight_bytes=weight_bytes, weights_from=weights_from)
    return msgspec.structs.replace(shape, weight_bytes=estimate_weights(shape))


def estimate_weights(shape: ModelShape) -> int:
    """Bytes of the weights of a Llama-like transformer: attention, gated MLP (or experts), embeddings."""
    bits = shape.quantisation.bits if shape.quantisation else shape.dtype_bytes * 8
    attention = shape.hidden * shape.head_dim * (2 * shape.heads + 2 * shape.kv_heads)
    mlp = 3 * shape.hidden * shape.intermediate
    if shape.experts:
        expert = 3 * shape.hidden * (shape.expert_intermediate or shape.intermediate)
        dense = min(shape.dense_layers, shape.layers)
        mlps = dense * mlp + (shape.layers - dense) * shape.experts * expert
    else:
        mlps = shape.layers * mlp
    body = (shape.layers * attention + mlps) * bits / 8
    # A quantised model keeps its embeddings in the plain type.
    return int(body + shape.vocab * shape.hidden * shape.dtype_bytes * (1 if shape.tied else 2))


class _Fields:
    """Positive whole numbers of a config, by any of the names a field has."""

    def __init__(self, config: Mapping[str, Any], where: str) -> None:
        self.config, self.where = config, where

    def maybe(self, *names: str) -> int:
        for name in names:
            value = self.config.get(name)
            if isinstance(value, list) and value and all(isinstance(v, int) for v in value):
                value = max(value)
            if value is None or isinstance(value, bool):
                continue
            if not isinstance(value, int | float) or value < 0 or value != int(value):
                raise UsageError(f"{self.where}: {name}: {value!r} is not a whole number")
            if value > 0:
                return int(value)
        return 0

    def first(self, *names: str) -> int:
        value = self.maybe(*names)
        if not value:
            raise UsageError(
                f"{self.where}: no {names[0]}: this is not the config.json of a text-generating model"
            )
        return value


def _json(file: Path) -> dict[str, Any]:
    try:
        data = msgspec.json.decode(file.read_bytes())
    except FileNotFoundError:
        raise UsageError(
            f"{file}: not found. Give the model's folder or its config.json "
            "(`hf download MODEL config.json model.safetensors.index.json` fetches just what is needed)"
        ) from None
    except OSError as error:
        raise UsageError(f"{file}: cannot be read: {error.strerror or error}") from None
    except msgspec.DecodeError as error:
        raise UsageError(f"{file}: not valid JSON: {error}") from None
    if not isinstance(data, dict):
        raise UsageError(f"{file}: holds no JSON object")
    return data


def _text_config(config: Mapping[str, Any]) -> Mapping[str, Any]:
    for name in ("text_config", "llm_config", "language_config", "thinker_config"):
        inner = config.get(name)
        if isinstance(inner, Mapping):
            return _text_config(inner)
    return config


def _first(value: Any) -> Any:
    return value[0] if isinstance(value, Sequence) and not isinstance(value, str) and value else value


def _layer_kinds(text: Mapping[str, Any]) -> list[str]:
    kinds = text.get("layer_types") or text.get("layers_block_type") or []
    return [str(kind) for kind in kinds] if isinstance(kinds, list) else []


def _slides(text: Mapping[str, Any], kinds: Sequence[str]) -> bool:
    return "sliding_attention" in kinds or (not kinds and text.get("use_sliding_window", True) is not False)


def _sliding_layers(text: Mapping[str, Any], kinds: Sequence[str], layers: int) -> int:
    if kinds:
        return sum(kind == "sliding_attention" for kind in kinds)
    return layers if text.get("sliding_window") and _slides(text, kinds) else 0


def _quantisation(config: Any) -> Quantisation | None:
    if not isinstance(config, Mapping):
        return None
    method = str(config.get("quant_method") or config.get("quant_algo") or "unknown").lower()
    bits = config.get("bits") or config.get("w_bit") or config.get("weight_bits")
    block = config.get("weight_block_size")
    group = config.get("group_size") or config.get("q_group_size") or (max(block) if block else 0)
    weights = _compressed_weights(config)
    bits = bits or weights.get("num_bits") or _QUANT_BITS.get(method, 8)
    group = group or weights.get("group_size") or 0
    if config.get("load_in_8bit"):
        bits = 8
    return Quantisation(method, int(bits), max(0, int(group)))


def _compressed_weights(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The weight scheme of compressed-tensors: ``config_groups.<name>.weights``."""
    groups = config.get("config_groups")
    if isinstance(groups, Mapping):
        for group in groups.values():
            if isinstance(group, Mapping) and isinstance(group.get("weights"), Mapping):
                weights: Mapping[str, Any] = group["weights"]
                return weights
    return {}


def _notes(config: Mapping[str, Any], text: Mapping[str, Any], kinds: Sequence[str]) -> list[str]:
    notes = []
    if text is not config:
        notes.append("multimodal: only the language part is split here; its vision part is not counted")
    if any(kind in ("linear_attention", "mamba") for kind in kinds):
        notes.append("hybrid: linear-attention layers keep a small fixed state instead of a KV cache")
    if text.get("sliding_window") and _slides(text, kinds):
        notes.append(
            "sliding window: long requests need less KV cache than shown (counted as full attention)"
        )
    return notes
