"""From what runs to the cluster file: the fields that would start the same, where there are such fields.

Proved by starting from the changed file, not by the tables here. What an executor or an image decides comes
first, for the rest of a command line is read against it.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence

from msgspec import Struct

from wizard_steps.cluster.edit import with_values
from wizard_steps.engine.step import Known
from wizard_steps.errors import UsageError
from wizard_steps.milestones import adopt_container, adopt_nodes
from wizard_steps.milestones.common import placed
from wizard_steps.node import spec
from wizard_steps.node.place import RAY, SERVE, Service
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
    "--distributed-executor-backend": ("serve.executor", ""),
    "--master-port": ("serve.master_port", ""),
    "--served-model-name": ("serve.served_model_name", ""),
}
_HEAD = {
    "--port": ("ray.port", "6379"),
    "--dashboard-host": ("ray.dashboard_host", "127.0.0.1"),
    "--dashboard-port": ("ray.dashboard_port", "8265"),
}
_EXPERT = "--enable-expert-parallel"
#: How often the file is compared anew after what was found was put into it.
_ROUNDS = 4


class Offer(Struct, frozen=True):
    """``edits``: fields and values after which nothing of what runs differs any more; empty where the cluster
    file cannot say all of it. ``left``: what it cannot say."""

    edits: Edits = ()
    left: tuple[str, ...] = ()


def offer(known: Known, services: Services, then: Mapping[str, Spec]) -> Offer:
    """What to write into the cluster file so that it says ``then``: what runs, by node."""
    found: dict[str, str] = {}
    now, first = known, True
    for _ in range(_ROUNDS):
        more = {where: text for where, text in _round(now, services, then, first) if found.get(where) != text}
        if not more and not first:
            break
        found, first = {**found, **more}, False
        try:
            now = _after(known, services, tuple(found.items()), then)
        except UsageError as error:
            return Offer((), (str(error),))
    left = _left(now, services, then)
    return Offer((), tuple(left)) if left else Offer(tuple(_changes(known, found)))


def _changes(known: Known, found: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Those that the file does not say already."""
    for edit in found.items():
        try:
            if with_values(known.cluster, (edit,)) == known.cluster:
                continue
        except UsageError:
            pass  # only all of them together fit
        yield edit


def _left(known: Known, services: Services, then: Mapping[str, Spec]) -> list[str]:
    place = placed(known)
    now = {s.node.name: place.spec(s) for s in services(known)}
    return [
        f"{name}: {one}"
        for name, old in then.items()
        for one in (spec.differences(old, now[name]) if name in now else ["it would not be started"])
    ]


def _after(known: Known, services: Services, edits: Edits, then: Mapping[str, Spec]) -> Known:
    """As the gates would know it after these edits. Raises UsageError where the file refuses them."""
    cluster = with_values(known.cluster, edits) if edits else known.cluster
    changed = Known(cluster, adopt_nodes.facts(known, cluster, then))
    role = next((service.role for service in services(known)), "")
    if role == RAY and placed(known).contained:
        changed = Known(cluster, adopt_container.facts(known, changed, then))
    return changed


def _round(
    known: Known, services: Services, then: Mapping[str, Spec], first: bool
) -> Iterator[tuple[str, str]]:
    """Fields that differ now. ``first``: only those with a flag of their own, on which others hang."""
    running = [service for service in services(known) if service.node.name in then]
    rests: dict[str, tuple[str, ...]] = {}
    for service in running:
        old, now = then[service.node.name], placed(known).spec(service)
        if service.role == RAY and placed(known).contained:
            yield from adopt_container.fields(known, old, now)
            old, now = adopt_container.main(old), adopt_container.main(now)
        else:
            yield from _environment_folder(old, now)
        yield from _fields(service, old, now)
        rests[service.node.name] = _rest(known, service, old, now)
    if first:
        return
    yield from adopt_nodes.environment(known, {s.node.name: _envs(known, s, then) for s in running})
    yield from _flags(known, running, rests)
    if running and running[0].role == RAY and placed(known).contained:
        words = {s.node.name: (then[s.node.name], placed(known).spec(s)) for s in running}
        yield from adopt_container.others(known, words)


def _envs(
    known: Known, service: Service, then: Mapping[str, Spec]
) -> tuple[Mapping[str, str], Mapping[str, str]]:
    return then[service.node.name].env, placed(known).spec(service).env


def _environment_folder(old: Spec, now: Spec) -> Iterator[tuple[str, str]]:
    """The virtual environment, by the program that runs."""
    was, is_ = (one.argv[0] if one.argv else "" for one in (old, now))
    found = re.fullmatch(r"(.+)/bin/(?:ray|vllm)", was)
    if was != is_ and found:
        yield "venv", found[1]


def _fields(service: Service, then: Spec, now: Spec) -> Iterator[tuple[str, str]]:
    """The flags that have a field of their own."""
    serving = service.role == SERVE
    fields = _SERVE if serving else _HEAD if service.node.role == "head" else {}
    was, is_ = spec.flags(then.argv), spec.flags(now.argv)
    if (not serving and not is_) or not was:
        return  # a container that holds no Ray
    for flag, (field, usual) in fields.items():
        if was.get(flag) == is_.get(flag) or (flag in ("--host", "--port") and "--headless" in was):
            continue
        if (value := was.get(flag, usual)) or field == "serve.served_model_name":
            yield field, value
    if not serving:
        return
    if (_EXPERT in was) != (_EXPERT in is_):
        yield "serve.expert_parallel", str(_EXPERT in was).lower()
    if was.get("word 2") != is_.get("word 2"):
        yield "serve.model", was.get("word 2", "")


def _rest(known: Known, service: Service, then: Spec, now: Spec) -> tuple[str, ...]:
    """The flags of what runs that are not milepost's own."""
    cluster = known.cluster
    named: Sequence[str] = cluster.serve.extra_flags
    if service.role == RAY:
        ray = cluster.ray
        shared = ray.head_flags if service.node.role == "head" else ray.worker_flags
        named = (*shared, *cluster.entry(service.node).ray_flags)
    fields = _SERVE if service.role == SERVE else _HEAD
    return tuple(adopt_nodes.others(then.argv, now.argv, named, {*fields, _EXPERT, "--num-gpus"}))


def _flags(
    known: Known, running: Sequence[Service], rests: Mapping[str, tuple[str, ...]]
) -> Iterator[tuple[str, str]]:
    """The flags that a person gave in the file."""
    cluster = known.cluster
    if not running:
        return
    if running[0].role == SERVE:
        rest = rests.get(known.server.name)
        if rest is not None and spec.flags(rest) != spec.flags(cluster.serve.extra_flags):
            yield "serve.extra_flags", shlex.join(rest)
        return
    head = running[0].node.role == "head"
    shared = cluster.ray.head_flags if head else cluster.ray.worker_flags
    field = "ray.head_flags" if head else "ray.worker_flags"
    everyone = [known.head] if head else list(known.workers)
    yield from adopt_nodes.spread(known, rests, adopt_nodes.Flags(field, "ray_flags", shared), everyone, ())
