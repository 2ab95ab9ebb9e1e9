"""The answer of the advisor in a sentence or two."""

from __future__ import annotations

from wizard_steps.advisor.memory import GIB
from wizard_steps.advisor.model import ModelShape
from wizard_steps.advisor.verdict import Enough, ParallelTopology, Request, Split
from wizard_steps.model import counted


def summary(
    shape: ModelShape,
    topology: ParallelTopology,
    wanted: Request,
    best: Split | None,
    legal: list[Split],
    enough: Enough,
) -> str:
    want = f"{counted(wanted.concurrency, 'request')} of {wanted.max_len:,} tokens at once"
    if enough == "unknown":
        return _not_known(shape, legal)
    if best is None:
        return _nothing_fits(topology, wanted, legal)
    if best.grade == "tight":
        return _tight(best, wanted, want)
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


def _tight(best: Split, wanted: Request, want: str) -> str:
    memory = best.memory
    if memory is None:
        return f"Nothing surely holds {want}."
    if memory.requests_low >= 1:
        sure = "Nothing holds" if memory.requests_high < wanted.concurrency else "Nothing surely holds"
        return (
            f"{sure} {want}. TP {best.tp} x PP {best.pp} comes closest: {memory.requests_low:.1f} to "
            f"{memory.requests_high:.1f} requests. Lower --max-model-len, expect queueing, or add GPUs."
        )
    return (
        f"Tight: TP {best.tp} x PP {best.pp} may refuse one request of {wanted.max_len:,} tokens: "
        f"{memory.tokens_low:,} to {memory.tokens_high:,} tokens fit. Rehearse it (vLLM with "
        "--load-format dummy, no download), lower --max-model-len, or add GPUs."
    )


def _not_known(shape: ModelShape, legal: list[Split]) -> str:
    what = "unknown architecture" if not shape.known else "not enough is known"
    weights = f" Its weights are {shape.weight_bytes / GIB:.1f} GiB." if shape.weight_bytes else ""
    missing = [
        flag for flag, value in (("--weights GIB", shape.weight_bytes), ("--kv-bytes N", 0)) if not value
    ]
    count = (
        "" if shape.weight_bytes else " --cluster FILE --count asks the head's transformers for the weights."
    )
    return (
        f"{what[0].upper()}{what[1:]}: {shape.unknown}. What it needs per token is not known here, so no "
        f"pair is recommended.{weights} To find out: rehearse it (vLLM with --load-format dummy, no "
        f"download), or give {' and '.join(missing)}.{count} {counted(len(legal), 'pair')} "
        f"{'are' if len(legal) != 1 else 'is'} legal by its heads and layers."
    )


def _nothing_fits(topology: ParallelTopology, wanted: Request, legal: list[Split]) -> str:
    top = max(
        legal, key=lambda split: (split.memory.tokens, split.gpus) if split.memory else (0, 0), default=None
    )
    if top is None or top.memory is None:
        return "No (TP, PP) pair is legal for this model on these machines."
    if top.memory.tokens:
        return (
            f"vLLM would refuse to start: one request of {wanted.max_len:,} tokens does not fit. "
            f"About {top.memory.tokens:,} tokens fit with TP {top.tp} x PP {top.pp}: "
            f"set --max-model-len to that or less, or add GPUs."
        )
    widest = max(legal, key=lambda split: split.gpus)
    need = widest.memory.weights + widest.memory.overhead if widest.memory else 0
    return (
        f"The weights do not fit: even TP {widest.tp} x PP {widest.pp} needs {need / GIB:.1f} GiB per GPU of "
        f"{topology.gpu_bytes * wanted.utilisation / GIB:.1f} GiB. Add GPUs or take a quantised model."
    )
