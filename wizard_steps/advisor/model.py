"""What is known of a model, in numbers: the value that everything else of the advisor works on."""

from __future__ import annotations

import msgspec
from msgspec import Struct

from wizard_steps.advisor.quant import Quantisation
from wizard_steps.advisor.stack import Keeps


class Held(Struct, frozen=True):
    """One layer as a GPU holds it: ``weights`` in bytes; of the KV cache, elements for a token (of one KV
    head, or MLA's ``latent``) and ``state`` in bytes for a request."""

    keeps: Keeps
    weights: float
    kv_heads: int = 0
    head: int = 0
    latent: int = 0
    index_bytes: int = 0
    packed: int = 0
    window: int = 0
    state: int = 0


class ModelShape(Struct, frozen=True):
    """Sizes in elements unless the name says bytes. ``attention_layers`` keep a KV cache that grows."""

    architecture: str
    model_type: str
    known: bool
    #: Why not, where ``known`` is false.
    unknown: str = ""
    layers: int = 0
    heads: int = 0
    kv_heads: int = 0
    head_dim: int = 0
    hidden: int = 0
    intermediate: int = 0
    vocab: int = 0
    dtype: str = "bfloat16"
    dtype_bytes: float = 2.0
    attention_layers: int = 0
    max_len: int = 0
    quantisation: Quantisation | None = None
    #: Multi-head latent attention: elements for a token and layer, 0 when not MLA.
    mla_dim: int = 0
    experts: int = 0
    experts_per_token: int = 0
    expert_intermediate: int = 0
    dense_layers: int = 0
    sliding_window: int = 0
    sliding_layers: int = 0
    state_layers: int = 0
    #: What TP must divide besides the attention heads: its name and number.
    cuts: tuple[tuple[str, int], ...] = ()
    #: Width of all shared experts together, and the blocks of its quantised weights.
    shared_width: int = 0
    shared_group: int = 0
    tied: bool = False
    #: Bytes of all weights; from the checkpoint where ``weights_from`` says so, else estimated; 0: not known.
    weight_bytes: int = 0
    weights_from: str = ""
    #: Bytes by which the weights are larger once loaded than in the files.
    padding_bytes: int = 0
    #: How far the weights may be off, as a share of them.
    weights_off: float = 0.0
    #: What each further token of a request takes, in bytes: one replica, all layers; 0: not known.
    kv_bytes_per_token: int = 0
    kv_from: str = ""
    #: Bytes of an element of the KV cache, where the checkpoint sets it (0: as the weights' type).
    kv_dtype_bytes: float = 0.0
    held: tuple[Held, ...] = ()
    #: Bytes outside of the layers: embeddings, and the output head with any towers.
    embedding_bytes: int = 0
    head_bytes: int = 0
    notes: tuple[str, ...] = ()


def with_weights(shape: ModelShape, size: int, source: str, spare: int = 0) -> ModelShape:
    """The same model with the size that its files tell; ``spare``: bytes in them that are not loaded."""
    notes = shape.notes
    if spare:
        notes = (
            *notes,
            f"{spare / (1 << 30):.1f} GiB more in its files are for speculative decoding (MTP), "
            f"loaded only with it",
        )
    if shape.dtype_bytes > 2 and shape.quantisation is None:
        size = int(size * 2 / shape.dtype_bytes)
        source += ", loaded as 16 bit"
    if shape.padding_bytes:
        source += f", and {shape.padding_bytes / (1 << 30):.1f} GiB by which vLLM pads MXFP4 experts"
    off = 0.01 if source.startswith("tensors") else 0.03
    return msgspec.structs.replace(
        shape, weight_bytes=size + shape.padding_bytes, weights_from=source, weights_off=off, notes=notes
    )


def token_bytes(one: Held, tp: int, kv_size: float) -> float:
    """KV cache of one token in one layer on one of ``tp`` GPUs.

    Source: ``config/model.py`` get_num_kv_heads: KV heads are dealt out and, where there are fewer than
    GPUs, repeated; MLA's vector is the same on all.
    """
    if one.latent:
        return (one.packed if one.packed and kv_size == 1 else one.latent * kv_size) + one.index_bytes
    return max(1, one.kv_heads // tp) * one.head * kv_size if one.kv_heads else 0.0
