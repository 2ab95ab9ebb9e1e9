"""Tunnels through real SSH servers."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

import pytest

from tests.helpers.ssh_fixtures import Server
from tests.helpers.ssh_help import ran
from tests.helpers.sshd import Bed, free_port, needs_sshd
from wizard_steps.model import WIZARD, Exit, Forward
from wizard_steps.transport.ssh import SshTransport
from wizard_steps.transport.ssh_ask import NoAsker
from wizard_steps.transport.ssh_errors import Unreachable

pytestmark = needs_sshd


@contextlib.asynccontextmanager
async def _greeter(words: bytes) -> AsyncIterator[int]:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(words)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def test_tunnel(ssh_either: Server) -> None:
    transport, node = ssh_either
    async with _greeter(b"hello from inside") as port:
        async with transport.forward(node, "127.0.0.1", port) as local:
            assert local != port
            reader, writer = await asyncio.open_connection("127.0.0.1", local)
            assert await reader.read() == b"hello from inside"
            writer.close()
        with socket.socket() as sock:
            assert sock.connect_ex(("127.0.0.1", local)) != 0


async def test_a_command_of_the_wizard_goes_through_a_tunnel(ssh_either: Server) -> None:
    transport, node = ssh_either
    read = '"$MILEPOST_PYTHON" -c "import os,socket;' + (
        "s=socket.create_connection(('127.0.0.1',int(os.environ['MILEPOST_PORT'])));print(s.recv(99))\""
    )
    async with _greeter(b"probe me") as port:
        result = await ran(transport, WIZARD, read, forward=Forward(node, "127.0.0.1", port))
    assert (result.output, result.exit) == (b"b'probe me'\n", Exit(code=0))


async def test_a_tunnel_to_a_dead_node_is_a_lost_command(ssh_bed: Bed) -> None:
    cluster = ssh_bed.cluster(free_port())
    transport = SshTransport(cluster, NoAsker())
    result = await ran(transport, WIZARD, "echo no", forward=Forward(cluster.head, "127.0.0.1", 1))
    assert (result.output, result.exit.reason) == (b"", "lost")
    assert "refused the connection" in result.exit.detail
    with pytest.raises(Unreachable, match="refused"):
        async with transport.forward(cluster.head, "127.0.0.1", 1):
            pass
