"""How TP x PP sits on machines, in sentences, before anything is known of their GPUs.

A model whose config.json is here is judged by ``plan.consider``, as at a gate, in `check` and in `advise`, on
the GPU that `advise` assumes too. Without one only the size of its weights, by its name, is known.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from msgspec import Struct

from wizard_steps.advisor.cards import ASSUMED
from wizard_steps.advisor.here import KnownMachines
from wizard_steps.advisor.memory import GIB
from wizard_steps.advisor.model import ModelShape
from wizard_steps.advisor.plan import (
    Box,
    ParallelTopology,
    Request,
    Split,
    advise,
    consider,
    judged,
    placement,
)
from wizard_steps.advisor.reasons import illegal
from wizard_steps.model import counted

#: Bytes of weights that a GPU of 80 GB holds with room for requests beside them.
ROOM = 60e9
#: good: do this; doubt: it may not start, or not be what is wanted; bad: it does not start, or crawls.
Grade = Literal["good", "doubt", "bad"]
Pair = tuple[int, int]


class Sits(Struct, frozen=True):
    grade: Grade
    text: str


def sits(
    boxes: Sequence[Box], tp: int, pp: int, model: KnownMachines | None = None, wanted: Request | None = None
) -> Sits:
    """Judge a pair. ``boxes`` are the machines in rank order, the head first; names are shown as they are.
    ``wanted``: what the flags of the cluster file ask for."""
    model = model or KnownMachines()
    total = sum(box.gpus for box in boxes)
    against = _against(boxes, tp, pp, model.shape)
    better = whole(boxes, model.shape)
    if against:
        try_ = f" Try {_pair(better)}: {_of(better, total)}." if better and better != (tp, pp) else ""
        return Sits("bad", f"{against}.{try_}")
    said = f"{_where(boxes, tp, pp)}: {_of((tp, pp), total)}."
    if model.shape is not None and judged(model.shape):
        if sure := _by_the_advisor(
            boxes, model.shape, consider(model.shape, _assumed(boxes), tp, pp, wanted)
        ):
            return Sits("doubt", f"{said} {sure}")
    elif doubt := _doubt(boxes, tp, pp, model):
        return Sits("doubt", f"{said} {doubt}")
    if better and better[0] >= tp and better[0] * better[1] > tp * pp:
        enough = "there" if tp * pp > 1 else "one GPU"
        said += f" Enough when the model fits {enough}; {_pair(better)} takes {better[0] * better[1]}."
    return Sits("good", f"{said} {_weights(model, tp * pp)}".strip())


def _assumed(boxes: Sequence[Box]) -> ParallelTopology:
    return ParallelTopology(tuple(boxes), int(ASSUMED * GIB))


def _by_the_advisor(boxes: Sequence[Box], shape: ModelShape, split: Split) -> str:
    """What speaks against a legal pair on GPUs of 80 GB; "" where it fits."""
    if split.grade in ("good", "works"):
        return ""
    if split.grade == "unknown":
        return f"Its memory is {split.headline.removeprefix('memory ')}."
    best = advise(shape, _assumed(boxes)).recommended
    unsure = "It is tight" if split.grade == "tight" else "It does not fit"
    other = best is not None and (best.tp, best.pp) != (split.tp, split.pp) and best.grade != "tight"
    on = f" `milepost advise` recommends {_pair((best.tp, best.pp))}." if best is not None and other else ""
    return f"{unsure} on GPUs of 80 GB: {split.headline}.{on}"


def whole(boxes: Sequence[Box], shape: ModelShape | None = None) -> Pair | None:
    """The pair that takes the most GPUs with every stage inside one machine; the widest TP of those.

    Without a model only powers of two: they divide the attention heads of nearly all. None: nothing legal.
    """
    common = math.gcd(*(box.gpus for box in boxes)) if boxes else 0
    total = sum(box.gpus for box in boxes)
    pairs = []
    for tp in range(1, common + 1):
        pp = total // tp if shape is None else min(total // tp, shape.layers)
        legal = _power(tp) if shape is None else not any(illegal(shape, total, tp, pp))
        if common % tp == 0 and legal:
            pairs.append((tp, pp))
    return max(pairs, key=lambda pair: (pair[0] * pair[1], pair[0]), default=None)


def roomy(boxes: Sequence[Box], model: KnownMachines) -> Pair | None:
    """The fewest GPUs, inside one machine if possible, with room for requests where each has 80 GB."""
    largest = max((box.gpus for box in boxes), default=0)
    pairs = [(1 << n, 1) for n in range(largest.bit_length()) if 1 << n <= largest]
    if (most := whole(boxes, model.shape)) is not None:
        pairs.append(most)
    fitting = (p for p in pairs if model.weight_bytes / (p[0] * p[1]) <= ROOM)
    return next((p for p in fitting if not _against(boxes, *p, model.shape)), None)


def _against(boxes: Sequence[Box], tp: int, pp: int, shape: ModelShape | None) -> str:
    """What is wrong with a pair, "" for nothing. The layout is looked at where there are GPUs enough."""
    total = sum(box.gpus for box in boxes)
    if tp < 1 or pp < 1:
        return "TP and PP are at least 1"
    if tp * pp > total:
        return f"TP {tp} x PP {pp} needs {tp * pp} GPUs, the machines have {total}"
    if shape is not None and (reason := next(illegal(shape, total, tp, pp), None)) is not None:
        return reason.text
    if any(
        len({box for box, _ in stage}) > 1 for stage in placement(ParallelTopology(tuple(boxes), 0), tp, pp)
    ):
        return f"TP {tp} reaches over more than one machine: every layer would wait for the network"
    return ""


def _doubt(boxes: Sequence[Box], tp: int, pp: int, model: KnownMachines) -> str:
    if model.shape is None and not _power(tp):
        return f"TP {tp} divides the attention heads of few models: vLLM may refuse it."
    if model.weight_bytes / (tp * pp) <= ROOM:
        return ""
    way = roomy(boxes, model)
    on = f"{_pair(way)} leaves room." if way else "Take more or larger GPUs, or a quantised model."
    return f"{_weights(model, tp * pp)} One of 80 GB has little or no room for requests then. {on}"


def _weights(model: KnownMachines, gpus: int) -> str:
    if not model.weight_bytes:
        return ""
    a_gpu = f", {_gb(model.weight_bytes / gpus)} a GPU" if gpus > 1 else ""
    return f"The weights are {_gb(model.weight_bytes)} ({model.source}){a_gpu}."


def _where(boxes: Sequence[Box], tp: int, pp: int) -> str:
    stages = placement(ParallelTopology(tuple(boxes), 0), tp, pp)
    used = sorted({box for stage in stages for box, _ in stage})
    one = boxes[used[0]].name
    if tp * pp == 1:
        return f"One GPU of {one}"
    if len(used) == 1 and pp == 1:
        return f"TP {tp} inside {one}"
    if len(used) == 1:
        return f"{pp} stages of TP {tp} inside {one}, where TP alone is mostly faster"
    stages_ = f"{pp} stages" if pp != len(used) else f"PP {pp}"
    return f"TP {tp} inside each machine, {stages_} across the {len(used)} machines"


def _pair(pair: Pair) -> str:
    return f"TP {pair[0]}, PP {pair[1]}"


def _of(pair: Pair, total: int) -> str:
    return f"{pair[0] * pair[1]} of {counted(total, 'GPU')}"


def _gb(size: float) -> str:
    return f"{size / 1e9:.3g} GB"


def _power(number: int) -> bool:
    return number & (number - 1) == 0
