"""Fetches the logs of all nodes for a diagnosis: reads only, and little enough of each to travel over SSH."""

from __future__ import annotations

import asyncio
import secrets
import shlex

from wizard_steps.cluster.file import Cluster
from wizard_steps.diagnose.model import Source
from wizard_steps.engine.transport import Transport
from wizard_steps.facts.gather import ask
from wizard_steps.model import Cmd, Node
from wizard_steps.node import docker
from wizard_steps.node.places import place_of
from wizard_steps.node.program import program
from wizard_steps.node.remote import state_dir

#: Bytes of the beginning and of the end of a log that are fetched; a shorter one comes in one piece.
_FIRST, _LAST = 65_536, 98_304
#: Seconds that one node may take.
TIMEOUT = 60.0
_KERNEL = "xid|nvrm|nvidia|oom|out of memory|killed process|mlx5|link is|i/o error|no space"


def _logs(mark: str, own: str, ray: str = "/tmp/ray/session_latest/logs") -> str:
    """sh text that prints the logs of the folders ``own`` and ``ray``, both sh text, each behind a line that
    only this run can know."""
    return f"mark={mark}\nown={own}\nray={ray}\nfirst={_FIRST}\nlast={_LAST}\n{program('logs.sh')}"


def command(cluster: Cluster, node: Node, mark: str) -> Cmd:
    """The one command for a node. It changes nothing."""
    text = _logs(mark, state_dir(cluster, node)) + f"kernel={shlex.quote(_KERNEL)}\n{program('logs_host.sh')}"
    if place_of(cluster).contained:
        engine, name = docker.docker(cluster), shlex.quote(docker.container(cluster, node))
        inside = f"{engine} exec {name} sh -c {shlex.quote(_logs(mark, state_dir(cluster, node)))}"
        text += f"say container\n{engine} logs --tail 3000 {name} 2>&1\n"
        if folder := docker.logs_on_node(cluster, node):
            # Those of a container that has ended or is gone lie on the node's disk.
            running = f"$({engine} container inspect -f '{{{{.State.Running}}}}' {name})"
            newest = f"$(ls -td {folder}/ray/session_2*/logs | head -n 1)"
            inside = f'if [ "{running}" = true ]; then {inside}\nelse\n{_logs(mark, folder, newest)}fi'
        text += f"{inside}\n"
    return Cmd("logs", f"{{ {text}}} 2>/dev/null; true", timeout=TIMEOUT, quiet=True)


async def collect(transport: Transport, cluster: Cluster) -> tuple[list[Source], dict[str, str]]:
    """The logs of all nodes, and of which node what went wrong while asking."""
    mark = secrets.token_hex(12)
    limit = asyncio.Semaphore(cluster.ssh.limit)
    sources: list[Source] = []
    problems: dict[str, str] = {}

    async def one(node: Node) -> None:
        async with limit:
            answer = await ask(transport, node, command(cluster, node, mark))
        if answer.problem:
            problems[node.name] = answer.problem
            sources.append(Source(f"{node.name}:ssh", answer.problem, node.name))
        sources.extend(parts(answer.text, node.name, mark))

    await asyncio.gather(*(one(node) for node in cluster.node_list))
    order = {node.name: number for number, node in enumerate(cluster.node_list)}
    return sorted(sources, key=lambda source: order[source.node]), problems


def parts(output: str, node: str, mark: str) -> list[Source]:
    """The logs in one node's answer, by name; what stands before the first mark is no log."""
    found: list[Source] = []
    for part in output.split(f"\n{mark} ")[1:]:
        name, _, text = part.partition("\n")
        if text.strip():
            found.append(Source(f"{node}:{name[:300]}", text, node))
    return found
