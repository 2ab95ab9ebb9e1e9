"""How many bits each tensor of a quantised checkpoint takes, scales included, as vLLM reads the config.

Sources: ``model_executor/layers/quantization`` (fp8, modelopt, compressed_tensors, awq, gptq, mxfp4).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from msgspec import Struct

from wizard_steps.advisor.blocks import LayerPart
from wizard_steps.advisor.config import UnknownArchitecture
from wizard_steps.advisor.module_names import one_for_all, stays_plain, targeted

#: Bits per weight with its scales: MXFP4 and MXFP8 share 8 bits among 32 weights, NVFP4 8 among 16.
_ALGORITHMS = {
    "FP8": 8.0, "FP8_PB_WO": 8.0, "FP8_PER_CHANNEL_PER_TOKEN": 8.0, "FP8_BLOCK_SCALES": 8.0,
    "FP8_PB_REAL": 8.0, "NVFP4": 4.5, "NVFP4_AWQ": 4.5, "W4A16_NVFP4": 4.5, "W4A8_NVFP4_FP8": 4.5,
    "W4A8_NVFP4": 4.5, "MXFP8": 8.25, "MXFP4": 4.25, "W4A8_MXFP4_FP8": 4.25, "INT8": 8.0,
    "W8A8_SQ_PER_CHANNEL": 8.0, "W8A16": 8.0,
}  # fmt: skip


class Quantisation(Struct, frozen=True):
    """``bits`` per weight; ``group`` is the run of weights that share a scale and cannot be cut (0: none)."""

    method: str
    bits: float
    group: int = 0
    #: Names or patterns of modules that stay in the plain type.
    ignore: tuple[str, ...] = ()
    #: Quantised by name: bits of those modules; with any of them, what is not named stays plain.
    named: tuple[tuple[str, float], ...] = ()
    #: Only the routed experts are quantised.
    experts_only: bool = False
    #: Bits of the routed experts, where they differ (0: as all).
    expert_bits: float = 0.0
    #: Also the output head and the embeddings may be quantised.
    head: bool = False
    #: Bytes of an element of the KV cache that the checkpoint asks for (0: nothing said).
    kv_bytes: float = 0.0


def quantisation(config: Any, side: Any = None, expert_dtype: str = "") -> Quantisation | None:
    """From ``quantization_config`` and, beside it, ModelOpt's hf_quant_config.json (``side``).

    UnknownArchitecture for a method that was not checked: its sizes cannot be told.
    """
    own = config if isinstance(config, Mapping) else {}
    beside = side.get("quantization") if isinstance(side, Mapping) else None
    if isinstance(beside, Mapping) and (not own or own.get("quant_method") == "modelopt"):
        own = {"quant_method": "modelopt", **own, **beside}
    if not own:
        return None
    method = str(own.get("quant_method") or ("modelopt" if own.get("quant_algo") else "unknown"))
    method = method.lower().replace("_", "-")
    if method.startswith("modelopt"):
        return _modelopt(own, method)
    if method == "compressed-tensors":
        return _compressed(own, method)
    kv = _kv_bytes(own)
    ignore = _ignored(own)
    if method in ("fp8", "fbgemm-fp8", "deepseek-v4-fp8"):
        fp4 = 4.25 if expert_dtype.startswith("fp4") else 0.0
        return Quantisation(method, 8.0, _block(own), ignore, expert_bits=fp4, kv_bytes=kv)
    if method in ("mxfp4", "gpt-oss-mxfp4"):
        return Quantisation(method, 4.25, 32, ignore, experts_only=True, kv_bytes=kv)
    if method in ("awq", "gptq", "awq-marlin", "gptq-marlin", "auto-round", "auto-awq", "auto-gptq"):
        bits = _number(own, "bits", "w_bit") or 4
        group = _number(own, "group_size", "q_group_size")
        scales = (16 + bits) / group if group > 0 else 0.0
        head = own.get("lm_head") is True
        return Quantisation(method, bits + scales, max(0, int(group)), ignore, head=head, kv_bytes=kv)
    if method == "bitsandbytes":
        eight = own.get("load_in_8bit") is True
        return Quantisation(method, 8.0 if eight else 4.5, 0, ignore, kv_bytes=kv)
    if method in ("int8", "experts-int8"):
        return Quantisation(method, 8.0, 0, ignore, experts_only=method == "experts-int8", kv_bytes=kv)
    raise UnknownArchitecture(f"the quantisation {method[:40]} was not checked")


def part_bytes(q: Quantisation | None, part: LayerPart, layer: int, plain: float) -> float:
    """Bytes of one part; ``layer`` is -1 outside of the layers, ``plain`` the bytes of an element."""
    bits = _bits(q, part, layer) if q else 0.0
    return part.size * (bits / 8 if bits else plain)


def _bits(q: Quantisation, part: LayerPart, layer: int) -> float:
    """0: the part stays in the plain type."""
    if part.kind in ("other", "embedding"):
        return 0.0
    name = f"layers.{layer}.{part.name}" if layer >= 0 else part.name
    if q.named:
        left = any(stays_plain(one, name, part) for one in q.ignore)
        return 0.0 if left else next((bits for one, bits in q.named if targeted(one, name, part)), 0.0)
    if layer < 0 and not (q.head and part.name == "lm_head"):
        return 0.0
    if q.experts_only and part.kind != "experts":
        return 0.0
    if any(stays_plain(one, name, part) for one in q.ignore):
        return 0.0
    return (part.kind == "experts" and q.expert_bits) or q.bits


def _modelopt(own: Mapping[str, Any], method: str) -> Quantisation:
    algorithm = str(own.get("quant_algo") or "").upper()
    kv = _kv_bytes(own)
    if algorithm in ("MIXED_PRECISION", "MIXED"):
        listed = own.get("quantized_layers")
        named = tuple(_named(listed)) if isinstance(listed, Mapping) else ()
        if not named:
            raise UnknownArchitecture("mixed precision without a list of quantized_layers")
        return Quantisation(method, named[0][1], 16, named=named, head=True, kv_bytes=kv)
    if algorithm.startswith("W4A") and "AWQ" in algorithm:
        return Quantisation(method, 4.125, 128, _ignored(own), kv_bytes=kv)
    if algorithm not in _ALGORITHMS:
        raise UnknownArchitecture(f"the quantisation {algorithm[:40] or 'of modelopt'} was not checked")
    group = 16 if "FP4" in algorithm else _block(own)
    return Quantisation(method, _ALGORITHMS[algorithm], group, _ignored(own), head=True, kv_bytes=kv)


def _named(listed: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Modules and their bits; experts of a layer, which may be listed one by one, as one with the mean."""
    bits: dict[str, list[float]] = {}
    for name, recipe in listed.items():
        algorithm = str(recipe.get("quant_algo") or "").upper() if isinstance(recipe, Mapping) else ""
        if algorithm not in _ALGORITHMS:
            raise UnknownArchitecture(f"the quantisation {algorithm[:40]} was not checked")
        bits.setdefault(one_for_all(name), []).append(_ALGORITHMS[algorithm])
    yield from ((name, sum(each) / len(each)) for name, each in bits.items())


def _compressed(own: Mapping[str, Any], method: str) -> Quantisation:
    """compressed-tensors: groups of modules with one scheme each; nearly always a single one on "Linear"."""
    groups = own.get("config_groups")
    schemes: list[tuple[list[str], float, int]] = []
    for group in groups.values() if isinstance(groups, Mapping) else ():
        weights = group.get("weights") if isinstance(group, Mapping) else None
        if isinstance(weights, Mapping):
            schemes.append(([str(t) for t in group.get("targets") or ["Linear"]], *_scheme(weights)))
    if not schemes:
        raise UnknownArchitecture("compressed-tensors without a scheme for weights")
    _, bits, size = schemes[0]
    if len({one[1] for one in schemes}) > 1:
        listed = {_target(target): b for targets, b, _ in schemes for target in targets}
        # ``compressed_tensors/utils.py`` find_matched_target: a name or pattern before the kind of layer.
        named = sorted(listed.items(), key=lambda one: one[0] == "Linear")
        return Quantisation(
            method, bits, size, _ignored(own), tuple(named), head=True, kv_bytes=_kv_bytes(own)
        )
    return Quantisation(method, bits, size, _ignored(own), kv_bytes=_kv_bytes(own))


def _target(name: str) -> str:
    return name if name.startswith("re:") else one_for_all(name)


def _scheme(weights: Mapping[str, Any]) -> tuple[float, int]:
    bits = _number(weights, "num_bits") or 8
    group = max(0, int(_number(weights, "group_size")))
    scale = 8 if weights.get("type") == "float" and bits == 4 else 16
    if not group:
        block = weights.get("block_structure")
        whole = [int(one) for one in block if isinstance(one, int)] if isinstance(block, list) else []
        return bits, max(whole, default=0)
    zeros = bits if weights.get("symmetric") is False else 0.0
    return bits + (scale + zeros) / group, group


def _ignored(own: Mapping[str, Any]) -> tuple[str, ...]:
    names: list[str] = []
    for field in (
        "ignore",
        "exclude_modules",
        "modules_to_not_convert",
        "ignored_layers",
        "llm_int8_skip_modules",
    ):
        listed = own.get(field)
        if isinstance(listed, list):
            names += [str(one) for one in listed if one]
    return tuple(names[:20_000])


def _block(own: Mapping[str, Any]) -> int:
    block = own.get("weight_block_size")
    return (
        max((int(one) for one in block if isinstance(one, int)), default=0) if isinstance(block, list) else 0
    )


def _kv_bytes(own: Mapping[str, Any]) -> float:
    scheme = own.get("kv_cache_scheme")
    algorithm = str(own.get("kv_cache_quant_algo") or "").upper()
    if isinstance(scheme, Mapping) and scheme.get("num_bits") == 8:
        return 1.0
    if algorithm in ("NVFP4", "FP4"):
        return 0.5625
    return 1.0 if algorithm.startswith(("FP8", "INT8")) else 0.0


def _number(own: Mapping[str, Any], *names: str) -> float:
    for name in names:
        value = own.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e6:
            return value
    return 0.0
