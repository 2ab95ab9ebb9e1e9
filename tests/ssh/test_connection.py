"""One connection a node: shared, lost, replaced, refused."""

from __future__ import annotations

import asyncio
import logging

import psutil
import pytest

from tests.helpers.ssh_fixtures import ServedNode
from tests.helpers.ssh_help import FAMILY, ran, started
from tests.helpers.sshd import Bed, needs_sshd
from tests.helpers.waiting import alive, listens, soon
from wizard_steps.model import Chunk, Exit
from wizard_steps.transport.ssh import SESSIONS, SshTransport
from wizard_steps.transport.ssh_ask import NoAsker

pytestmark = needs_sshd


async def test_one_connection_for_all_commands_of_a_node(ssh_node: ServedNode) -> None:
    transport, node, server = ssh_node
    for _ in range(3):
        await ran(transport, node, "true")
    many = await asyncio.gather(*(ran(transport, node, f"echo {n}; sleep 0.1") for n in range(SESSIONS + 4)))
    assert [result.output for result in many] == [f"{n}\n".encode() for n in range(SESSIONS + 4)]
    assert server.logins == 1


async def test_reaching_a_node_logs_in_and_says_why_not(ssh_node: ServedNode) -> None:
    transport, node, server = ssh_node
    assert await transport.reach(node) == ""
    await ran(transport, node, "true")
    assert server.logins == 1
    server.stop()
    await soon(lambda: not listens(server.port), "the end of the server")
    await transport.close()
    assert "refused the connection" in await transport.reach(node)


async def test_commands_that_start_together_share_the_first_login(
    ssh_node: ServedNode,
) -> None:
    transport, node, server = ssh_node
    await asyncio.gather(*(ran(transport, node, "true") for _ in range(6)))
    assert server.logins == 1


async def test_a_connection_lost_in_mid_command(ssh_node: ServedNode) -> None:
    transport, node, server = ssh_node
    stream, pids = await started(transport, node, FAMILY)
    server.cut()
    rest = [item async for item in stream]  # type: ignore[attr-defined]
    assert len(rest) == 1
    assert (rest[0].code, rest[0].reason) == (-1, "lost")
    assert "n0" in rest[0].detail
    assert "broke while the command ran" in rest[0].detail
    await soon(lambda: not any(alive(pid) for pid in pids), "the end of what the lost command ran")
    assert (await ran(transport, node, "echo back")).output == b"back\n"
    assert server.logins == 2


async def test_a_restarted_server_is_connected_again_without_a_word(
    ssh_node: ServedNode,
) -> None:
    transport, node, server = ssh_node
    await ran(transport, node, "true")
    server.stop()
    server.start()
    assert (await ran(transport, node, "echo again")).output == b"again\n"


async def test_a_connection_that_hangs_is_replaced_before_the_command_starts(ssh_bed: Bed) -> None:
    server = ssh_bed.sshd()
    cluster = ssh_bed.cluster(server.port, connect_timeout=1.0)
    transport = SshTransport(cluster, NoAsker())
    await ran(transport, cluster.head, "true")
    (session,) = server.sessions()
    for process in [psutil.Process(session), *psutil.Process(session).children(recursive=True)]:
        process.suspend()
    assert (await ran(transport, cluster.head, "echo once")).output == b"once\n"
    assert server.logins == 2
    await transport.close()


async def test_a_slow_connection_is_replaced_but_what_runs_on_it_goes_on(
    ssh_node: ServedNode,
) -> None:
    transport, node, _ = ssh_node
    stream, _pids = await started(transport, node, "echo $$; sleep 0.5; echo whole")
    old = await transport._connector.connection(node)
    transport._connector.replace(node, old)
    assert await transport._connector.connection(node) is not old
    rest = [item async for item in stream]  # type: ignore[attr-defined]
    assert rest == [Chunk(b"whole\n"), Exit(code=0)]


async def test_a_host_that_falls_silent_in_mid_command(ssh_bed: Bed) -> None:
    server = ssh_bed.sshd()
    cluster = ssh_bed.cluster(server.port, keepalive=0.2)
    transport = SshTransport(cluster, NoAsker())
    stream, _ = await started(transport, cluster.head, FAMILY)
    for session in server.sessions():
        for process in [psutil.Process(session), *psutil.Process(session).children(recursive=True)]:
            process.suspend()
    (end,) = await asyncio.wait_for(_rest(stream), 10)
    assert (end.code, end.reason) == (-1, "lost")
    await transport.close()


async def _rest(stream: object) -> list[Exit]:
    return [item async for item in stream]  # type: ignore[attr-defined]


async def test_an_unreachable_server_after_a_lost_connection(ssh_node: ServedNode) -> None:
    transport, node, server = ssh_node
    await ran(transport, node, "true")
    server.stop()
    result = await ran(transport, node, "true")
    assert (result.exit.code, result.exit.reason) == (-1, "lost")
    assert "refused the connection" in result.exit.detail


async def test_a_server_that_allows_no_session(ssh_bed: Bed) -> None:
    server = ssh_bed.sshd("MaxSessions 0")
    cluster = ssh_bed.cluster(server.port)
    transport = SshTransport(cluster, NoAsker())
    result = await ran(transport, cluster.head, "true")
    assert result.exit.reason == "lost"
    assert "MaxSessions" in result.exit.detail
    await transport.close()


async def test_asyncssh_says_nothing_by_itself(
    ssh_node: ServedNode, caplog: pytest.LogCaptureFixture
) -> None:
    transport, node, server = ssh_node
    caplog.set_level(logging.DEBUG)
    stream, _ = await started(transport, node, FAMILY)
    server.cut()
    _ = [item async for item in stream]  # type: ignore[attr-defined]
    await transport.close()
    assert [record for record in caplog.records if record.name.startswith(("asyncssh", "asyncio"))] == []
