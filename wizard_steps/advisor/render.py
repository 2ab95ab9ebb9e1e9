"""Advice as text of at most 76 columns, and as plain JSON values."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

import msgspec

from wizard_steps.advisor.memory import GIB, USABLE
from wizard_steps.advisor.model import ModelShape
from wizard_steps.advisor.picture import WIDTH, picture
from wizard_steps.advisor.plan import Advice, ParallelTopology, Split


def as_text(advice: Advice, limit: int = 10) -> list[str]:
    """Summary, picture, memory of the recommended pair, then a table of the first ``limit`` pairs."""
    lines = [*_wrap(model_line(advice.model)), *source_lines(advice.model), *_wrap(topology_line(advice)), ""]
    lines += _wrap(advice.summary)
    best = advice.recommended
    if best:
        title = "Recommended" if best.grade != "tight" else "Nearest"
        lines += ["", f"{title}: --tensor-parallel-size {best.tp} --pipeline-parallel-size {best.pp}", ""]
        lines += picture(advice.topology, best.tp, best.pp, advice.model.layers)
        lines += ["", *memory_lines(best), *reason_lines(best)]
    whole = advice.whole
    if whole and best and whole.gpus != best.gpus:
        lines += ["", *_wrap(f"To use all {whole.gpus} GPUs for one server: TP {whole.tp} x PP {whole.pp} "
                             f"({whole.headline}).")]  # fmt: skip
    if advice.replicas > 1 and best:
        gpus = advice.replicas * best.gpus
        lines += ["", *_wrap(f"For more requests at once: serve.data_parallel = {advice.replicas}, "
                             f"{advice.replicas} replicas of it on {gpus} GPUs behind one API.")]  # fmt: skip
    if advice.further:
        lines += ["", "Also consider:"]
        for text in advice.further:
            lines += textwrap.wrap(f"* {text}", WIDTH, initial_indent="  ", subsequent_indent="    ")
    lines += ["", *table(advice, limit)]
    for note in advice.model.notes:
        lines += _wrap(f"Note: {note}.")
    return lines


def split_text(
    shape: ModelShape, topology: ParallelTopology, split: Split, replicas: int = 1, used: Sequence[int] = ()
) -> list[str]:
    """One pair: what a screen shows while a person edits TP and PP."""
    unsure = split.grade == "tight" and split.memory is not None and split.memory.requests_low < 1
    grade = "tight, rehearse it" if unsure else split.grade
    each = " for each replica" if replicas > 1 else ""
    lines = _wrap(f"TP {split.tp} x PP {split.pp} = {split.gpus} GPUs{each}: {grade}, {split.headline}")
    lines += ["", *picture(topology, split.tp, split.pp, shape.layers, replicas, used), ""]
    if split.legal:
        return lines + memory_lines(split) + reason_lines(split)
    # The first reason is the headline already.
    return lines + [line for reason in split.reasons[1:] for line in _wrap(f"- {reason.text}")]


def model_line(shape: ModelShape) -> str:
    quant = shape.quantisation
    kind = f"{quant.method} {quant.bits:.3g} bit" if quant else shape.dtype
    experts = f", {shape.experts} experts" if shape.experts else ""
    heads = "MLA" if shape.mla_dim else f"{shape.kv_heads} KV"
    unknown = "" if shape.known else "; UNKNOWN ARCHITECTURE"
    return (
        f"Model: {shape.architecture}, {shape.layers} layers, {shape.heads} heads ({heads}), {kind}{experts}"
        f"{unknown}"
    )


def source_lines(shape: ModelShape) -> list[str]:
    """Weights and KV cache with where the numbers are from and how far they may be off."""
    weights = kv = "not known"
    if shape.weight_bytes:
        off = f", within {max(0.01, shape.weights_off):.0%}" if shape.weights_off else ""
        weights = f"{shape.weight_bytes / GIB:.1f} GiB ({shape.weights_from}{off})"
    if shape.kv_bytes_per_token:
        grown = f", {shape.attention_layers} of {shape.layers} layers grow" if shape.held else ""
        kv = f"{shape.kv_bytes_per_token:,} bytes per token, one replica ({shape.kv_from}{grown})"
    return [*_wrap(f"Weights: {weights}"), *_wrap(f"KV cache: {kv}")]


def topology_line(advice: Advice) -> str:
    counts = [box.gpus for box in advice.topology.boxes]
    each = f"{len(counts)} x {counts[0]}" if len(set(counts)) == 1 else " + ".join(map(str, counts))
    name = f" {advice.topology.gpu_name}" if advice.topology.gpu_name else ""
    told = f" ({advice.topology.told})" if advice.topology.told else ""
    return f"Machines: {each} GPUs{name} of {advice.topology.gpu_bytes / GIB:.1f} GiB{told}"


def memory_lines(split: Split) -> list[str]:
    memory = split.memory
    if memory is None:
        return ["Memory: not judged, see above."]
    share = f"--gpu-memory-utilization {memory.budget / memory.total / USABLE:.2f}"
    extra = _span(memory.overhead_low, memory.overhead_high)
    cache = _span(memory.kv_low, memory.kv_high)
    rows = (
        ("weights", memory.weights, _span(memory.weights_low, memory.weights_high)),
        ("overhead", memory.overhead, f"{extra}: CUDA, NCCL, graphs, activations"),
        ("KV cache", memory.kv, f"{cache}, {memory.kv_per_token:,} bytes per token"),
        ("vLLM may use", memory.budget, f"{share} of {memory.total / GIB:.1f} GiB"),
    )
    return ["Memory of the fullest GPU, estimated:"] + [
        f"  {name:<13}{size / GIB:>6.1f} GiB  {text}".rstrip() for name, size, text in rows
    ]


def _span(low: int, high: int) -> str:
    return f"{low / GIB:.1f} to {high / GIB:.1f}"


def reason_lines(split: Split) -> list[str]:
    lines: list[str] = []
    for reason in split.reasons:
        lines += textwrap.wrap(
            f"{'+' if reason.good else '-'} {reason.text}",
            WIDTH,
            initial_indent="  ",
            subsequent_indent="    ",
        )
    return lines


def table(advice: Advice, limit: int) -> list[str]:
    head = (
        f"{'TP':>3} {'PP':>3} {'GPUs':>4} {'boxes':>5}  {'weights':>9} {'KV left':>9}  {'verdict':<7} holds"
    )
    lines = [head]
    for split in advice.splits[:limit]:
        memory = split.memory
        if memory is None:
            line = f"{split.tp:>3} {split.pp:>3} {split.gpus:>4} {split.boxes:>5}"
            lines.append(f"{line}  {'':>9} {'':>9}  {split.grade:<7} {split.headline}"[:WIDTH])
            continue
        lines.append(
            f"{split.tp:>3} {split.pp:>3} {split.gpus:>4} {split.boxes:>5}  {memory.weights / GIB:>5.1f} GiB "
            f"{memory.kv / GIB:>5.1f} GiB  {split.grade:<7} {split.headline}"[:WIDTH]
        )
    if len(advice.splits) > limit:
        lines.append(f"... and {len(advice.splits) - limit} more pairs (--json lists all)")
    return lines


def as_json(advice: Advice) -> dict[str, Any]:
    """Plain values. What is not known is null, never 0."""
    data: dict[str, Any] = msgspec.to_builtins(advice)
    data["model"] = model_json(advice.model)
    data["sources"] = {
        "weights": advice.model.weights_from or None,
        "kv_cache": advice.model.kv_from or None,
        "overhead": "fitted to vLLM's own logs of an H100",
        "gpu_memory": advice.topology.told or None,
    }
    best = advice.recommended
    data["ranges"] = _ranges(advice.model, best)
    return data


def model_json(shape: ModelShape) -> dict[str, Any]:
    data: dict[str, Any] = msgspec.to_builtins(shape)
    del data["held"]
    for name in ("weight_bytes", "kv_bytes_per_token"):
        data[name] = data[name] or None
    kinds = [one.keeps for one in shape.held]
    data["layer_kinds"] = {kind: kinds.count(kind) for kind in sorted(set(kinds))}
    if shape.quantisation:
        data["quantisation"] = {"method": shape.quantisation.method, "bits": shape.quantisation.bits,
                                "group": shape.quantisation.group}  # fmt: skip
    return data


def _ranges(shape: ModelShape, best: Split | None) -> dict[str, Any]:
    """[at least, at most]; memory and requests are those of the recommended pair."""
    off = shape.weights_off
    found: dict[str, Any] = {}
    if shape.weight_bytes:
        found["weight_bytes"] = [int(shape.weight_bytes * (1 - off)), int(shape.weight_bytes * (1 + off))]
    if best and (memory := best.memory):
        for name in ("weights", "overhead", "kv", "tokens", "requests"):
            found[name] = [getattr(memory, f"{name}_low"), getattr(memory, f"{name}_high")]
    return found


def _wrap(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, subsequent_indent="  ")
