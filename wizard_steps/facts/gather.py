"""Asks all nodes at the same time. Everything is read-only."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import aclosing

from msgspec.structs import replace

from wizard_steps.cluster.file import Cluster
from wizard_steps.engine.transport import Transport
from wizard_steps.facts.node import NodeAnswer, NodeFacts, parse_node
from wizard_steps.facts.script import commands
from wizard_steps.model import Chunk, Cmd, Node

#: A node that prints more than this (a shell profile gone wild) is cut off.
KEEP = 1 << 20


async def gather(
    transport: Transport, cluster: Cluster, on_node: Callable[[str, NodeFacts], None] | None = None
) -> dict[str, NodeFacts]:
    """Facts by node name. A node that cannot be asked has ``problem`` set; HostKeyChanged is raised.

    ``on_node`` is called as each node's facts are complete. At most ``ssh.limit`` nodes at once.
    """
    limit = asyncio.Semaphore(cluster.ssh.limit)
    facts: dict[str, NodeFacts] = {}

    async def one(node: Node) -> None:
        async with limit:
            facts[node.name] = await gather_node(transport, node, cluster)
        if on_node:
            on_node(node.name, facts[node.name])

    try:
        async with asyncio.TaskGroup() as group:
            for node in cluster.node_list:
                group.create_task(one(node))
    except* Exception as errors:
        # The first one tells the story (a changed host key); the others were cancelled for it.
        raise errors.exceptions[0] from None
    return {node.name: facts[node.name] for node in cluster.node_list}


async def gather_node(transport: Transport, node: Node, cluster: Cluster) -> NodeFacts:
    """All commands of one node at the same time; once more when the answer was cut off."""
    work = [replace(cmd, login=cmd.key == "facts") for cmd in commands(node, cluster)]
    facts = NodeFacts(problem="not asked")
    for _ in range(2):
        answers = await asyncio.gather(*(ask(transport, node, cmd) for cmd in work))
        facts = parse_node({cmd.key: answer for cmd, answer in zip(work, answers, strict=True)})
        if not facts.cut_after:
            break
    return facts


async def ask(transport: Transport, node: Node, cmd: Cmd) -> NodeAnswer:
    """One command on one node, ended after its ``timeout``."""
    output, problem, notes = bytearray(), "", ""
    started = time.time()
    try:
        async with asyncio.timeout(cmd.timeout), aclosing(transport.run(node, cmd)) as stream:
            async for item in stream:
                if isinstance(item, Chunk):
                    output += item.data[: max(0, KEEP - len(output))]
                elif item.reason not in ("exit", "stopped"):
                    problem = item.detail or item.reason
                else:
                    notes = item.detail
    except TimeoutError:
        problem = f"no answer within {cmd.timeout:.0f} s"
    return NodeAnswer(output.decode("utf-8", "replace"), problem, started, time.time(), notes)
