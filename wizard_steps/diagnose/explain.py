"""Why a gate stays shut: the diagnosis of everything its latest attempt printed, on all nodes at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from wizard_steps.diagnose import Action, Diagnosis, Fix, Source, advice, bare, blanks, contained, diagnose
from wizard_steps.diagnose.values import all_plain, plain
from wizard_steps.engine.step import Known, standard_variables
from wizard_steps.node.docker import container_of
from wizard_steps.node.places import place_of
from wizard_steps.recording.spool import Spool
from wizard_steps.recording.state import Run, State

#: The last part of a longer output is looked at, in bytes: a failure ends it.
_LAST = 2 * 1024 * 1024
#: What our own script says of a node has its own judge; its noise is no failure.
_JUDGED = "facts"
#: Kinds that say what happened. A guess or a remark must not stand above the checks of the gate.
_SAID = ("cause", "effect", "wrapper")


def findings_of(state: State, step_id: str, spool: Spool) -> list[Diagnosis]:
    """Findings of a step's latest attempt, best first; empty when no rule knows what happened.

    Only the last use of a polled command counts: a cluster that was not up yet is no failure.
    """
    latest: dict[tuple[str, str], Run] = {}
    for run in state.runs_of(step_id):
        if run.key != _JUDGED:
            latest[run.node, run.key] = run
    found = diagnose([source for run in latest.values() if (source := _source(run, spool)) is not None])
    return [in_cluster(finding, state.cluster) for finding in found if finding.kind in _SAID]


def in_cluster(finding: Diagnosis, cluster: Mapping[str, Any]) -> Diagnosis:
    """The finding with what a reader would have to fill in taken from the cluster file, where it is there."""
    nodes = [node for node in _listed(cluster, "nodes") if isinstance(node, Mapping)]
    heads = [node for node in nodes if node.get("role") == "head"] or nodes
    names = [(node.get("name") or node.get("host"), node) for node in nodes]
    finding = _by_name(finding, names)
    node = next((node for name, node in names if name == finding.node), {})
    serve, docker, ray = (_table(cluster, name) for name in ("serve", "docker", "ray"))
    head = heads[0] if heads else {}
    # A node that the file does not have is an address, and no container is called after one.
    name = container_of(str(cluster.get("name")), finding.node) if node else None
    known = {
        "HEAD_IP": head.get("fabric_ip"),
        "HEAD": head.get("host"),
        "NODE": node.get("host"),
        "HOST": node.get("host"),
        "USER": node.get("user"),
        "THIS_NODE_IP": node.get("fabric_ip"),
        "IMAGE": docker.get("image"),
        "MODEL": serve.get("model"),
        "MODEL_PATH": serve.get("model"),
        "VERSION": ray.get("version"),
        "CONTAINER": name,
    }
    safe = plain({word: value for word, value in known.items() if isinstance(value, str)})
    actions = [Action(a.text, blanks.filled(a.command, safe)) for a in finding.try_]
    if cluster.get("path") == "docker" and "CONTAINER" in safe:
        command = str(docker.get("command") or "docker")
        engine = command if all_plain(command) else "docker"
        line = f"docker exec {safe['CONTAINER']}"
        actions = [Action(a.text, contained.by(contained.inside(a.command, line), engine)) for a in actions]
    elif venv := plain({"venv": str(cluster.get("venv") or "")}).get("venv", ""):
        actions = [Action(a.text, bare.by_path(a.command, venv)) for a in actions]
    actions = [bare.in_file(action) for action in actions]
    return blanks.closed(replace(finding, try_=tuple(actions)))


def _by_name(finding: Diagnosis, names: Sequence[tuple[Any, Mapping[str, Any]]]) -> Diagnosis:
    """The finding with its node as the cluster file calls it, where the text gave its host or an address."""
    known = {
        str(node[key]): str(name)
        for name, node in reversed(names)
        for key in ("host", "fabric_ip", "name")
        if node.get(key)
    }
    called = known.get(finding.node) or known.get(finding.alias) or finding.node
    seen_from = known.get(finding.seen_from, finding.seen_from)
    alias = finding.node if called != finding.node else finding.alias
    return replace(finding, node=called, alias=alias, seen_from=seen_from if seen_from != called else "")


def _table(cluster: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = cluster.get(name)
    return value if isinstance(value, Mapping) else {}


def _listed(cluster: Mapping[str, Any], name: str) -> Sequence[Any]:
    value = cluster.get(name)
    return value if isinstance(value, list | tuple) else ()


def advised(text: str) -> str:
    """What to do about the words of a program that failed, in one line; empty when no rule knows them."""
    finding = advice(text)
    if finding is None:
        return ""
    actions = (f"{a.text} `{a.command}`" if a.command else a.text for a in blanks.closed(finding).try_)
    return " ".join([finding.cause, *actions])


def _source(run: Run, spool: Spool) -> Source | None:
    # Of a command that ended by itself the transport speaks of the login only: no failure is in that.
    detail = "" if run.reason == "exit" else run.detail
    text = detail
    if run.start is not None and run.end is not None:
        data = spool.read(run.spool, max(run.start, run.end - _LAST), run.end)
        text = data.decode("utf-8", "replace") + ("\n" + detail if detail else "")
    if not text.strip():
        return None
    return Source(name=f"{run.node} {run.key}", text=text, node=run.node)


def fix_command(known: Known, finding: Diagnosis, fix: Fix) -> str | None:
    """The fix with its placeholders filled in, each value quoted; None when one is not known."""
    node = next((n for n in known.nodes if n.name == finding.node), known.head)
    values = {**standard_variables(known, node), **finding.values}
    if place_of(known.cluster).contained:
        del values["venv"]  # nothing of an image is in it
    return fix.filled(values)


def fix_nodes(known: Known, finding: Diagnosis, fix: Fix) -> Sequence[str]:
    """The names of the nodes a fix belongs on; empty when the finding names no node it needs."""
    if fix.where == "all":
        return [node.name for node in known.nodes]
    if fix.where == "head":
        return [known.head.name]
    return [finding.node] if finding.node in {node.name for node in known.nodes} else []
