"""What the lab's tests share: a login as milepost would make it, a wizard to kill, a count of what is left."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import asyncssh

from wizard_steps.cluster.file import Cluster
from wizard_steps.lab import reaper

_WIZARD = """
import asyncio, sys
from tests.helpers.lab_help import login, sh
from wizard_steps.lab import Lab

async def main():
    async with Lab.start() as lab:
        async with await login(lab.cluster) as connection:
            await sh(connection, sys.argv[1])
            print(lab.id, lab.folder, flush=True)
            await asyncio.sleep(600)

asyncio.run(main())
"""


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


async def start_wizard(command: str) -> tuple[asyncio.subprocess.Process, str, Path]:
    """A process with a lab whose head has run ``command``; the lab's mark and folder."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", _WIZARD, command),
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    assert process.stdout is not None
    line = await asyncio.wait_for(process.stdout.readline(), 60)
    lab_id, folder = line.decode().split()
    return process, lab_id, Path(folder)
