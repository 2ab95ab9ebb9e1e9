"""Why a (TP, PP) pair is good or bad, in words. Pure functions of numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from msgspec import Struct

from wizard_steps.advisor.families import without_pipeline
from wizard_steps.advisor.memory import GIB, Memory, stage_layers
from wizard_steps.advisor.model import ModelShape
from wizard_steps.model import counted


class Reason(Struct, frozen=True):
    """``good``: speaks for the pair, or against it."""

    good: bool
    text: str


class ParallelLayout(Struct, frozen=True):
    """Where the ranks land. ``span``: most boxes a stage touches; ``largest``: GPUs of the largest box."""

    tp: int
    pp: int
    total: int
    largest: int
    boxes: int
    span: int
    nvlink: bool | None = None

    @property
    def gpus(self) -> int:
        return self.tp * self.pp


def illegal(
    shape: ModelShape, total: int, tp: int, pp: int, expert_parallel: bool = False
) -> Iterator[Reason]:
    """What vLLM refuses. Sources: ``config/model.py`` verify_with_parallel_config, ``models/llama.py``
    (KV heads), ``layers/linear.py`` divide, ``quantization/utils/fp8_utils.py`` (blocks)."""
    if tp < 1 or pp < 1:
        yield Reason(False, f"TP {tp} and PP {pp} must both be at least 1")
        return
    if tp * pp > total:
        yield Reason(False, f"TP {tp} x PP {pp} = {tp * pp} GPUs, but there are {total}")
    if shape.heads % tp:
        yield Reason(False, f"{shape.heads} attention heads cannot be divided by TP {tp}")
    if not shape.mla_dim and shape.kv_heads % tp and tp % shape.kv_heads:
        yield Reason(
            False, f"TP {tp} neither divides the {shape.kv_heads} KV heads nor is a multiple of them"
        )
    if pp > 1 and without_pipeline(shape.model_type, shape.architecture):
        yield Reason(False, "vLLM has no pipeline parallelism for this model: PP 1 only")
    for what, count in shape.cuts:
        if count % tp:
            yield Reason(False, f"{count} {what} cannot be divided by TP {tp}")
    if pp > shape.layers:
        yield Reason(False, f"PP {pp} is more than the {shape.layers} layers")
    yield from _uncuttable(shape, tp, expert_parallel)


def uneven_context(shape: ModelShape, tp: int, context_parallel: int) -> Iterator[Reason]:
    """Decode context parallelism that vLLM refuses; the source is the same."""
    if context_parallel <= 1 or shape.mla_dim or not shape.kv_heads:
        return
    most, each = tp // shape.kv_heads, shape.heads // shape.kv_heads
    what = f"decode context parallel {context_parallel}"
    if most < 2:
        yield Reason(False, f"{what} needs TP greater than the {shape.kv_heads} KV heads, and TP is {tp}")
    elif context_parallel > most:
        yield Reason(False, f"{what}: at most {most} with TP {tp} and {shape.kv_heads} KV heads")
    elif each % context_parallel:
        yield Reason(False, f"{what} does not divide the {each} attention heads of each KV head")


def _uncuttable(shape: ModelShape, tp: int, expert_parallel: bool) -> Iterator[Reason]:
    if not shape.known:
        return
    # MXFP4's experts are padded to what the kernels need, not refused.
    quant = shape.quantisation
    group = quant.group if quant and not quant.experts_only else 0
    sizes = {"MLP": shape.intermediate if not shape.experts or shape.dense_layers else 0}
    if shape.experts and not expert_parallel:
        sizes["expert"] = shape.expert_intermediate or shape.intermediate
    shared, blocks = shape.shared_width, shape.shared_group
    # Shared experts are cut with expert parallelism too.
    if shared % tp or (tp > 1 and blocks and shared // tp % blocks):
        cut = f" into blocks of {blocks}" if not shared % tp else ""
        yield Reason(False, f"the shared expert width {shared} cannot be divided by TP {tp}{cut}")
    for what, size in sizes.items():
        if size % tp:
            more = "; --enable-expert-parallel makes it legal" if what == "expert" else ""
            yield Reason(False, f"the {what} width {size} cannot be divided by TP {tp}{more}")
        elif tp > 1 and group and size and (size // tp) % group:
            yield Reason(
                False,
                f"TP {tp} leaves {what} slices of {size // tp}, which cut through the {group}-wide blocks of "
                "the quantised weights"
                + (
                    "; --enable-expert-parallel, which cuts no expert, makes it legal"
                    if what == "expert"
                    else ""
                ),
            )


def change(names: Sequence[str]) -> str:
    """``--a changes``, ``--a and --b change``."""
    return f"{' and '.join(names)} {'changes' if len(names) == 1 else 'change'}"


def of_flags(shape: ModelShape, longest: int, not_counted: Sequence[str]) -> Iterator[Reason]:
    """``longest``: the length that ``--max-model-len auto`` comes to; 0 where it is not auto."""
    if not_counted:
        yield Reason(
            False,
            f"{change(not_counted)} what the model takes, by how much is not known here: "
            "rehearse it (vLLM with --load-format dummy)",
        )
    elif 0 < longest < shape.max_len:
        yield Reason(
            False,
            f"--max-model-len auto: requests of about {longest:,} tokens or more fit, of the model's "
            f"{shape.max_len:,}",
        )


def of_memory(shape: ModelShape, memory: Memory | None, max_len: int, concurrency: int) -> Iterator[Reason]:
    if memory is None:
        yield Reason(False, f"memory is not judged: {shape.unknown or 'the size of a GPU is not known'}")
        return
    room = memory.budget - memory.overhead
    if memory.weights > room:
        yield Reason(
            False,
            f"the weights take {memory.weights / GIB:.1f} GiB of each GPU, but about {room / GIB:.1f} GiB "
            "are there for them",
        )
        return
    if memory.requests_high < 1:
        yield Reason(
            False,
            f"one request of {max_len:,} tokens needs more KV cache than the {memory.kv / GIB:.1f} GiB that "
            f"are left: vLLM refuses to start. --max-model-len {memory.tokens} or less would fit",
        )
        return
    text = f"KV cache for {memory.requests:.1f} requests of {max_len:,} tokens at once"
    span = f", {memory.requests_low:.1f} to {memory.requests_high:.1f} by what is not known exactly"
    enough = memory.requests_low >= concurrency
    yield Reason(enough, text if enough else f"{text}{span}; {concurrency} wanted")
    if memory.requests_low < 1:
        yield Reason(
            False,
            "too close to call: the overhead is an estimate, so it may not start; rehearse it (vLLM with "
            "--load-format dummy), or lower --max-model-len",
        )


def of_layout(shape: ModelShape, layout: ParallelLayout) -> Iterator[Reason]:
    yield from _tensor(shape, layout)
    yield from _pipeline(shape, layout)
    idle = layout.total - layout.gpus
    if idle:
        more = (
            f"; they could serve {counted(idle // layout.gpus, 'more replica')}"
            if idle >= layout.gpus
            else ""
        )
        yield Reason(False, f"{idle} of {layout.total} GPUs stay idle{more}")
    if shape.experts and layout.tp > 1:
        yield Reason(
            True,
            f"{shape.experts} experts: TP cuts each one; --enable-expert-parallel distributes complete "
            "experts instead, which is worth measuring",
        )


def _tensor(shape: ModelShape, layout: ParallelLayout) -> Iterator[Reason]:
    tp = layout.tp
    if layout.span > 1:
        yield Reason(
            False,
            f"one stage's GPUs lie in {layout.span} machines: every layer waits for an all-reduce over the "
            "network; only InfiniBand or RoCE with GPUDirect makes that bearable",
        )
    elif tp > 1:
        yield Reason(True, f"TP {tp} stays inside a box: its two all-reduces a layer never touch the network")
        if layout.nvlink is False:
            yield Reason(
                False,
                "the GPUs of a box have no NVLink: TP goes over PCIe; it still answers one request sooner "
                "than PP",
            )
    if shape.mla_dim and tp > 1:
        yield Reason(False, "MLA: every GPU keeps the full KV cache of its layers; TP does not shrink it")
    elif tp > shape.kv_heads:
        yield Reason(
            False,
            f"TP {tp} is more than the {shape.kv_heads} KV heads: each is kept {tp // shape.kv_heads} times, "
            f"so the KV cache is no smaller than with TP {shape.kv_heads}",
        )


def _pipeline(shape: ModelShape, layout: ParallelLayout) -> Iterator[Reason]:
    if layout.pp == 1:
        if layout.gpus == 1:
            yield Reason(True, "nothing to communicate: the simplest and most reliable layout")
        return
    kib = 2 * shape.hidden * min(shape.dtype_bytes, 2.0) / 1024
    between = "between machines" if layout.boxes > 1 else "between stages"
    yield Reason(True, f"PP {layout.pp}: only {kib:.0f} KiB per token pass {between}")
    yield Reason(
        False,
        f"PP {layout.pp} makes no single request faster: it passes the stages in turn; it pays with many",
    )
    if layout.boxes == 1 and layout.nvlink is False:
        yield Reason(True, "no NVLink in the box: PP there often serves more at once than TP; measure both")
    elif layout.boxes == 1:
        yield Reason(False, "a pipeline inside one box: TP there would also cut the time per token")
    elif layout.gpus <= layout.largest:
        yield Reason(False, "these GPUs would also fit into one box, without the network between them")
    stages = stage_layers(shape.layers, layout.pp)
    if max(stages) != min(stages):
        yield Reason(
            False,
            f"{shape.layers} layers do not divide by {layout.pp}: stages of {min(stages)} to {max(stages)}",
        )


def headline(
    grade: str, memory: Memory | None, max_len: int, concurrency: int = 1, not_counted: Sequence[str] = ()
) -> str:
    """One short line for a table."""
    if memory is None:
        why = f": {change(not_counted)} it; rehearse it" if not_counted else ""
        return f"memory not judged{why}"
    if memory.tokens_high == 0:
        return "the weights do not fit"
    if grade == "no":
        return f"holds about {memory.tokens:,} tokens, less than one request of {max_len:,}"
    if memory.requests_low < concurrency:
        return f"{memory.requests_low:.1f} to {memory.requests_high:.1f} x {max_len:,} tokens"
    return f"{memory.requests:.1f} x {max_len:,} tokens"
