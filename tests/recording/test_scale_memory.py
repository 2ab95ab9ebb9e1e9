"""A node that sends faster than anybody reads fills no memory."""

from __future__ import annotations

import asyncio

import psutil

from tests.helpers.sshd import Bed, needs_sshd
from wizard_steps.model import Chunk, Cmd
from wizard_steps.transport.ssh import SshTransport
from wizard_steps.transport.ssh_ask import NoAsker

pytestmark = needs_sshd


async def test_what_is_not_read_yet_stays_small(ssh_bed: Bed) -> None:
    """Reading 8 MB slowly, beside a node that could send hundreds meanwhile."""
    server = ssh_bed.sshd()
    cluster = ssh_bed.cluster(server.port)
    transport = SshTransport(cluster, NoAsker())
    stream = transport.run(
        cluster.head, Cmd("k", "exec yes 'a line of some forty characters, again and again'")
    )
    before, got = psutil.Process().memory_info().rss, 0
    while got < 8_000_000:
        item = await anext(stream)
        assert isinstance(item, Chunk)
        got += len(item.data)
        await asyncio.sleep(0.02)
    grown = psutil.Process().memory_info().rss - before
    await stream.aclose()  # type: ignore[attr-defined]
    await transport.close()
    assert grown < 40 * 2**20


async def test_pauses_lose_nothing(ssh_bed: Bed) -> None:
    """30 MB, more than any buffer on the way, counted to the byte with a pause now and then."""
    server = ssh_bed.sshd()
    cluster = ssh_bed.cluster(server.port)
    transport = SshTransport(cluster, NoAsker())
    seen = b""
    async for item in transport.run(cluster.head, Cmd("k", "seq 4000000")):
        seen += getattr(item, "data", b"")
        if len(seen) % 7 == 0:
            await asyncio.sleep(0.05)
    await transport.close()
    assert seen == b"".join(b"%d\n" % n for n in range(1, 4_000_001))
