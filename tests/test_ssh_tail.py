"""The end of an output: a busy OpenSSH tells the exit status before it sends the last of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncssh
from asyncssh.packet import UInt32

from tests.sshd import Bed, needs_sshd
from wizard_steps.model import Chunk, Cmd, Exit, Node
from wizard_steps.transport.local import LINGER
from wizard_steps.transport.ssh import SshTransport
from wizard_steps.transport.ssh_ask import NoAsker


class Late(asyncssh.SSHServerSession[bytes]):
    """Writes ``head``, tells the exit status when the client has waited for nearly all of its patience,
    and writes ``tail`` just after."""

    def connection_made(self, chan: asyncssh.SSHServerChannel[bytes]) -> None:
        self._chan = chan

    def exec_requested(self, command: str) -> bool:
        return True

    def session_started(self) -> None:
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        self._chan.write(b"head\n")
        await asyncio.sleep(LINGER - 0.3)
        self._chan._send_request(b"exit-status", UInt32(7))  # type: ignore[attr-defined]
        await asyncio.sleep(0.8)
        self._chan.write(b"tail\n")
        self._chan.exit(7)


class Server(asyncssh.SSHServer):
    def begin_auth(self, username: str) -> bool:
        return False

    def session_requested(self) -> Late:
        return Late()


@asynccontextmanager
async def late_server(bed: Bed) -> AsyncIterator[int]:
    key = asyncssh.generate_private_key("ssh-ed25519")
    server = await asyncssh.listen(
        "127.0.0.1", 0, server_factory=Server, server_host_keys=[key], encoding=None
    )
    bed.know(server.get_port(), key.export_public_key().decode().strip())
    try:
        yield server.get_port()
    finally:
        server.close()
        await server.wait_closed()


async def run(transport: SshTransport, node: Node, text: str) -> tuple[bytes, Exit]:
    out = b""
    async for item in transport.run(node, Cmd("x", text)):
        if isinstance(item, Exit):
            return out, item
        assert isinstance(item, Chunk)
        out += item.data
    raise AssertionError("no exit")


async def test_what_comes_after_the_exit_status_is_not_lost(ssh_bed: Bed) -> None:
    async with late_server(ssh_bed) as port:
        cluster = ssh_bed.cluster(port)
        transport = SshTransport(cluster, NoAsker())
        try:
            out, end = await run(transport, cluster.head, "true")
        finally:
            await transport.close()
    assert (out, end.code, end.reason) == (b"head\ntail\n", 7, "exit")


@needs_sshd
async def test_more_commands_than_a_server_takes_at_once(ssh_bed: Bed) -> None:
    """The server lets go of a closed session a little later than the wizard: none is refused for that."""
    cluster = ssh_bed.cluster(ssh_bed.sshd("MaxSessions 8").port)
    transport = SshTransport(cluster, NoAsker())
    try:
        done = await asyncio.gather(*(run(transport, cluster.head, f"echo {n}") for n in range(120)))
    finally:
        await transport.close()
    assert [(out, end.code, end.reason, end.detail) for out, end in done] == [
        (f"{n}\n".encode(), 0, "exit", "") for n in range(120)
    ]
