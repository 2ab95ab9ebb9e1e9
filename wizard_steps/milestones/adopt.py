"""From what runs to the cluster file: the fields that would start the same, where there are such fields."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence

from wizard_steps.cluster.edit import with_values
from wizard_steps.cluster.file import Cluster
from wizard_steps.engine.step import Known
from wizard_steps.errors import UsageError
from wizard_steps.milestones.common import placed
from wizard_steps.node import spec
from wizard_steps.node.place import SERVE, Service
from wizard_steps.node.spec import Spec

Edits = tuple[tuple[str, str], ...]
#: What a step would start with the values of another cluster file.
Services = Callable[[Known], Sequence[Service]]

#: Flag -> its field of the cluster file, and the text of the field where the flag is not given.
_SERVE = {
    "--host": ("serve.host", "0.0.0.0"),
    "--port": ("serve.port", "8000"),
    "--tensor-parallel-size": ("serve.tensor_parallel", "1"),
    "--pipeline-parallel-size": ("serve.pipeline_parallel", "1"),
    "--data-parallel-size": ("serve.data_parallel", "1"),
    "--data-parallel-rpc-port": ("serve.data_parallel_port", ""),
    "--decode-context-parallel-size": ("serve.decode_context_parallel", "1"),
    "--master-port": ("serve.master_port", ""),
    "--served-model-name": ("serve.served_model_name", ""),
}
_HEAD = {
    "--port": ("ray.port", "6379"),
    "--dashboard-host": ("ray.dashboard_host", "127.0.0.1"),
    "--dashboard-port": ("ray.dashboard_port", "8265"),
}
#: A variable that the cluster file can name.
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,200}")
_EXPERT = "--enable-expert-parallel"
#: Set by milepost for each node from what the gates found: no field of all nodes can say them.
_DERIVED = frozenset(
    {"VLLM_HOST_IP", "NCCL_SOCKET_IFNAME", "GLOO_SOCKET_IFNAME", "RAY_ADDRESS", "CUDA_VISIBLE_DEVICES"}
)


def edits(known: Known, services: Services, then: Mapping[str, Spec]) -> Edits:
    """Fields and values after which nothing of ``then`` (by node) differs any more; empty where the cluster
    file has no fields for all of it. Proved by starting from the changed file, not by these tables."""
    found: dict[str, str] = {}
    for service in services(known):
        if service.node.name in then:
            found.update(_edits(known, service, then[service.node.name]))
    plain = tuple(found.items())
    try:
        changed = with_values(known.cluster, plain)
    except UsageError:
        return ()
    return plain if plain and _same(Known(changed, known.facts), services, then) else ()


def _same(known: Known, services: Services, then: Mapping[str, Spec]) -> bool:
    place = placed(known)
    now = {s.node.name: place.spec(s) for s in services(known)}
    return all(name in now and not spec.differences(old, now[name]) for name, old in then.items())


def _edits(known: Known, service: Service, then: Spec) -> Iterator[tuple[str, str]]:
    now = placed(known).spec(service)
    yield from _environment(known.cluster, then.env, now.env)
    if service.role == SERVE:
        fields, extra, named = _SERVE, "serve.extra_flags", known.cluster.serve.extra_flags
    elif service.node.role == "head":
        fields, extra, named = _HEAD, "ray.head_flags", known.cluster.ray.head_flags
    else:
        fields, extra, named = {}, "ray.worker_flags", known.cluster.ray.worker_flags
    was, is_ = spec.flags(then.argv), spec.flags(now.argv)
    for flag, (field, usual) in fields.items():
        if was.get(flag) != is_.get(flag) and (value := was.get(flag, usual)):
            yield field, value
        elif was.get(flag) != is_.get(flag) and field == "serve.served_model_name":
            yield field, ""
    if service.role == SERVE and (_EXPERT in was) != (_EXPERT in is_):
        yield "serve.expert_parallel", str(_EXPERT in was).lower()
    if service.role == SERVE and was.get("word 2") != is_.get("word 2"):
        yield "serve.model", was.get("word 2", "")
    own = {*fields, _EXPERT, *(set(is_) - set(spec.flags(named)))}
    rest = list(_others(then.argv, own))
    if spec.flags(rest) != spec.flags(named):
        yield extra, shlex.join(rest)


def _environment(
    cluster: Cluster, then: Mapping[str, str], now: Mapping[str, str]
) -> Iterator[tuple[str, str]]:
    for name in dict.fromkeys([*then, *now]):
        if then.get(name) != now.get(name) and _NAME.fullmatch(name) and name not in _DERIVED:
            yield f"env.{name}", then.get(name, "")


def _others(argv: Sequence[str], own: set[str]) -> Iterator[str]:
    """The flags of a command line that are not ``own``, with their values."""
    keep = False
    for word in argv:
        if word.startswith("-") and not spec.is_number(word):
            keep = word.partition("=")[0] not in own
        if keep:
            yield word
