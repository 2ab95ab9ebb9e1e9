"""What a person may choose at a failed gate: fields of the cluster file to change, or a start to do again.

Read from the checks of the verdict, whose words other modules make: ``tests/milestones/test_remedies.py``
holds both against each other. What is proposed fits the cluster file's own checks.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence

from msgspec import Struct

from wizard_steps.advisor.here import known as known_model
from wizard_steps.advisor.plan import Box
from wizard_steps.advisor.sits import whole
from wizard_steps.cluster.edit import with_values
from wizard_steps.cluster.file import Cluster
from wizard_steps.errors import UsageError
from wizard_steps.model import Check, Verdict

#: Ports that a program holds: ``8000 (vLLM) by python3``.
_TAKEN = re.compile(r"\b(\d{1,5}) \(([A-Za-z' ]{1,24})\)")
_PORT = re.compile(r"\bport (\d{1,5}) is taken\b")
_USABLE = re.compile(r"; (\d{1,4}) of \d{1,4} are usable\b")
#: What the gate of ``ray status`` says of a node, and what made it so.
_COUNTED = re.compile(r"^Ray counts (\d{1,4}) on this node(?:: it was started with (--num-gpus)=\d{1,4}$)?")
_FIELDS = {"vLLM": "serve.port", "Ray GCS": "ray.port", "Ray dashboard": "ray.dashboard_port"}
_FIELDS["vLLM's ranks"] = "serve.master_port"
#: Checks that say of a node that what was started there has ended.
_ENDED = ("own Ray", "Ray", "container")

Edits = tuple[tuple[str, str], ...]


class Remedy(Struct, frozen=True):
    """``edits``: fields and their new values. ``restart``: the node on which what earlier milestones started
    is ended and started again. One of the two."""

    text: str
    edits: Edits = ()
    restart: str = ""


def remedies(cluster: Cluster, verdict: Verdict, started: Mapping[str, str]) -> list[Remedy]:
    """Best first. ``started``: what earlier milestones left running, by node."""
    found = [
        *_flags(cluster, verdict.failures),
        *_gpus(cluster, verdict.failures),
        *_ports(cluster, verdict.failures),
    ]
    return [*found, *_restarts(verdict.failures, started)]


def _flags(cluster: Cluster, failures: Sequence[Check]) -> Iterator[Remedy]:
    """A flag of Ray's that hides GPUs, with the number that the cluster file gives."""
    for node in cluster.node_list:
        counted = [_COUNTED.search(c.found) for c in failures if c.name == "GPUs" and c.node == node.name]
        name = "head_flags" if node.role == "head" else "worker_flags"
        told: Sequence[str] = getattr(cluster.ray, name)
        kin = {one.gpus for one in cluster.node_list if (one.role == "head") == (node.role == "head")}
        if not any(one and one[2] for one in counted) or len(kin) > 1:
            continue
        meant = [f"--num-gpus={node.gpus}" if flag.startswith("--num-gpus=") else flag for flag in told]
        edits = ((f"ray.{name}", shlex.join(meant)),)
        if _fits(cluster, edits):
            yield Remedy(f"start Ray on {node.name} with --num-gpus={node.gpus} and retry", edits)


def _gpus(cluster: Cluster, failures: Sequence[Check]) -> Iterator[Remedy]:
    """As many GPUs as there are, and TP x PP that fit them."""
    names = [node.name for node in cluster.node_list]
    counts: dict[str, int] = {}
    for check in failures:
        usable = _USABLE.search(check.found) or _COUNTED.search(check.found)
        if check.name == "GPUs" and check.node in names and usable and int(usable[1]) > 0:
            counts[check.node] = int(usable[1])
    if not counts:
        return
    edits = tuple((f"nodes[{names.index(name)}].gpus", str(number)) for name, number in counts.items())
    said = ", ".join(f"gpus of {name} to {number}" for name, number in counts.items())
    if _fits(cluster, edits):
        yield Remedy(f"set {said} and retry", edits)
        return
    ordered = sorted(cluster.node_list, key=lambda node: node.role != "head")
    boxes = [Box(n.name, counts.get(n.name, n.gpus)) for n in ordered if counts.get(n.name, n.gpus)]
    pair = whole(boxes, known_model(cluster.serve.model).shape)
    if pair is None:
        return
    edits += (("serve.tensor_parallel", str(pair[0])), ("serve.pipeline_parallel", str(pair[1])))
    if _fits(cluster, edits):
        yield Remedy(f"set {said}, TP to {pair[0]} and PP to {pair[1]}, and retry", edits)


def _ports(cluster: Cluster, failures: Sequence[Check]) -> Iterator[Remedy]:
    """The next number that nothing here uses; whether it is free the retry sees."""
    for check in failures:
        if check.name not in ("ports", "port"):
            continue
        taken = [(int(port), _FIELDS.get(what, "")) for port, what in _TAKEN.findall(check.found)]
        if one := _PORT.search(check.found):
            number = int(one[1])
            field = next((where for where, port in _used(cluster).items() if port == number), "")
            taken = [(number, field)]
        used = {*_used(cluster).values(), *(port for port, _ in taken)}
        edits: list[tuple[str, str]] = []
        for port, field in taken:
            free = next((n for n in range(port + 1, min(port + 100, 65536)) if n not in used), 0)
            if field and free:
                used.add(free)
                edits.append((field, str(free)))
        if edits and _fits(cluster, tuple(edits)):
            ports = ", ".join(value for _, value in edits)
            yield Remedy(f"use port{'s' if len(edits) > 1 else ''} {ports} and retry", tuple(edits))


def _used(cluster: Cluster) -> dict[str, int]:
    ray, serve = cluster.ray, cluster.serve
    fields = {"serve.port": serve.port, "ray.port": ray.port, "ray.dashboard_port": ray.dashboard_port}
    return {**fields, "serve.master_port": serve.master_port}


def _restarts(failures: Sequence[Check], started: Mapping[str, str]) -> Iterator[Remedy]:
    names = dict.fromkeys(
        check.node
        for check in failures
        if (check.name in _ENDED and check.wanted == "running")
        or (check.name == "address" and check.found.endswith(" 0x"))
    )
    for name in names:
        if what := started.get(name):
            yield Remedy(f"restart {what} on {name}", restart=name)


def _fits(cluster: Cluster, edits: Edits) -> bool:
    try:
        return with_values(cluster, edits) != cluster
    except UsageError:
        return False
