"""The numbers of a model that decide how it can be split, from its config.json.

``known`` says whether they can be trusted: only model types that were checked (``families.py``), with
fields and quantisation that are understood, are. Of all others only what the files themselves tell is told.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from wizard_steps.advisor.blocks import LayerPart, RecurrentState
from wizard_steps.advisor.config import Config, UnknownArchitecture, defaults_of, text_config
from wizard_steps.advisor.families import FAMILIES, stack_of
from wizard_steps.advisor.mistral import translated
from wizard_steps.advisor.model import Held, ModelShape, token_bytes, with_weights
from wizard_steps.advisor.module_names import unplaced
from wizard_steps.advisor.quant import Quantisation, part_bytes, quantisation
from wizard_steps.advisor.removed import remark
from wizard_steps.advisor.stack import Layer, Stack, expert_count
from wizard_steps.advisor.towers import MULTIMODAL, towers

_DTYPE_BYTES = {"float32": 4.0, "float16": 2.0, "bfloat16": 2.0, "half": 2.0, "float": 4.0}
ESTIMATED = "estimated from config.json"


def parse_config(
    config: Mapping[str, Any],
    *,
    weight_bytes: int = 0,
    weights_from: str = "",
    where: str = "config.json",
    side: Mapping[str, Any] | None = None,
) -> ModelShape:
    """Numbers of a Hugging Face config, or of Mistral's params.json. ``side``: hf_quant_config.json.

    Raises UsageError where this is no text-generating model's config; never for one that is not known.
    """
    config = translated(config)
    text = text_config(config)
    kind = _kind(config, text)
    c = Config(text, defaults_of(kind), where)
    plain = _plain(c, config, text, kind)
    try:
        outer = str(config.get("model_type") or "")
        if text is not config and outer not in MULTIMODAL:
            raise UnknownArchitecture(f"the multimodal type {outer or 'without a name'} was not checked")
        _same_model(config, text, kind)
        expert_dtype = str(text.get("expert_dtype") or "")
        own = config.get("quantization_config") or text.get("quantization_config")
        quant = quantisation(own, side, expert_dtype)
        c = Config({**text, **_tie(config, text)}, defaults_of(kind), where)
        stack = stack_of(kind, c)
        if quant and (odd := _unplaced(quant, stack)):
            raise UnknownArchitecture(f"its quantised module {odd[:80]} is none of {kind}")
        shape = _known(plain, stack, quant, [*towers(config, plain.hidden)])
    except UnknownArchitecture as reason:
        shape = msgspec.structs.replace(plain, unknown=str(reason), kv_bytes_per_token=0)
    if weight_bytes:
        shape = with_weights(shape, weight_bytes, weights_from)
    if gone := remark(shape.architecture):
        shape = msgspec.structs.replace(shape, notes=(gone, *shape.notes))
    return shape


def _padded(quant: Quantisation | None, hidden: int) -> Quantisation | None:
    """MXFP4 kernels want a hidden size in steps of 256 (``fused_moe/oracle/mxfp4.py``): 2880 becomes 3072."""
    if quant is None or not quant.experts_only or not quant.method.endswith("mxfp4"):
        return quant
    return msgspec.structs.replace(quant, bits=quant.bits * (-(-hidden // 256) * 256) / hidden)


def _plain(c: Config, config: Mapping[str, Any], text: Mapping[str, Any], kind: str) -> ModelShape:
    """What a config says in so many words, whatever its architecture is."""
    listed = c.get("hybrid_override_pattern") or c.words("layers_block_type") or c.words("layer_types")
    layers = c.whole("num_hidden_layers", "n_layer", "num_layers", "n_layers") or len(listed or "")
    if not layers:
        c.need("num_hidden_layers")
    heads = c.whole("num_attention_heads", "n_head", "n_heads", "num_heads") or 1
    hidden = c.need("hidden_size", "n_embd", "n_embed", "d_model", "dim")
    dtype = str(text.get("dtype") or text.get("torch_dtype") or config.get("dtype")
                or config.get("torch_dtype") or "bfloat16").removeprefix("torch.")[:20]  # fmt: skip
    kv = c.whole(
        "num_key_value_heads", "n_head_kv", "num_kv_heads", "multi_query_group_num", "num_attention_groups"
    )
    names = config.get("architectures")
    name = names[0] if isinstance(names, Sequence) and not isinstance(names, str) and names else kind
    return ModelShape(
        architecture=str(name or "unknown")[:80],
        model_type=kind[:60],
        known=False,
        layers=layers,
        heads=heads,
        kv_heads=kv or (1 if text.get("multi_query") else heads),
        head_dim=c.whole("head_dim", "hidden_size_per_head", "kv_channels") or max(1, hidden // heads),
        hidden=hidden,
        intermediate=c.whole("intermediate_size", "n_inner", "ffn_dim", "ffn_hidden_size") or 4 * hidden,
        vocab=c.whole("padded_vocab_size", "vocab_size") or 32000,
        dtype=dtype,
        dtype_bytes=_DTYPE_BYTES.get(dtype, 2.0),
        max_len=c.whole(
            "max_position_embeddings", "n_positions", "max_seq_len", "seq_length", "model_max_length"
        ),
        experts=expert_count(c) if expert_count(c) > 1 else 0,
        experts_per_token=c.whole(
            "num_experts_per_tok", "num_experts_per_token", "moe_topk", "moe_k", "moe_top_k"
        ),
        expert_intermediate=c.whole("moe_intermediate_size", "expert_ffn_hidden_size", "expert_hidden_dim"),
        dense_layers=c.whole("first_k_dense_replace"),
    )


def _known(plain: ModelShape, stack: Stack, quant: Quantisation | None, extra: list[LayerPart]) -> ModelShape:
    # vLLM loads float32 as 16 bit (``config/model.py`` _resolve_auto_dtype).
    size = min(plain.dtype_bytes, 2.0)
    padded = _padded(quant, plain.hidden)
    spare = sum(
        part_bytes(padded, part, i, 2) - part_bytes(quant, part, i, 2)
        for i, layer in enumerate(stack.layers)
        for part in layer.parts
        if part.kind == "experts"
    )
    kv_size = (quant.kv_bytes if quant else 0.0) or size
    held = tuple(_held(one, i, padded, size, size) for i, one in enumerate(stack.layers))
    tables = [part for part in stack.outside if part.kind == "embedding"]
    others = [part for part in stack.outside if part.kind != "embedding"]
    embedding = sum(part_bytes(quant, part, -1, size) for part in tables)
    head = sum(part_bytes(quant, part, -1, size) for part in others)
    head += sum(part.size for part in extra) * size
    grow = [one for one in held if one.keeps == "full"] or [one for one in held if one.keeps == "sliding"]
    first = next(iter(grow), Held("none", 0))
    shared, group = _shared(stack, quant, plain.hidden)
    return msgspec.structs.replace(
        plain,
        known=True,
        layers=len(held),
        kv_heads=max((one.kv_heads for one in held), default=plain.kv_heads) or plain.kv_heads,
        attention_layers=len(grow),
        quantisation=quant,
        mla_dim=first.latent,
        sliding_layers=sum(one.keeps == "sliding" for one in held),
        sliding_window=max((one.window for one in held), default=0),
        state_layers=sum(one.keeps == "state" for one in held),
        cuts=tuple(dict.fromkeys([*stack.cuts, *_state_cuts(stack)])),
        shared_width=shared,
        shared_group=group,
        tied=stack.tied,
        weight_bytes=int(sum(one.weights for one in held) + embedding + head),
        weights_from=ESTIMATED,
        padding_bytes=int(spare),
        weights_off=0.04 if not quant else 0.08,
        kv_bytes_per_token=int(sum(token_bytes(one, 1, kv_size) for one in grow)),
        kv_from=ESTIMATED,
        kv_dtype_bytes=quant.kv_bytes if quant else 0.0,
        held=held,
        embedding_bytes=int(embedding),
        head_bytes=int(head),
        notes=(*stack.notes, *_notes(stack, bool(extra)), *_packed(held, kv_size)),
    )


def _held(layer: Layer, i: int, quant: Quantisation | None, plain: float, size: float) -> Held:
    state = layer.state or RecurrentState()
    return Held(
        layer.keeps,
        sum(part_bytes(quant, part, i, plain) for part in layer.parts),
        layer.kv_heads if layer.k_dim else 0,
        layer.k_dim + layer.v_dim,
        layer.latent,
        layer.index_bytes,
        layer.packed,
        layer.window,
        int(state.conv * size + state.recurrent * (state.wide or size)),
    )


def _unplaced(quant: Quantisation, stack: Stack) -> str:
    return unplaced([name for name, _ in quant.named], [one.parts for one in stack.layers])


def _state_cuts(stack: Stack) -> Iterator[tuple[str, int]]:
    for one in stack.layers:
        yield from one.state.cuts if one.state else ()


def _shared(stack: Stack, quant: Quantisation | None, hidden: int) -> tuple[int, int]:
    """Width of the shared experts, and of the blocks of their weights where those are quantised."""
    for i, layer in enumerate(stack.layers):
        for part in layer.parts:
            if part.name.endswith("shared_experts.down_proj"):
                group = quant.group if quant and part_bytes(quant, part, i, 2) < 2 * part.size else 0
                return part.size // hidden, group
    return 0, 0


def _packed(held: Sequence[Held], kv_size: float) -> Iterator[str]:
    if kv_size == 1 and any(one.packed for one in held):
        yield (
            "sparse MLA with an FP8 KV cache: counted as FlashMLA keeps it (fp8_ds_mla, Hopper and RTX); "
            "with FlashInfer on B200 and alike it is an eighth less"
        )


def _kind(config: Mapping[str, Any], text: Mapping[str, Any]) -> str:
    """The model type that decides: the language part's own, else by the architecture's name."""
    kind = text.get("model_type")
    outer = defaults_of(str(config.get("model_type") or ""))
    if (not kind or text is config) and isinstance(outer.get("text"), str):
        return str(outer["text"])
    if isinstance(kind, str) and kind:
        return kind
    names = config.get("architectures")
    name = str(names[0]) if isinstance(names, list) and names else ""
    plain = name.removesuffix("ForCausalLM").removesuffix("LMHeadModel").lower()
    return next((one for one in FAMILIES if one.replace("_", "") == plain), plain)


#: Architectures that share a model type with another kind of model.
_OTHERS = {"DeciLMForCausalLM": "nemotron-nas", "MiniMaxText01ForCausalLM": "minimax_text_01",
           "LongcatFlashNgramForCausalLM": "longcat_flash_ngram",
           "IQuestLoopCoderForCausalLM": "iquest_loopcoder"}  # fmt: skip
#: Heads of speculative decoding and models for embeddings, which keep the model type of what they are made
#: from (``models/registry.py``: _SPECULATIVE_DECODING_MODELS, _EMBEDDING_MODELS and those after it).
_DRAFT = re.compile(r"Eagle|EAGLE|MTP|Medusa|NextN|DFlash|DSpark|Speculator|Assistant")
_SILENT = re.compile(
    r"(?:Classification|Embedding|Retrieval|Ranking|MaskedLM|Reward|RewardModel|Bidirectional\w{0,20})$"
    r"|^(?:Llama|Mistral|Qwen2|Qwen3|Gemma2|Gemma3Text|Phi3|Bert|Roberta)Model$"
)
_ENCODER = (("is_causal", False), ("use_bidirectional_attention", True))


def _same_model(config: Mapping[str, Any], text: Mapping[str, Any], kind: str) -> None:
    names = config.get("architectures")
    for name in names if isinstance(names, list) else []:
        wanted = _OTHERS.get(str(name))
        if wanted and wanted != kind and text is config:
            raise UnknownArchitecture(f"{name} with the model type {kind}")
        if _DRAFT.search(str(name)):
            raise UnknownArchitecture(f"{name:.80} is a draft for another model")
        if _SILENT.search(str(name)):
            raise UnknownArchitecture(f"{name:.80} generates no text")
    if any(text.get(field) is value for field, value in _ENCODER):
        raise UnknownArchitecture("its attention looks both ways: vLLM keeps no KV cache for it")


def _tie(config: Mapping[str, Any], text: Mapping[str, Any]) -> dict[str, Any]:
    """Whether embeddings are shared may be said by the outer config only, or by its type's default."""
    if text is config or isinstance(text.get("tie_word_embeddings"), bool):
        return {}
    outer = config.get("tie_word_embeddings")
    if isinstance(outer, bool):
        return {"tie_word_embeddings": outer}
    return {}


def _notes(stack: Stack, more: bool) -> Iterator[str]:
    if more:
        yield "multimodal: its vision and audio parts are counted with the last stage, to about a tenth"
    if any(one.keeps == "state" for one in stack.layers):
        yield "hybrid: layers without attention keep a state of fixed size for each request"
    windows = {one.window for one in stack.layers if one.keeps == "sliding"}
    if windows:
        count = sum(one.keeps == "sliding" for one in stack.layers)
        yield (
            f"{count} of {len(stack.layers)} layers see a window of {max(windows):,} tokens: their "
            f"KV cache stops growing there"
        )
