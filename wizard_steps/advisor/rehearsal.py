"""What a rehearsal on the real GPUs told, beside what the advisor had said; and whether one is worth it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from wizard_steps.advisor.effect import REHEARSED, shape_of, topology_of, wanted_of
from wizard_steps.advisor.model import ModelShape
from wizard_steps.advisor.overhead import GIB
from wizard_steps.advisor.plan import consider
from wizard_steps.advisor.reasons import change
from wizard_steps.advisor.rehearsed import Said
from wizard_steps.advisor.verdict import Split
from wizard_steps.cluster.file import Cluster
from wizard_steps.cluster.flags import parse
from wizard_steps.model import Check

#: The name of the fact that holds what vLLM said.
FACT = REHEARSED
#: How far an estimate of the weights may be off.
_OFF = 0.08


def reason(cluster: Cluster, facts: Mapping[str, Any]) -> str:
    """Why a rehearsal is worth it: the advisor is not sure, or the weights are not there; "" for neither."""
    machines = _machines(facts)
    topology = topology_of(cluster, machines)
    shape, why = shape_of(facts, cluster.serve.model)
    if shape is None:
        return "the model's config.json is not on the head, so it is not known what fits" if why else ""
    split = _split(cluster, facts, shape)
    if not topology.gpu_bytes or split.grade == "unknown":
        names = wanted_of(cluster).not_counted
        why = shape.unknown or (f"{change(names)} it" if names else "no GPU memory was read")
        return f"how much memory it needs is not known ({why})"
    if split.grade == "tight":
        return f"it is tight: {split.headline}"
    return "" if machines.get("weight_bytes") else "the weights are not on the head yet"


def compare(cluster: Cluster, facts: Mapping[str, Any], said: Said) -> Iterator[Check]:
    """One check for each number that vLLM printed, the advisor's beside it. None shuts a gate."""
    if not (said.workers or said.tokens or said.longest):
        yield Check("numbers", True, "vLLM printed none of its sizes", "weights, KV cache", warning=True)
        return
    shape, _ = shape_of(facts, cluster.serve.model, rehearsed=False)
    split = _split(cluster, facts, shape) if shape is not None else None
    memory = split.memory if split is not None else None
    if said.weights:
        counted = shape is not None and not wanted_of(cluster).not_counted
        estimate = shape.weight_bytes if shape is not None and counted else 0
        yield _beside("weights", said.weights, estimate, estimate * (1 - _OFF), estimate * (1 + _OFF), "GiB")
    if said.tokens and (flag := _by_hand(cluster)):
        yield Check(
            "KV cache", True, f"{said.tokens:,} tokens by vLLM; {flag} sets its size, nothing to compare"
        )
    elif said.tokens:
        low, high = (memory.tokens_low, memory.tokens_high) if memory is not None else (0, 0)
        yield _beside(
            "KV cache", said.tokens, memory.tokens if memory is not None else 0, low, high, "tokens"
        )
    if said.concurrency:
        yield Check("requests at once", True, f"{said.concurrency:g} of {said.per_request:,} tokens each")
    if said.graphs:
        yield Check("CUDA graphs", True, f"{said.graphs / GIB:.2f} GiB on the fullest GPU")
    if said.longest:
        hint = f"--max-model-len {said.longest} or less in serve.extra_flags, or more GPUs"
        yield Check("longest request", True, f"{said.longest:,} tokens would fit", hint=hint, warning=True)


def _by_hand(cluster: Cluster) -> str:
    """The flag that sets the size of the KV cache in place of the GPU's memory; "" for none."""
    names = ("--kv-cache-memory-bytes", "--num-gpu-blocks-override")
    return next((flag.name for flag in parse(cluster.serve.extra_flags) if flag.name in names), "")


def _beside(name: str, told: float, estimate: float, low: float, high: float, unit: str) -> Check:
    def text(value: float) -> str:
        return f"{value / GIB:.2f} GiB" if unit == "GiB" else f"{value:,.0f} {unit}"

    if not estimate:
        return Check(name, True, f"{text(told)} by vLLM; the advisor had no number for it")
    off = estimate / told - 1
    found = f"{text(told)} by vLLM; the advisor said {text(estimate)} ({off:+.1%})"
    inside = low <= told <= high
    return Check(name, True, found, f"{text(low)} to {text(high)}", warning=not inside)


def fact(cluster: Cluster, said: Said) -> dict[str, Any]:
    """Plain values for the recording: what was said, of which model and split."""
    serve = cluster.serve
    return {
        **msgspec.to_builtins(said),
        "model": serve.model,
        "tensor_parallel": serve.tensor_parallel,
        "pipeline_parallel": serve.pipeline_parallel,
    }


def _machines(facts: Mapping[str, Any]) -> Mapping[str, Any]:
    seen = facts.get("machines")
    return seen if isinstance(seen, Mapping) else {}


def _split(cluster: Cluster, facts: Mapping[str, Any], shape: ModelShape) -> Split:
    serve = cluster.serve
    topology = topology_of(cluster, _machines(facts))
    return consider(shape, topology, serve.tensor_parallel, serve.pipeline_parallel, wanted_of(cluster))
