"""The legal (TP, PP) pairs for a model on a set of machines, best first, each with its reasons."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from wizard_steps.advisor import reasons
from wizard_steps.advisor.further import Spread, further, replicas
from wizard_steps.advisor.memory import Memory, fit, stage_layers
from wizard_steps.advisor.model import ModelShape
from wizard_steps.advisor.overhead import card
from wizard_steps.advisor.summary import summary
from wizard_steps.advisor.verdict import Advice, Box, Enough, Grade, ParallelTopology, Request, Split

__all__ = [
    "Advice",
    "Box",
    "ParallelTopology",
    "Request",
    "Split",
    "advise",
    "consider",
    "placement",
    "resolve",
]


def placement(topology: ParallelTopology, tp: int, pp: int) -> list[list[tuple[int, int]]]:
    """(box, gpu) of each rank, stage by stage: vLLM sorts ranks by machine, the driver's first.

    Source: ``v1/executor/ray_utils.py`` get_bundles_sorted_by_node; TP is the innermost rank dimension.
    """
    slots = [(i, gpu) for i, box in enumerate(topology.boxes) for gpu in range(box.gpus)]
    return [slots[stage * tp : (stage + 1) * tp] for stage in range(pp)]


def consider(
    shape: ModelShape, topology: ParallelTopology, tp: int, pp: int, wanted: Request | None = None
) -> Split:
    """Judge one pair, legal or not: what a screen shows while a person edits TP and PP."""
    wanted = _applied(shape, resolve(shape, wanted or Request()))
    against = list(reasons.illegal(shape, topology.total, tp, pp, wanted.expert_parallel))
    against += reasons.uneven_context(shape, tp, wanted.context_parallel)
    if against:
        return Split(tp, pp, False, "no", against[0].text, tuple(against))
    stages = placement(topology, tp, pp)
    spans = [len({box for box, _ in stage}) for stage in stages]
    boxes = len({box for stage in stages for box, _ in stage})
    layout = reasons.ParallelLayout(
        tp, pp, topology.total, topology.largest, boxes, max(spans), topology.nvlink
    )
    wanted = _shortened(shape, topology, tp, pp, wanted)
    memory = _memory(shape, topology, tp, pp, wanted)
    pros_cons = (
        *reasons.of_flags(shape, wanted.max_len if wanted.longest else 0, wanted.not_counted),
        *(() if wanted.not_counted else reasons.of_memory(shape, memory, wanted.max_len, wanted.concurrency)),
        *reasons.of_layout(shape, layout),
    )
    grade = _grade(memory, wanted, layout)
    return Split(
        tp=tp,
        pp=pp,
        legal=True,
        grade=grade,
        headline=reasons.headline(grade, memory, wanted.max_len, wanted.concurrency, wanted.not_counted),
        reasons=pros_cons,
        memory=memory,
        requests=memory.requests if memory else 0.0,
        boxes=boxes,
        layers=tuple(stage_layers(shape.layers, pp)),
        straddles=max(spans) > 1,
    )


def _memory(
    shape: ModelShape, topology: ParallelTopology, tp: int, pp: int, wanted: Request
) -> Memory | None:
    """None where the weights or the KV cache of the model are not known: nothing is guessed then."""
    if not judged(shape) or not topology.gpu_bytes or wanted.not_counted:
        return None
    return fit(
        shape,
        tp,
        pp,
        topology.gpu_bytes,
        wanted.utilisation,
        wanted.kv_dtype_bytes,
        max_len=wanted.max_len,
        context_parallel=wanted.context_parallel,
        of=wanted.card or card(topology.gpu_bytes, topology.gpu_name),
    )


def _applied(shape: ModelShape, wanted: Request) -> Request:
    """A checkpoint that is quantised already takes ``--quantization`` with its own method only."""
    if shape.quantisation is None:
        return wanted
    left = tuple(name for name in wanted.not_counted if name != "--quantization")
    return msgspec.structs.replace(wanted, not_counted=left)


def _shortened(shape: ModelShape, topology: ParallelTopology, tp: int, pp: int, wanted: Request) -> Request:
    """With ``--max-model-len auto``: the length that vLLM surely takes, where any fits."""
    memory = _memory(shape, topology, tp, pp, wanted) if wanted.longest else None
    if memory is None or not 0 < memory.tokens_low < wanted.max_len:
        return wanted
    return msgspec.structs.replace(wanted, max_len=memory.tokens_low)


def judged(shape: ModelShape) -> bool:
    """Whether weights and KV cache are known: from the config, or told by the person."""
    return shape.weight_bytes > 0 and (bool(shape.held) or shape.kv_bytes_per_token > 0)


def advise(shape: ModelShape, topology: ParallelTopology, wanted: Request | None = None) -> Advice:
    """All legal pairs, best first, and what is enough."""
    wanted = resolve(shape, wanted or Request())
    splits = [consider(shape, topology, tp, pp, wanted) for tp, pp in _pairs(shape, topology)]
    legal = sorted((split for split in splits if split.legal), key=_rank)
    best = legal[0] if legal and legal[0].grade not in ("no", "unknown") else None
    whole = next((s for s in legal if s.gpus == topology.total and s.grade not in ("no", "unknown")), None)
    enough: Enough = "none" if judged(shape) else "unknown"
    if best:
        enough = "gpu" if best.gpus == 1 else "box" if best.boxes == 1 else "cluster"
    return Advice(
        model=shape,
        topology=topology,
        wanted=wanted,
        enough=enough,
        summary=summary(shape, topology, wanted, best, legal, enough),
        splits=tuple(legal),
        recommended=best,
        whole=whole,
        replicas=replicas(_spread(topology, best)),
        further=tuple(further(shape, _spread(topology, best))),
    )


def _spread(topology: ParallelTopology, best: Split | None) -> Spread:
    """The recommended pair and the machines in numbers."""
    pair = (best.tp, best.pp, best.boxes) if best and best.grade != "tight" else (0, 0, 0)
    counts = [box.gpus for box in topology.boxes]
    return Spread(*pair, tuple(counts), topology.nvlink, topology.mixed)


def resolve(shape: ModelShape, wanted: Request) -> Request:
    """With the model's own longest context where none was wanted (vLLM's default for --max-model-len)."""
    if wanted.max_len:
        return wanted
    return msgspec.structs.replace(wanted, max_len=shape.max_len or 4096)


def _pairs(shape: ModelShape, topology: ParallelTopology) -> Iterator[tuple[int, int]]:
    total, boxes = topology.total, len(topology.boxes)
    for tp in range(1, min(total, shape.heads) + 1):
        if shape.heads % tp:
            continue
        most = min(shape.layers, total // tp)
        depths = {*range(1, 9), boxes, total // tp, *(1 << n for n in range(4, 12))}
        yield from ((tp, pp) for pp in sorted(depths) if pp <= most)


def _grade(memory: Memory | None, wanted: Request, layout: reasons.ParallelLayout) -> Grade:
    """Good only where even the lower end of what is left for the KV cache holds what is wanted."""
    if memory is None:
        return "unknown"
    if memory.requests_high < 1:
        return "no"
    if memory.requests_low < wanted.concurrency:
        return "tight"
    if layout.span > 1 or (layout.boxes > 1 and layout.gpus <= layout.largest):
        return "works"
    if layout.boxes == 1 and layout.pp > 1:
        return "works"
    return "good"


def _rank(split: Split) -> tuple[int, ...]:
    """Fits first; then TP inside a box; then the fewest boxes; then the shallowest pipeline.

    One GPU wins where it is enough: the others can hold replicas. Where it takes several, all of a box do:
    that is faster, and leaves more room. Over several boxes the widest TP wins.
    """
    order = {"good": 0, "works": 0, "tight": 1, "no": 2, "unknown": 3}[split.grade]
    width = 0 if split.gpus == 1 else -split.tp
    if split.grade in ("tight", "no"):
        tokens = split.memory.tokens if split.memory else 0
        return order, int(split.straddles), -tokens, split.boxes, split.pp, width
    return order, int(split.straddles), split.boxes, split.pp, int(split.gpus > 1), width
