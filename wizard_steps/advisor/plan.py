"""The legal (TP, PP) pairs for a model on a set of machines, best first, each with its reasons."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from msgspec import Struct

from wizard_steps.advisor import reasons
from wizard_steps.advisor.memory import GIB, UTILISATION, Memory, fit, stage_layers
from wizard_steps.advisor.reasons import Reason
from wizard_steps.advisor.shape import ModelShape

#: good: do this; works: fits, but something is wasted or slow; tight: starts, with fewer requests at once
#: than wanted; no: vLLM would not start.
Grade = Literal["good", "works", "tight", "no"]
#: The smallest thing that is enough.
Enough = Literal["gpu", "box", "cluster", "none"]


class Box(Struct, frozen=True):
    """One machine. ``gpus`` is how many it has."""

    name: str
    gpus: int


class Topology(Struct, frozen=True):
    """Machines in rank order (the head first). ``gpu_bytes`` is the memory of the smallest GPU.

    ``nvlink`` says whether the GPUs of a box are joined by NVLink; None when it is not known.
    """

    boxes: tuple[Box, ...]
    gpu_bytes: int
    gpu_name: str = ""
    nvlink: bool | None = None

    @property
    def total(self) -> int:
        return sum(box.gpus for box in self.boxes)

    @property
    def largest(self) -> int:
        return max((box.gpus for box in self.boxes), default=0)


class Wanted(Struct, frozen=True):
    """What the server must hold: ``concurrency`` requests of ``max_len`` tokens (0: the model's longest)."""

    max_len: int = 0
    concurrency: int = 1
    utilisation: float = UTILISATION
    kv_dtype_bytes: float = 0


class Split(Struct, frozen=True):
    """One pair, judged. ``requests`` is how many of the wanted length the KV cache holds at once."""

    tp: int
    pp: int
    legal: bool
    grade: Grade
    headline: str
    reasons: tuple[Reason, ...] = ()
    memory: Memory | None = None
    requests: float = 0.0
    boxes: int = 0
    layers: tuple[int, ...] = ()
    straddles: bool = False

    @property
    def gpus(self) -> int:
        return self.tp * self.pp


class Advice(Struct, frozen=True):
    """``splits`` are the legal pairs, the best first; ``whole`` is the best one that uses every GPU."""

    model: ModelShape
    topology: Topology
    wanted: Wanted
    enough: Enough
    summary: str
    splits: tuple[Split, ...] = ()
    recommended: Split | None = None
    whole: Split | None = None


def placement(topology: Topology, tp: int, pp: int) -> list[list[tuple[int, int]]]:
    """(box, gpu) of each rank, stage by stage: vLLM sorts ranks by machine, the driver's first.

    Source: ``v1/executor/ray_utils.py`` get_bundles_sorted_by_node; TP is the innermost rank dimension.
    """
    slots = [(i, gpu) for i, box in enumerate(topology.boxes) for gpu in range(box.gpus)]
    return [slots[stage * tp : (stage + 1) * tp] for stage in range(pp)]


def consider(shape: ModelShape, topology: Topology, tp: int, pp: int, wanted: Wanted | None = None) -> Split:
    """Judge one pair, legal or not: what a screen shows while a person edits TP and PP."""
    wanted = resolve(shape, wanted or Wanted())
    against = list(reasons.illegal(shape, topology.total, tp, pp))
    if against:
        return Split(tp, pp, False, "no", against[0].text, tuple(against))
    stages = placement(topology, tp, pp)
    spans = [len({box for box, _ in stage}) for stage in stages]
    boxes = len({box for stage in stages for box, _ in stage})
    memory = fit(shape, tp, pp, topology.gpu_bytes, wanted.utilisation, wanted.kv_dtype_bytes)
    requests = memory.tokens / wanted.max_len if wanted.max_len else 0.0
    layout = reasons.Layout(tp, pp, topology.total, topology.largest, boxes, max(spans), topology.nvlink)
    pros_cons = (
        *reasons.of_memory(shape, memory, wanted.max_len, wanted.concurrency),
        *reasons.of_layout(shape, layout),
    )
    grade = _grade(memory, requests, wanted, layout)
    return Split(
        tp=tp,
        pp=pp,
        legal=True,
        grade=grade,
        headline=reasons.headline(grade, memory, requests, wanted.max_len),
        reasons=pros_cons,
        memory=memory,
        requests=requests,
        boxes=boxes,
        layers=tuple(stage_layers(shape.layers, pp)),
        straddles=max(spans) > 1,
    )


def advise(shape: ModelShape, topology: Topology, wanted: Wanted | None = None) -> Advice:
    """All legal pairs, best first, and what is enough."""
    wanted = resolve(shape, wanted or Wanted())
    splits = [consider(shape, topology, tp, pp, wanted) for tp, pp in _pairs(shape, topology)]
    legal = sorted((split for split in splits if split.legal), key=_rank)
    best = legal[0] if legal and legal[0].grade != "no" else None
    whole = next((s for s in legal if s.gpus == topology.total and s.grade != "no"), None)
    enough: Enough = "none"
    if best:
        enough = "gpu" if best.gpus == 1 else "box" if best.boxes == 1 else "cluster"
    return Advice(
        model=shape,
        topology=topology,
        wanted=wanted,
        enough=enough,
        summary=_summary(topology, wanted, best, legal, enough),
        splits=tuple(legal),
        recommended=best,
        whole=whole,
    )


def resolve(shape: ModelShape, wanted: Wanted) -> Wanted:
    """With the model's own longest context where none was wanted (vLLM's default for --max-model-len)."""
    if wanted.max_len:
        return wanted
    return Wanted(shape.max_len or 4096, wanted.concurrency, wanted.utilisation, wanted.kv_dtype_bytes)


def _pairs(shape: ModelShape, topology: Topology) -> Iterator[tuple[int, int]]:
    total, boxes = topology.total, len(topology.boxes)
    for tp in range(1, min(total, shape.heads) + 1):
        if shape.heads % tp:
            continue
        most = min(shape.layers, total // tp)
        depths = {*range(1, 9), boxes, total // tp, *(1 << n for n in range(4, 12))}
        yield from ((tp, pp) for pp in sorted(depths) if pp <= most)


def _grade(memory: Memory, requests: float, wanted: Wanted, layout: reasons.Layout) -> Grade:
    if requests < 1 or memory.tokens == 0:
        return "no"
    if requests < wanted.concurrency:
        return "tight"
    if layout.span > 1 or (layout.boxes > 1 and layout.gpus <= layout.largest):
        return "works"
    if layout.boxes == 1 and layout.pp > 1:
        return "works"
    return "good"


def _rank(split: Split) -> tuple[int, ...]:
    """Fits first; then TP inside a box; then the fewest boxes; then the shallowest pipeline.

    Inside one box the fewest GPUs win, over several the widest TP.
    """
    order = {"good": 0, "works": 0, "tight": 1, "no": 2}[split.grade]
    width = split.tp if split.boxes == 1 else -split.tp
    if split.grade in ("tight", "no"):
        tokens = split.memory.tokens if split.memory else 0
        return order, int(split.straddles), -tokens, split.boxes, split.pp, width
    return order, int(split.straddles), split.boxes, split.pp, width, 0


def _summary(
    topology: Topology, wanted: Wanted, best: Split | None, legal: list[Split], enough: Enough
) -> str:
    want = f"{wanted.concurrency} request(s) of {wanted.max_len:,} tokens at once"
    if best is None:
        return _nothing_fits(topology, wanted, legal)
    if best.grade == "tight":
        return (
            f"Nothing holds {want}. TP {best.tp} x PP {best.pp} comes nearest: {best.requests:.1f} requests. "
            "Lower --max-model-len, expect queueing, or add GPUs."
        )
    if enough == "gpu":
        return (
            f"One GPU is enough for {want}: TP 1, PP 1. "
            "More GPUs make it faster or give room for more requests."
        )
    if enough == "box":
        return (
            f"One box is enough for {want}: TP {best.tp} inside it. No second machine is needed; "
            "the others can serve further replicas."
        )
    return f"TP {best.tp} inside each box, PP {best.pp} between {best.boxes} boxes holds {want}."


def _nothing_fits(topology: Topology, wanted: Wanted, legal: list[Split]) -> str:
    top = max(
        legal, key=lambda split: (split.memory.tokens, split.gpus) if split.memory else (0, 0), default=None
    )
    if top is None or top.memory is None:
        return "No (TP, PP) pair is legal for this model on these machines."
    if top.memory.tokens:
        return (
            f"vLLM would refuse to start: one request of {wanted.max_len:,} tokens does not fit. "
            f"The most that fits is {top.memory.tokens:,} tokens with TP {top.tp} x PP {top.pp}: "
            f"set --max-model-len to that or less, or add GPUs."
        )
    widest = max(legal, key=lambda split: split.gpus)
    need = widest.memory.weights + widest.memory.overhead if widest.memory else 0
    return (
        f"The weights do not fit: even TP {widest.tp} x PP {widest.pp} needs {need / GIB:.1f} GiB per GPU of "
        f"{topology.gpu_bytes * wanted.utilisation / GIB:.1f} GiB. Add GPUs or take a quantised model."
    )
