"""What the TP and PP of a cluster file mean, as text: for a screen that shows it while they are edited."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import Any

import msgspec

from wizard_steps.advisor.flags import wanted_by
from wizard_steps.advisor.model import ModelShape
from wizard_steps.advisor.picture import WIDTH, picture, trimmed
from wizard_steps.advisor.plan import Box, ParallelTopology, Request, consider
from wizard_steps.advisor.reasons import illegal
from wizard_steps.advisor.rehearsed import Said, applied
from wizard_steps.advisor.render import split_text
from wizard_steps.advisor.shape import parse_config
from wizard_steps.cluster.file import Cluster
from wizard_steps.cluster.replicas import deal
from wizard_steps.errors import UsageError
from wizard_steps.model import counted

#: The name of the fact that holds what vLLM said in a rehearsal.
REHEARSED = "rehearsed"


def effect_of(cluster: Cluster, facts: Mapping[str, Any]) -> list[str]:
    """The picture of machines, GPUs and stages, and what is known of memory and legality.

    ``facts`` are those of a walk (``State.facts``): the preflight gate puts what it saw of GPUs and of the
    model's config.json under ``machines``. With none of it there is still the picture. Never raises for
    what the facts hold; lines have at most 76 columns.
    """
    seen = facts.get("machines")
    machines: Mapping[str, Any] = seen if isinstance(seen, Mapping) else {}
    topology = topology_of(cluster, machines)
    tp, pp = cluster.serve.tensor_parallel, cluster.serve.pipeline_parallel
    replicas, used, problem = _dealt(cluster, topology)
    head = _wrap(problem) if problem else []
    head += ["SIMULATED GPUs"] if cluster.simulated or "SIMULATED" in topology.gpu_name else []
    shape, why = shape_of(facts, cluster.serve.model)
    if shape is None:
        title = f"{cluster.serve.split} = {cluster.serve.total_ranks} of {topology.total} GPUs"
        return [
            *head,
            title,
            "",
            *picture(topology, tp, pp, 0, replicas, used),
            *_dealt_out(cluster),
            "",
            *_wrap(why),
        ]
    if topology.gpu_bytes:
        split = consider(shape, trimmed(topology, used), tp, pp, wanted_of(cluster))
        return head + split_text(shape, topology, split, replicas, used) + _dealt_out(cluster)
    against = [reason.text for reason in illegal(shape, topology.total, tp, pp)]
    verdict = against[0] if against else "legal for this model"
    title = f"{cluster.serve.split} = {cluster.serve.total_ranks} GPUs: {verdict}"
    why = "How much memory a GPU has is not known yet: nvidia-smi on the nodes will show it."
    drawn = picture(topology, tp, pp, shape.layers, replicas, used)
    return [*head, *_wrap(title), "", *drawn, *_dealt_out(cluster), "", *_wrap(why)]


def _dealt(cluster: Cluster, topology: ParallelTopology) -> tuple[int, list[int], str]:
    """Replicas, the GPUs of each box that get ranks, and why it cannot be; drawn as over Ray then."""
    plan, serve = deal(cluster), cluster.serve
    every = [box.gpus for box in topology.boxes]
    if plan.problem or (plan.kind == "one" and not cluster.without_ray):
        return 1, every, plan.problem
    if plan.kind == "inside":
        counts = {share.node.name: share.count * serve.world_size for share in plan.shares}
        return serve.data_parallel, [counts.get(box.name, 0) for box in topology.boxes], ""
    # The same number of ranks on every node.
    return serve.data_parallel, [serve.total_ranks // len(every)] * len(every), ""


def picture_of(cluster: Cluster) -> list[str]:
    """Machines, ranks, stages and replicas of a cluster file, before anything is known of a model."""
    topology, serve = topology_of(cluster, {}), cluster.serve
    replicas, used, problem = _dealt(cluster, topology)
    drawn = picture(topology, serve.tensor_parallel, serve.pipeline_parallel, 0, replicas, used)
    return [*_wrap(problem), *drawn, *_dealt_out(cluster)]


def _dealt_out(cluster: Cluster) -> list[str]:
    """What the frames do not show: experts and KV cache. Source: vllm 0.33, config/parallel.py."""
    serve, lines = cluster.serve, list[str]()
    if serve.expert_parallel:
        count = serve.tensor_parallel * serve.data_parallel
        lines.append(f"Experts: those of each layer are dealt out over TP x DP = {counted(count, 'GPU')}.")
    if (size := serve.decode_context_parallel) > 1:
        lines.append(
            f"KV cache: of each request dealt out over {size} of the {serve.tensor_parallel} GPUs of a stage."
        )
    return lines and ["", *(row for line in lines for row in _wrap(line))]


def topology_of(cluster: Cluster, machines: Mapping[str, Any]) -> ParallelTopology:
    """The cluster file's machines in rank order, with the GPU memory that preflight saw (0: none)."""
    nodes = sorted(cluster.node_list, key=lambda node: node.role != "head")
    memory, name, nvlink = (machines.get(key) for key in ("gpu_bytes", "gpu_name", "nvlink"))
    return ParallelTopology(
        boxes=tuple(Box(node.name, node.gpus) for node in nodes if node.gpus),
        gpu_bytes=memory if isinstance(memory, int) else 0,
        gpu_name=name if isinstance(name, str) else "",
        nvlink=nvlink if isinstance(nvlink, bool) else None,
    )


def shape_of(
    facts: Mapping[str, Any], model: str, *, rehearsed: bool = True
) -> tuple[ModelShape | None, str]:
    """The model as the gates have seen it, or why it is not known. What vLLM said when ``model`` was
    rehearsed goes before all estimates."""
    seen = facts.get("machines")
    shape, why = _shape(seen if isinstance(seen, Mapping) else {})
    told = facts.get(REHEARSED)
    if shape is None or not rehearsed or not isinstance(told, Mapping) or told.get("model") != model:
        return shape, why
    numbers = {name: told.get(name, 0) for name in Said.__struct_fields__}
    sane = {name: value for name, value in numbers.items() if type(value) is int and 0 < value < 1 << 60}
    return applied(shape, Said(**sane), "the rehearsal"), ""


def _shape(machines: Mapping[str, Any]) -> tuple[ModelShape | None, str]:
    config, weights = machines.get("config"), machines.get("weight_bytes")
    if not isinstance(config, Mapping):
        return None, (
            "Memory and legality are judged when the model's config.json is on the head: a local folder, or "
            "a model that was downloaded there. `milepost advise` does it from a copy of that file."
        )
    size = weights if isinstance(weights, int) else 0
    try:
        return parse_config(config, weight_bytes=size, weights_from="safetensors on the head"), ""
    except UsageError as error:
        return None, f"Memory and legality are not judged: {error}"


def wanted_of(cluster: Cluster) -> Request:
    """What the server of a cluster file must hold."""
    serve = cluster.serve
    return msgspec.structs.replace(
        wanted_by(serve.extra_flags),
        expert_parallel=serve.expert_parallel,
        context_parallel=serve.decode_context_parallel,
    )


def _wrap(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, subsequent_indent="  ")
