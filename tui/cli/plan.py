"""``milepost plan``: what a walk would do, from the cluster file alone."""

from __future__ import annotations

import argparse
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from wizard_steps.cluster.file import Cluster, load
from wizard_steps.errors import UsageError
from wizard_steps.facts.model_script import is_path
from wizard_steps.load_balancer import KINDS
from wizard_steps.load_balancer import lines as balanced
from wizard_steps.model import counted
from wizard_steps.plan_script import script
from wizard_steps.planning import Plan, address, plan


def add(subparsers: Any) -> None:
    """Add the command to an argparse subparsers object."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "plan",
        help="what a walk would do on every node; no machine is asked",
        description="Lists the milestones of a cluster file in order: every command on every node as you "
        "would type it, what it changes, ports, downloads. Offline: no machine is contacted. "
        "(`milepost FILE --dry-run` asks the nodes and leaves out what is done already.)",
    )
    parser.add_argument("cluster", nargs="?", default="milepost.toml", help="cluster file (milepost.toml)")
    parser.add_argument("--json", action="store_true", help="the full plan as JSON")
    parser.add_argument(
        "--scripts", type=Path, metavar="DIR", help="write a shell script for each node into this folder"
    )
    parser.add_argument(
        "--sizes", action="store_true", help="ask the hub (HF_ENDPOINT) how large the model is"
    )
    parser.add_argument(
        "--load-balancer", choices=sorted(KINDS), metavar="|".join(sorted(KINDS)),
        help="instead of one API for all replicas: a server on each node, and the proxy's configuration",
    )  # fmt: skip
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    cluster = load(Path(args.cluster))
    if args.load_balancer:
        print("\n".join(balanced(cluster, args.load_balancer, address)))
        return 0
    planned = plan(cluster)
    if args.sizes:
        planned = replace(planned, downloads=(*planned.downloads, size_of(cluster)))
    if args.scripts is not None:
        _write(planned, args.scripts)
        return 0
    if args.json:
        print(json.dumps(msgspec.to_builtins(planned), indent=2))
        return 0
    print("\n".join(as_text(planned)))
    return 0


def size_of(cluster: Cluster) -> str:
    """What the hub says of the model's size. Raises UsageError where it does not answer, or there is none."""
    from wizard_steps.advisor import hub

    model = cluster.serve.model
    if is_path(model):
        raise UsageError(f"--sizes: serve.model is the folder {model}: a walk looks at it on the nodes")
    if (endpoint := cluster.env.get("HF_ENDPOINT")) and not os.environ.get("HF_ENDPOINT"):
        raise UsageError(
            f"--sizes: the file's HF_ENDPOINT is for the nodes; for here: export HF_ENDPOINT={endpoint}"
        )
    found = hub.ask(model)
    size = f"{found.size / 1e9:.1f} GB of weights" if found.size else "the hub does not say how large it is"
    return f"{model}: {size} ({found.source or hub.endpoint()})"


def _write(planned: Plan, folder: Path) -> None:
    """Raises UsageError when the folder cannot be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for node in planned.nodes:
            file = folder / f"{re.sub(r'[^A-Za-z0-9._-]', '_', node.name)}.sh"
            file.write_text(script(planned, node.name), encoding="utf-8")
            file.chmod(0o755)
            print(file)
    except OSError as error:
        raise UsageError(f"{folder}: cannot be written: {error.strerror or error}") from None


def as_text(planned: Plan) -> Iterator[str]:
    """For a reader: milestones and their commands, then what to prepare."""
    how = {"ray": "over Ray", "mp": "without Ray (vLLM's own launcher)"}[planned.executor]
    machines = counted(len(planned.nodes), "node")
    yield f"{planned.name}: path {planned.path}, {how}, {machines}. No machine was asked."
    if planned.simulated:
        yield "SIMULATED lab"
    yield ""
    yield from (f"   {line}".rstrip() for line in planned.picture)
    for number, milestone in enumerate(planned.milestones, start=1):
        yield ""
        yield f"{number}. {milestone.title}"
        yield from (f"   question: {question}" for question in milestone.questions)
        for typed, changes, nodes in _grouped(milestone.commands):
            first, *rest = typed.strip().splitlines() or [""]
            yield f"   {', '.join(nodes)}$ {first}"
            yield from (f"      {line}" for line in rest)
            if changes:
                yield f"      changes: {changes}"
    yield ""
    yield "Ports"
    yield from (f"   {p.node} {p.port}: {p.what}, reached by {p.reached_by}" for p in planned.ports)
    yield "Downloads, where they are not there yet"
    yield from (f"   {line}" for line in planned.downloads)
    yield "Left running on the nodes (`milepost down` ends it)"
    yield from (f"   {line}" for line in planned.left_running or ("nothing",))
    yield "Not known before a node was asked"
    yield from (f"   {line}" for line in planned.assumed)


def _grouped(commands: Any) -> Iterator[tuple[str, str, list[str]]]:
    """The same command on several nodes once."""
    nodes: dict[tuple[str, str, str], list[str]] = {}
    for one in commands:
        nodes.setdefault((one.key, one.typed, one.changes), []).append(one.node)
    for (_, typed, changes), names in nodes.items():
        yield typed, changes, names
