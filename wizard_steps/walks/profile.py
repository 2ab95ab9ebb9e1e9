"""What a recording says about the machines and the run, as one flat table that two recordings can share."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import msgspec
from msgspec import Struct, field

from wizard_steps.cluster.values import Cluster, NodeEntry
from wizard_steps.facts.gpu import parse_nvidia_smi
from wizard_steps.milestones.load_numbers import LOAD, concurrency_of, measures, numbers
from wizard_steps.model import Verdict
from wizard_steps.node.lines import fields
from wizard_steps.node.spec import flags
from wizard_steps.recording import events as ev
from wizard_steps.recording.journal import Walk
from wizard_steps.recording.state import Run, State, fold
from wizard_steps.walks.texts import outputs

FactKind = Literal["version", "setting", "gpu", "network", "fact", "command", "tool"]
#: (what sort, what, node): the node is empty for what holds for the whole cluster.
Key = tuple[FactKind, str, str]

#: ``name: value`` lines of these names are versions of something.
_VERSIONS = re.compile(
    r"(?i)python3?|vllm|ray|torch|cuda|nccl|driver|kernel|os|glibc|docker|podman|image|digest"
)
#: Versions that only stand in the middle of a log.
_IN_LOGS = (
    ("NCCL", re.compile(r"NCCL version ([\d.]+\S*)")),
    ("image digest", re.compile(r"(?:[Dd]igest: |@)(sha256:[0-9a-f]{12,64})")),
    ("vLLM that started", re.compile(r"\][^\n]{0,400}\bversion (\d+\.\d+\.\d+\S*)")),
    ("PyTorch CUDA", re.compile(r"\btorch[- ]\S*\+(cu\d+)")),
)
#: A line that speaks of trouble, and what follows it.
_TROUBLE = re.compile(
    r"(?i)^.*(?:error|fail|mismatch|refused|denied|missing|unable|cannot).*(?:\n.*){0,4}", re.M
)
#: Outputs longer than this are logs: their lines are no facts.
_SHORT = 4000
#: Set by hand and by chance, and no cause of anything.
_IDLE = frozenset(
    [
        "name",
        "simulated",
        "ours",
        "leader",
        "other",
        "user",
        "date",
        "content-length",
        "seconds",
        "netns",
        "all_reduce",
        "instance",
        "worker",
        "workers",
    ]
)
#: Facts of a gate that are another in every walk.
_CHANCE = frozenset(("starts", "oom_kills"))


class Profile(Struct, frozen=True):
    """``seconds`` is what (step, node) took in its latest attempt; of the whole step where node is empty.
    ``measured`` is what a load gave: (quantity, requests at the same time)."""

    facts: Mapping[Key, str]
    seen_at: Mapping[Key, str]
    seconds: Mapping[tuple[str, str], float]
    verdicts: Mapping[str, Verdict]
    order: tuple[str, ...]
    failed: str = ""
    outcome: str = ""
    told: str = ""
    measured: Mapping[tuple[str, int], float] = field(default_factory=dict)
    nodes: tuple[str, ...] = field(default_factory=tuple)
    simulated: bool = False


def profile(walk: Walk, names: Mapping[str, str] | None = None) -> Profile:
    """The table of one walk. ``names`` says what its nodes are called in the other one."""
    state = fold(walk.events)
    alias = names or {}
    facts: dict[Key, str] = {}
    seen: dict[Key, str] = {}
    found = [*_meta(walk), *_cluster(state), *_printed(walk), *_commands(state), *_facts(state)]
    for (kind, what, node), value, step in found:
        key: Key = (kind, what, alias.get(node, node))
        facts[key] = value
        seen.setdefault(key, step)
    failed = next((s.id for s in state.steps if s.verdict and not s.verdict.passed), "")
    return Profile(
        facts=facts,
        seen_at=seen,
        seconds={(s, alias.get(n, n)): t for (s, n), t in _seconds(state).items()},
        measured=_measured(walk),
        verdicts={s.id: s.verdict for s in state.steps if s.verdict},
        order=tuple(s.id for s in state.steps),
        failed=failed,
        outcome=state.outcome or "cut off",
        told=_told(walk, state, failed),
        nodes=tuple(alias.get(n, n) for n in node_names(state)),
        simulated=state.simulated,
    )


Found = tuple[Key, str, str]


def node_names(state: State) -> list[str]:
    """The names of the nodes, of the cluster file that was recorded."""
    return [str(n.get("name") or n.get("host")) for n in state.cluster.get("nodes", ())]


def _meta(walk: Walk) -> Iterator[Found]:
    yield ("tool", "milepost", ""), walk.meta.milepost, ""
    yield ("tool", "the wizard's machine", ""), walk.meta.machine, ""


def _cluster(state: State) -> Iterator[Found]:
    for entry, name in zip(state.cluster.get("nodes", ()), node_names(state), strict=False):
        for inner, text in entry.items():
            if inner != "name":
                yield ("setting", f"nodes.{inner}", name), _text(text), ""
    for what, text in settings_of(state.cluster):
        yield ("setting", what, ""), text, ""


def defaults() -> Iterator[tuple[str, str]]:
    """What a setting is where a cluster file does not say it, by the names of settings here."""
    entry = NodeEntry(host="", gpus=0)
    yield from settings_of(msgspec.to_builtins(Cluster(nodes=(entry,))))
    for inner, value in msgspec.to_builtins(entry).items():
        yield f"nodes.{inner}", _text(value)


def settings_of(cluster: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The settings of a cluster file beside its nodes, by their names."""
    for key, value in cluster.items():
        if key != "nodes" and key not in _IDLE:
            yield from _flat(key, value)


def _flat(prefix: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(f"{prefix}.{key}", inner)
    elif prefix.endswith("_flags") and isinstance(value, list | tuple):
        # Flag by flag: among many only one may have changed.
        for name, text in flags([str(flag) for flag in value]).items():
            yield f"{prefix} {name}", text
    else:
        yield prefix, _text(value)


def _text(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _printed(walk: Walk) -> Iterator[Found]:
    for started, data in outputs(walk):
        text = data.decode("utf-8", "replace")
        if measures(started.key):
            continue
        for name, pattern in _IN_LOGS:
            if hit := pattern.search(text):
                yield ("version", name, started.node), hit[1], started.step
        if "NVIDIA-SMI" in text and started.key.startswith("smi"):
            yield from _gpus(started, text)
        elif len(text) < _SHORT and started.use == 0 and started.key != "log":
            for name, value in fields(text).items():
                if name.lower() in _IDLE or not value or not re.fullmatch(r"[a-z][\w.-]*", name):
                    continue
                kind: FactKind = "version" if _VERSIONS.fullmatch(name) else "fact"
                yield (kind, _name(name, started.step), started.node), value, started.step


def _name(name: str, step: str) -> str:
    """The node's own Python and the one in the virtual environment are two things."""
    return f"{name} ({step})" if name in ("host", "python", "python3", "venv") else name


def _gpus(started: ev.CommandStarted, text: str) -> Iterator[Found]:
    fact = parse_nvidia_smi(text)
    node, step = started.node, started.step
    yield ("version", "driver", node), fact.driver or f"none: {fact.message}", step
    yield ("version", "CUDA of the driver", node), fact.cuda or "none", step
    kinds = sorted({f"{gpu.name} {gpu.memory_mib} MiB" for gpu in fact.gpus})
    yield ("gpu", "GPUs", node), f"{len(fact.gpus)} x {', '.join(kinds)}" if kinds else "none", step
    busy = [p.name for p in fact.processes]
    yield ("gpu", "processes on the GPUs", node), ", ".join(sorted(set(busy))) or "none", step


def _commands(state: State) -> Iterator[Found]:
    for run in state.runs.values():
        yield ("command", f"{run.step} {run.key}", run.node), run.show or run.text.strip(), run.step


def _facts(state: State) -> Iterator[Found]:
    for step in state.steps:
        if step.verdict is None:
            continue
        names = set(node_names(state))
        for name, value in step.verdict.facts.items():
            if not isinstance(value, Mapping) or name in _CHANCE or name == LOAD:
                continue
            for inner, text in value.items():
                # By node, or a value with a name of its own.
                what, node = (name.rstrip("s"), inner) if inner in names else (f"{name} {inner}", "")
                by_node = isinstance(text, Mapping) and set(text) <= names
                for where, said in text.items() if by_node else ((node, text),):
                    yield ("network", what, str(where)), _text(said), step.id


def _measured(walk: Walk) -> dict[tuple[str, int], float]:
    """From the outputs themselves: the facts of a gate that failed are not kept. The latest run counts."""
    found: dict[tuple[str, int], float] = {}
    for started, data in outputs(walk):
        concurrency = concurrency_of(started.key)
        run = numbers(data.decode("utf-8", "replace")) if concurrency is not None else None
        if concurrency is not None and run is not None:
            found.update({(name, concurrency): value for name, value in run.compared.items()})
    return found


def _seconds(state: State) -> dict[tuple[str, str], float]:
    found: dict[tuple[str, str], float] = {}
    for step in state.steps:
        if step.started is None or step.ended is None:
            continue
        found[step.id, ""] = step.elapsed(step.ended)
        spans: dict[str, list[Run]] = {}
        for run in state.runs_of(step.id):
            spans.setdefault(run.node, []).append(run)
        for node, runs in spans.items():
            found[step.id, node] = sum((r.ended or r.started) - r.started for r in runs)
    return found


def _told(walk: Walk, state: State, failed: str) -> str:
    """What the failing gate complains of: its failed checks, and the lines that speak of trouble."""
    if not failed:
        return ""
    verdict = state.step(failed).verdict
    checks = verdict.failures if verdict else ()
    said = [f"{c.node} {c.name} {c.found} {c.wanted} {c.hint}" for c in checks]
    printed = [data[-20_000:].decode("utf-8", "replace") for s, data in outputs(walk) if s.step == failed]
    return "\n".join(said + [part for text in printed for part in _TROUBLE.findall(text)])
