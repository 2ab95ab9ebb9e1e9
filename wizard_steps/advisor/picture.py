"""Machines, GPUs and pipeline stages as text of at most 76 columns."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from wizard_steps.advisor.memory import stage_layers
from wizard_steps.advisor.plan import Box, ParallelTopology, placement
from wizard_steps.model import counted

WIDTH = 76
#: More boxes, rows in a box or GPUs in a row than this are abbreviated.
MAX_BOXES, MAX_ROWS, MAX_CELLS = 4, 8, 8


def picture(
    topology: ParallelTopology,
    tp: int,
    pp: int,
    layers: int = 0,
    replicas: int = 1,
    used: Sequence[int] = (),
) -> list[str]:
    """One frame a machine, one row a stage in it, one cell a GPU. ``layers`` adds each stage's layers.

    GPUs that the pair leaves idle are shown as dots; ranks without a GPU are said in a last line.
    ``used``: GPUs of each box that get ranks, its first ones, where that is known; () for all in turn.
    """
    tp, pp, count = max(1, tp), max(1, pp), max(1, replicas)
    seats = trimmed(topology, used) if used else topology
    stages, names = placement(seats, tp, pp * count), _names(_ranges(layers, pp), count)
    frames = [_frame(topology, stages, names, index) for index in range(len(topology.boxes))]
    lines: list[str] = []
    for index, frame in _shown(len(frames)):
        if frame:
            lines.append(f"  ... {frame} more machines ...".center(WIDTH).rstrip())
            continue
        if lines:
            lines.append(_link(stages, pp, index))
        lines += frames[index]
    missing = tp * pp * count - topology.total
    if missing > 0:
        split = f"TP {tp} x PP {pp}{f' x DP {count}' if count > 1 else ''}"
        wanted = tp * pp * count
        lines.append(f"! {counted(missing, 'GPU')} missing: {split} = {wanted}, there are {topology.total}")
    return lines


def trimmed(topology: ParallelTopology, used: Sequence[int]) -> ParallelTopology:
    """The same boxes with only the GPUs that get ranks."""
    boxes = tuple(Box(box.name, min(box.gpus, n)) for box, n in zip(topology.boxes, used, strict=True))
    return replace(topology, boxes=boxes)


def _names(ranges: list[str], count: int) -> list[str]:
    """What each stage of each replica is called."""
    if count == 1:
        return [f"stage {number}  {part}" for number, part in enumerate(ranges, 1)]
    if len(ranges) == 1:
        return [f"replica {number}" for number in range(count)]
    return [
        f"replica {number} stage {stage}" for number in range(count) for stage in range(1, len(ranges) + 1)
    ]


def _shown(count: int) -> list[tuple[int, int]]:
    """(index, 0) for a box that is drawn, (index, n) for n boxes passed over."""
    if count <= MAX_BOXES:
        return [(i, 0) for i in range(count)]
    return [(0, 0), (1, 0), (2, count - 3), (count - 1, 0)]


def _ranges(layers: int, pp: int) -> list[str]:
    if layers < pp:
        return [""] * pp
    found, start = [], 0
    for count in stage_layers(layers, pp):
        found.append(f"layers {start + 1}-{start + count}" if count > 1 else f"layer {start + 1}")
        start += count
    return found


def _frame(
    topology: ParallelTopology, stages: list[list[tuple[int, int]]], names: list[str], index: int
) -> list[str]:
    box = topology.boxes[index]
    rows: list[tuple[str, list[int]]] = []
    used: set[int] = set()
    for number, stage in enumerate(stages):
        here = [gpu for place, gpu in stage if place == index]
        used.update(here)
        if here:
            part = f" ({len(here)} of {len(stage)})" if len(here) < len(stage) else ""
            rows.append((f"{names[number]}{part}".strip(), here))
    idle = [gpu for gpu in range(box.gpus) if gpu not in used]
    body = [_row(label, cells, "[{}]") for label, cells in rows]
    if len(body) > MAX_ROWS:
        body = [*body[: MAX_ROWS - 2], f"... {len(body) - MAX_ROWS + 1} more stages ...", body[-1]]
    if idle:
        body.append(_row("idle", idle, ".{}."))
    title = f"-- {_cut(box.name, 40)} "
    inner = WIDTH - 2
    return [
        f"+{title}{'-' * (inner - len(title))}+",
        *(f"| {_cut(line, inner - 2).ljust(inner - 2)} |" for line in body or ["no GPU"]),
        f"+{'-' * inner}+",
    ]


def _row(label: str, gpus: list[int], form: str) -> str:
    cells = [form.format(f"G{gpu}") for gpu in gpus]
    if len(cells) > MAX_CELLS:
        cells = [*cells[:3], " .. ", cells[-1], f" ({len(gpus)} GPUs)"]
    return f"{label:<26} {''.join(cells)}"


def _link(stages: list[list[tuple[int, int]]], pp: int, index: int) -> str:
    """What crosses the network into box ``index``; nothing into the first stage of a replica."""
    cut = any({place for place, _ in stage} >= {index - 1, index} for stage in stages)
    starts = any(
        number % pp and stage and stage[0][0] == index and stages[number - 1][-1][0] < index
        for number, stage in enumerate(stages)
    )
    if cut:
        text = "network: TP all-reduce in every layer (slow)"
    elif starts:
        text = "network: one hand-over per step (PP)"
    else:
        return ""
    return f"          |  {text}"


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "~"
