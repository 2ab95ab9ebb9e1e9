"""What the lab's tests share: a login as milepost would make it, and a count of what is left of a lab."""

from __future__ import annotations

import asyncio

import asyncssh

from wizard_steps.cluster import Cluster
from wizard_steps.lab import reaper


async def login(cluster: Cluster, index: int = 0) -> asyncssh.SSHClientConnection:
    entry = cluster.nodes[index]
    return await asyncssh.connect(
        entry.host,
        entry.port,
        username=entry.user,
        client_keys=list(cluster.ssh.identity),
        known_hosts=cluster.ssh.known_hosts,
        config=None,
        agent_path=None,
    )


async def sh(connection: asyncssh.SSHClientConnection, text: str, limit: float = 60) -> tuple[int, str]:
    """(exit status, stdout and stderr) of a command whose standard input is empty."""
    result = await connection.run(text, stdin=asyncssh.DEVNULL, stderr=asyncssh.STDOUT, timeout=limit)
    return result.returncode or 0, str(result.stdout)


async def until_gone(lab_id: str, limit: float = 25) -> list[int]:
    """What of a lab still lives after ``limit`` seconds."""
    for _ in range(int(limit / 0.1)):
        if not reaper.marked(lab_id):
            return []
        await asyncio.sleep(0.1)
    return reaper.marked(lab_id)
