"""What a good answer weighs besides TP and PP: replicas, experts, long contexts, links, mixed cards."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

from wizard_steps.advisor.families import without_pipeline
from wizard_steps.advisor.model import ModelShape


class Spread(Struct, frozen=True):
    """The recommended pair (0 where there is none) with the machines it takes, and GPUs of each machine."""

    tp: int
    pp: int
    boxes: int
    gpus: tuple[int, ...]
    nvlink: bool | None = None
    mixed: bool = False


def further(shape: ModelShape, at: Spread) -> Iterator[str]:
    yield from _replicas(at)
    yield from _experts(shape, at)
    yield from _context(shape, at)
    if at.gpus and max(at.gpus) == 1 and len(at.gpus) > 1:
        yield (
            "machines with one GPU each (DGX Spark): TP over two of them is what NVIDIA's playbook does, "
            "over their direct ConnectX link; PP needs less of the network"
        )
    if at.nvlink is False and at.gpus and max(at.gpus) > 1:
        yield (
            "no NVLink in the machines: TP answers a single request sooner, PP inside the machine serves "
            "more at once: measure both"
        )
    if at.mixed:
        yield (
            "the machines have different GPUs: memory is judged by the smallest, and each step waits for the "
            "slowest; separate servers for each kind use them better"
        )
    if without_pipeline(shape.model_type, shape.architecture):
        yield "vLLM 0.33 has no pipeline parallelism for this model: PP 1 only"


def replicas(at: Spread) -> int:
    """How many whole replicas of the recommended pair the machines hold, each inside one; 0 where the pair
    itself takes several machines."""
    if not at.tp or at.boxes != 1:
        return 0
    return sum(count // (at.tp * at.pp) for count in at.gpus)


def _replicas(at: Spread) -> Iterator[str]:
    """A model that fits one machine is better served once on each than split over the network."""
    total = replicas(at)
    if total < 2:
        return
    if sum(1 for count in at.gpus if count >= at.tp * at.pp) == 1:
        yield (
            f"data parallel: serve.data_parallel = {total} in the cluster file serves {total} replicas in "
            "one machine behind one address; it holds that many more requests"
        )
        return
    yield (
        f"data parallel: one replica in a machine beats a split over the network. "
        f"serve.data_parallel = {total} starts {total} "
        "replicas behind one address, with executor "
        '"mp" or "ray". '
        "Or a server on each machine, behind a proxy: `milepost plan FILE --load-balancer nginx`"
    )


def _experts(shape: ModelShape, at: Spread) -> Iterator[str]:
    if shape.experts and at.tp * at.pp > 1:
        yield (
            "expert parallel: serve.expert_parallel = true places complete experts on the GPUs instead of "
            "cutting each; with data parallel attention it scales over machines with a fast network"
        )


def _context(shape: ModelShape, at: Spread) -> Iterator[str]:
    """Source: ``config/model.py`` verify_with_parallel_config and ``config/parallel.py``: the size divides
    TP, and each KV head may be kept that many times only."""
    most = at.tp if shape.mla_dim else at.tp // max(1, shape.kv_heads)
    if most > 1 and shape.known:
        kept = (
            "MLA keeps a full KV cache on every GPU" if shape.mla_dim else "KV heads are kept several times"
        )
        yield f"{kept}: serve.decode_context_parallel = {most} splits it over the GPUs instead"
