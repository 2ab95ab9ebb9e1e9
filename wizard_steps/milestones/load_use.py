"""Whether every node, GPU and engine had a part in the load, by what was sampled meanwhile. Pure.

A server whose second machine does nothing answers as well as one that uses it: only this tells them apart.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from msgspec import Struct

from wizard_steps.cluster.devices import named, places, visible
from wizard_steps.engine.step import Known
from wizard_steps.milestones.common import placed
from wizard_steps.model import Check, Node
from wizard_steps.node.place import SERVE
from wizard_steps.node.prometheus import EngineMetrics, since
from wizard_steps.node.sample import GpuSample, NodeSample

#: Per cent of use, at least once, from which a GPU has worked. An idle one shows 0.
WORKED = 5.0
#: Growth of the memory in use during a soak that is told: share of the GPU's, and MiB of the machine's.
_GREW, _GREW_HOST = 0.02, 4096.0


class UsedCard(Struct, frozen=True):
    """What one GPU showed over all samples. ``use`` is its highest; None where it never said."""

    index: int
    uuid: str
    use: float | None
    power: float | None
    temperature: float | None
    memory: tuple[float, float] | None
    total: float | None
    slowed: tuple[str, ...]

    @property
    def worked(self) -> bool:
        return self.use is not None and self.use >= WORKED


def cards(samples: Sequence[NodeSample]) -> list[UsedCard]:
    """The GPUs of one node, in nvidia-smi's order."""
    seen: dict[int, list[GpuSample]] = {}
    for sample in samples:
        for gpu in sample.gpus:
            seen.setdefault(gpu.index, []).append(gpu)
    return [_card(seen[index]) for index in sorted(seen)]


def _card(of: Sequence[GpuSample]) -> UsedCard:
    memory = [gpu.used for gpu in of if gpu.used is not None]
    return UsedCard(
        of[0].index,
        of[0].uuid,
        _most(gpu.use for gpu in of),
        _most(gpu.power for gpu in of),
        _most(gpu.temperature for gpu in of),
        (memory[0], memory[-1]) if memory else None,
        of[-1].total,
        tuple(dict.fromkeys(words for gpu in of for words in gpu.slowed)),
    )


def _most(values: Iterator[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)


def ours(known: Known, node: Node, found: Sequence[UsedCard]) -> tuple[list[UsedCard], bool]:
    """The GPUs of a node that the cluster uses, and whether it is known which they are."""
    chosen = visible(known.cluster, node, known.devices(node))
    if named(chosen):
        return [found[place] for place in places(chosen, [card.uuid for card in found])], True
    return list(found), len(found) <= node.gpus


def checks(known: Known, samples: Mapping[str, Sequence[NodeSample]]) -> list[Check]:
    """Every node with GPUs, then the engines."""
    nodes = [node for node in known.nodes if node.gpus]
    spare = max(0, known.cluster.total_gpus - known.cluster.serve.total_ranks)
    found: list[Check] = []
    for node in nodes:
        one, idle = _node(known, node, samples.get(node.name, ()), spare)
        spare -= idle
        found.append(one)
    return [*found, *_clocks(samples), *_engines(known, samples.get(known.server.name, ()))]


def _node(known: Known, node: Node, of: Sequence[NodeSample], spare: int) -> tuple[Check, int]:
    """The check of a node, and how many of its GPUs may be idle because no rank is for them."""
    wanted = f"all {node.gpus} GPUs work" if node.gpus > 1 else "the GPU works"
    found = cards(of)
    if not of:
        return Check(
            "GPU use", True, "not proved: no sample came from it", wanted, node.name, warning=True
        ), 0
    if not found or all(card.use is None for card in found):
        why = next((s.trouble for s in of if s.trouble), "nvidia-smi does not report this GPU's utilization")
        return Check("GPU use", True, f"not proved: {why}", wanted, node.name, warning=True), 0
    mine, which = ours(known, node, found)
    idle = [card for card in mine if not card.worked]
    missing = node.gpus - (len(mine) - len(idle))
    if missing <= 0:
        busy = [card for card in mine if card.worked]
        return Check("GPU use", True, _shown(busy), wanted, node.name), 0
    names = ", ".join(f"GPU {card.index}" for card in idle) or "a GPU"
    said = f"{names} did nothing" if which or len(idle) == missing else f"{missing} of {names} did nothing"
    if missing >= node.gpus:
        most = max(card.use or 0 for card in mine)
        over = f" over {most:.0f} %" if most else ""
        said = f"this node did nothing: none of its {len(mine)} GPUs was in use{over}"
    if missing <= spare:
        hint = (
            f"the ranks use {known.cluster.serve.total_ranks} of {known.cluster.total_gpus} GPUs: raise "
            "tensor_parallel, pipeline_parallel or data_parallel, or lower gpus"
        )
        return Check("GPU use", True, said, wanted, node.name, hint, warning=True), missing
    log = placed(known).log_of(known.server, SERVE)
    hint = (
        f"vLLM runs without it: look at the ranks' places in its log ({log}), at CUDA_VISIBLE_DEVICES, and "
        "at which processes `nvidia-smi` lists on this node"
    )
    return Check("GPU use", False, said, wanted, node.name, hint), 0


def _shown(of: Sequence[UsedCard]) -> str:
    """The highest of each value that was seen, from the least busy GPU to the busiest."""
    parts = [f"GPU {', '.join(str(card.index) for card in of)}", _range([c.use for c in of], "%")]
    parts += [_range([c.power for c in of], "W"), _range([c.temperature for c in of], "°C")]
    return ", ".join(part for part in parts if part)


def _range(values: Sequence[float | None], unit: str) -> str:
    known = sorted(round(value) for value in values if value is not None)
    if not known:
        return ""
    return f"{known[0]} {unit}" if known[0] == known[-1] else f"{known[0]} to {known[-1]} {unit}"


def _clocks(samples: Mapping[str, Sequence[NodeSample]]) -> Iterator[Check]:
    for name, of in samples.items():
        slow = [f"GPU {card.index}: {', '.join(card.slowed)}" for card in cards(of) if card.slowed]
        if slow:
            hint = "look at fans, airflow and power supply; the numbers are those of a throttled card"
            yield Check("clocks", True, "; ".join(slow), "no slowdown", name, hint, warning=True)


def _engines(known: Known, of: Sequence[NodeSample]) -> list[Check]:
    """One check an engine: how many tokens it made while the load ran."""
    node, pages = known.server.name, [sample for sample in of if sample.api]
    if len(pages) < 2:
        said = "not proved: /metrics gave no two samples"
        return [Check("engines", True, said, "every engine makes tokens", node, warning=True)]
    first = {engine.name: engine for engine in pages[0].engines}
    found = []
    for engine in pages[-1].engines:
        did = since(first.get(engine.name), engine)
        peak = [e for page in pages for e in page.engines if e.name == engine.name]
        found.append(_engine(did, peak, node))
    return found


def _engine(did: EngineMetrics, seen: Sequence[EngineMetrics], node: str) -> Check:
    name, wanted = f"engine {did.name}", "tokens from every engine"
    if did.generated_tokens <= 0:
        hint = "requests do not reach it: look at the load balancing of the data-parallel ranks"
        return Check(name, False, "made no token during the load", wanted, node, hint)
    use = max((e.kv_use for e in seen if e.kv_use is not None), default=None)
    parts = [f"{did.generated_tokens:.0f} tokens", f"at most {max(e.running for e in seen):.0f} running"]
    parts += [f"{max(e.waiting for e in seen):.0f} waiting"]
    parts += [f"KV cache {use:.0%}"] if use is not None else []
    parts += [f"{did.preemptions:.0f} preemptions"]
    hint = "the KV cache is too small for this load: requests are preempted and computed again"
    many = did.preemptions > 0
    return Check(name, True, ", ".join(parts), wanted, node, hint if many else "", warning=many)


def growth(samples: Mapping[str, Sequence[NodeSample]]) -> Iterator[Check]:
    """Memory that a soak did not give back. Never shuts the gate: a cache that fills looks the same."""
    for name, of in samples.items():
        for card in cards(of):
            if card.memory and card.total and card.memory[1] - card.memory[0] > _GREW * card.total:
                said = f"GPU {card.index}: {card.memory[0]:.0f} -> {card.memory[1]:.0f} MiB"
                yield Check("memory growth", True, said, "the same at the end", name, warning=True)
        free = [sample.available for sample in of if sample.available is not None]
        if len(free) > 1 and free[0] - free[-1] > _GREW_HOST:
            said = f"{free[0]:.0f} -> {free[-1]:.0f} MiB of the machine's memory left"
            yield Check("memory growth", True, said, "the same at the end", name, warning=True)
