"""Advice as text of at most 76 columns, and as plain JSON values."""

from __future__ import annotations

import textwrap
from typing import Any

import msgspec

from wizard_steps.advisor.memory import GIB
from wizard_steps.advisor.picture import WIDTH, picture
from wizard_steps.advisor.plan import Advice, Split, Topology
from wizard_steps.advisor.shape import ModelShape


def as_text(advice: Advice, limit: int = 10) -> list[str]:
    """Summary, picture, memory of the recommended pair, then a table of the first ``limit`` pairs."""
    lines = [*_wrap(model_line(advice.model)), *_wrap(topology_line(advice)), ""]
    lines += _wrap(advice.summary)
    best = advice.recommended
    if best:
        lines += ["", f"Recommended: --tensor-parallel-size {best.tp} --pipeline-parallel-size {best.pp}", ""]
        lines += picture(advice.topology, best.tp, best.pp, advice.model.layers)
        lines += ["", *memory_lines(best), *reason_lines(best)]
    whole = advice.whole
    if whole and best and whole.gpus != best.gpus:
        lines += ["", *_wrap(f"To use all {whole.gpus} GPUs for one server: TP {whole.tp} x PP {whole.pp} "
                             f"({whole.headline}).")]  # fmt: skip
    lines += ["", *table(advice, limit)]
    for note in advice.model.notes:
        lines += _wrap(f"Note: {note}.")
    return lines


def split_text(shape: ModelShape, topology: Topology, split: Split) -> list[str]:
    """One pair: what a screen shows while a person edits TP and PP."""
    lines = _wrap(f"TP {split.tp} x PP {split.pp} = {split.gpus} GPUs: {split.grade}, {split.headline}")
    lines += ["", *picture(topology, split.tp, split.pp, shape.layers), "", *memory_lines(split)]
    return lines + reason_lines(split)


def model_line(shape: ModelShape) -> str:
    kind = f"{shape.quantisation.method} {shape.quantisation.bits} bit" if shape.quantisation else shape.dtype
    experts = f", {shape.experts} experts" if shape.experts else ""
    heads = "MLA" if shape.mla_dim else f"{shape.kv_heads} KV"
    return (
        f"Model: {shape.architecture}, {shape.layers} layers, {shape.heads} heads ({heads}), {kind}{experts}"
        f"; weights {shape.weight_bytes / GIB:.1f} GiB ({shape.weights_from})"
    )


def topology_line(advice: Advice) -> str:
    counts = [box.gpus for box in advice.topology.boxes]
    each = f"{len(counts)} x {counts[0]}" if len(set(counts)) == 1 else " + ".join(map(str, counts))
    name = f" {advice.topology.gpu_name}" if advice.topology.gpu_name else ""
    return f"Machines: {each} GPUs{name} of {advice.topology.gpu_bytes / GIB:.1f} GiB"


def memory_lines(split: Split) -> list[str]:
    memory = split.memory
    if memory is None:
        return []
    rows = (
        ("weights", memory.weights, ""),
        ("overhead", memory.overhead, "estimate: CUDA, NCCL, graphs, activations"),
        ("KV cache", memory.kv, f"{memory.kv_per_token:,} bytes per token, {memory.tokens:,} tokens"),
        ("vLLM may use", memory.budget, f"--gpu-memory-utilization {memory.budget / memory.total:.2f} "
                                        f"of {memory.total / GIB:.1f} GiB"),
    )  # fmt: skip
    return ["Memory of the fullest GPU:"] + [
        f"  {name:<13}{size / GIB:>7.1f} GiB  {text}".rstrip() for name, size, text in rows
    ]


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
            continue
        lines.append(
            f"{split.tp:>3} {split.pp:>3} {split.gpus:>4} {split.boxes:>5}  {memory.weights / GIB:>5.1f} GiB "
            f"{memory.kv / GIB:>5.1f} GiB  {split.grade:<7} {split.headline}"[:WIDTH]
        )
    if len(advice.splits) > limit:
        lines.append(f"... and {len(advice.splits) - limit} more pairs (--json lists all)")
    return lines


def as_json(advice: Advice) -> dict[str, Any]:
    data: dict[str, Any] = msgspec.to_builtins(advice)
    return data


def _wrap(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, subsequent_indent="  ")
