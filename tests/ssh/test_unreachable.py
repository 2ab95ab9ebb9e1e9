"""No connection: what a person reads, and how long and how often it is tried."""

from __future__ import annotations

import asyncio
import socket

import pytest

from tests.helpers.ssh_help import lost, once, ran, transport_to
from tests.helpers.sshd import Bed, free_port, needs_sshd
from wizard_steps.model import Node

pytestmark = needs_sshd


async def test_nothing_listens(ssh_bed: Bed) -> None:
    port = free_port()
    lost(await once(ssh_bed.cluster(port)), f"127.0.0.1 port {port} refused the connection", "systemctl")


async def test_an_unknown_name(ssh_bed: Bed) -> None:
    node = Node(name="n", host="no-such-host.invalid")
    lost(await once(ssh_bed.cluster(), node=node), "'no-such-host.invalid'", "No address was found")


async def test_a_host_that_does_not_answer(ssh_bed: Bed) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        result = await once(ssh_bed.cluster(silent.getsockname()[1], connect_timeout=0.5))
    lost(result, "No answer from 127.0.0.1", "within 0.5 s", "firewall")


@pytest.mark.parametrize(
    "words",
    [
        b"",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"SSH-1.5-old\r\n",
        b"SSH-2.0-x\r\n" + b"\xff" * 5000,
        b"SSH-2.0-x\r\n\0\0\0\x10\x04\x01\0\0\0\x0b\0\0\0\x06\x1b[31mA\0\0\0\0",
    ],
    ids=["nothing", "http", "ssh1", "garbage", "disconnect"],
)
async def test_something_else_than_ssh(ssh_bed: Bed, words: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(words)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        detail = lost(await once(ssh_bed.cluster(server.sockets[0].getsockname()[1])), "127.0.0.1")
    assert detail.isprintable()


async def test_a_dead_node_costs_its_timeout_once_for_commands_that_wait_together(ssh_bed: Bed) -> None:
    accepted: list[int] = []

    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted.append(1)
        await reader.read()
        writer.close()

    server = await asyncio.start_server(hold, "127.0.0.1", 0)
    async with server:
        cluster = ssh_bed.cluster(server.sockets[0].getsockname()[1], connect_timeout=0.5)
        async with transport_to(cluster) as transport:
            results = await asyncio.gather(*(ran(transport, cluster.head, "true") for _ in range(4)))
    assert [result.exit.reason for result in results] == ["lost"] * 4
    assert len(accepted) == 1


async def test_no_more_than_the_limit_connect_at_the_same_time(ssh_bed: Bed) -> None:
    open_now: list[int] = []
    most = 0

    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal most
        open_now.append(1)
        most = max(most, len(open_now))
        await asyncio.sleep(0.1)
        open_now.pop()
        writer.close()

    servers = [await asyncio.start_server(hold, "127.0.0.1", 0) for _ in range(7)]
    cluster = ssh_bed.cluster(*(server.sockets[0].getsockname()[1] for server in servers), limit=3)
    async with transport_to(cluster) as transport:
        results = await asyncio.gather(*(ran(transport, node, "true") for node in cluster.node_list))
    for server in servers:
        server.close()
    assert [result.exit.reason for result in results] == ["lost"] * 7
    assert most == 3


async def test_a_cancelled_command_gives_up_its_attempt(ssh_bed: Bed) -> None:
    closed = asyncio.Event()

    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        closed.set()
        writer.close()

    server = await asyncio.start_server(hold, "127.0.0.1", 0)
    async with server:
        cluster = ssh_bed.cluster(server.sockets[0].getsockname()[1], connect_timeout=60.0)
        async with transport_to(cluster) as transport:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(ran(transport, cluster.head, "true"), 0.3)
            await asyncio.wait_for(closed.wait(), 3)
