"""Commands over real SSH servers: output, exit codes, input, ending for real, tunnels."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shlex
import socket
from collections.abc import AsyncIterator

import psutil
import pytest

from tests.sshd import (
    Answers,
    Bed,
    Sshd,
    alive,
    asyncssh_server,
    bed_fixture,  # noqa: F401
    free_port,
    listens,
    needs_sshd,
    ran,
    soon,
)
from wizard_steps.model import WIZARD, Chunk, Cmd, Exit, Forward, Node
from wizard_steps.transport.ssh import SESSIONS, SshTransport
from wizard_steps.transport.ssh_ask import NoAsker
from wizard_steps.transport.ssh_errors import Unreachable

Server = tuple[SshTransport, Node]


@pytest.fixture
async def there(ssh_bed: Bed) -> AsyncIterator[tuple[SshTransport, Node, Sshd]]:
    server = ssh_bed.sshd()
    cluster = ssh_bed.cluster(server.port)
    transport = SshTransport(cluster, NoAsker())
    yield transport, cluster.head, server
    await transport.close()


@pytest.fixture(params=["openssh", "asyncssh"])
async def either(request: pytest.FixtureRequest, ssh_bed: Bed) -> AsyncIterator[Server]:
    """A node on OpenSSH's sshd, then the same on an asyncssh server."""
    async with contextlib.AsyncExitStack() as stack:
        if request.param == "openssh":
            port = ssh_bed.sshd().port
        else:
            port, key = await stack.enter_async_context(asyncssh_server())
            ssh_bed.know(port, key)
        cluster = ssh_bed.cluster(port)
        transport = SshTransport(cluster, Answers(password="correct horse"))
        yield transport, cluster.head
        await transport.close()


pytestmark = needs_sshd

ODD = [
    "it's",
    'double "quotes" and `ticks` and $HOME and $(id)',
    "back\\slash \\n \\\\ end",
    "exclamation! !! !1",
    "line one\nline two",
    "tab\tand  spaces",
    "semi; amp & pipe | < > ( ) { } * ? [a] ~ #",
    "ünïcödé ✓ 漢字",
    "%s %% %d",
    "-n",
]


async def test_odd_characters_arrive_unchanged(either: Server) -> None:
    transport, node = either
    for word in ODD:
        result = await ran(transport, node, f"printf '%s|' {shlex.quote(word)} end")
        assert result.output.decode() == f"{word}|end|"
        assert result.exit == Exit(code=0)


async def test_runs_under_sh_with_stderr_in_order(either: Server) -> None:
    transport, node = either
    text = 'i=0; while [ $i -lt 60 ]; do echo "o$i"; echo "e$i" >&2; i=$((i+1)); done; exit 7'
    result = await ran(transport, node, text)
    assert result.output.decode().split() == [f"{s}{i}" for i in range(60) for s in "oe"]
    assert result.exit == Exit(code=7)
    shell = await ran(transport, node, "tr '\\0' ' ' < /proc/$$/cmdline")
    assert shell.output.startswith(b"/bin/sh -c tr")


@pytest.mark.parametrize(("name", "number"), [("KILL", 9), ("TERM", 15), ("SEGV", 11)])
@pytest.mark.parametrize("stdin", ["", "some input"])
async def test_a_signal_is_128_plus_its_number(either: Server, name: str, number: int, stdin: str) -> None:
    transport, node = either
    result = await ran(transport, node, f"kill -{name} $$; sleep 5", stdin=stdin)
    assert result.exit.code == 128 + number
    assert result.exit.reason == "exit"


async def test_input_is_fed_and_ends_and_is_in_no_command_line(either: Server) -> None:
    transport, node = either
    secret = "hf_s3cret'\"$x"
    result = await ran(transport, node, "cat; echo; ps -eww -o args", stdin=secret)
    lines = result.output.decode(errors="replace").splitlines()
    assert lines[0] == secret
    assert len(lines) > 2
    assert not [line for line in lines[1:] if "hf_s3cret" in line]


@pytest.mark.parametrize("size", [1, 65536, 3_000_000])
async def test_long_input(either: Server, size: int) -> None:
    transport, node = either
    result = await ran(transport, node, "wc -c", stdin="x" * size)
    assert result.output.split() == [str(size).encode()]


async def test_input_that_nobody_reads(either: Server) -> None:
    transport, node = either
    result = await ran(transport, node, "echo early", stdin="y" * 300_000)
    assert (result.output, result.exit) == (b"early\n", Exit(code=0))


async def test_no_input_is_an_empty_one(either: Server) -> None:
    transport, node = either
    assert (await ran(transport, node, "cat; echo end")).output == b"end\n"


async def test_bytes_that_are_no_text(either: Server) -> None:
    transport, node = either
    result = await ran(transport, node, r"printf '\377\000\033[0m\r\n'")
    assert result.output == b"\xff\x00\x1b[0m\r\n"


async def test_ten_megabytes_arrive_whole(either: Server) -> None:
    transport, node = either
    result = await ran(transport, node, "head -c 10000000 /dev/zero")
    assert (len(result.output), result.exit.code) == (10_000_000, 0)


async def _start(transport: SshTransport, node: Node, text: str, **cmd: object) -> tuple[object, list[int]]:
    """Start a command that prints pids on its first line."""
    stream = transport.run(node, Cmd(key="k", text=text, **cmd))  # type: ignore[arg-type]
    first = await anext(stream)
    assert isinstance(first, Chunk)
    pids = [int(word) for word in first.data.split()]
    assert pids
    assert all(alive(pid) for pid in pids)
    return stream, pids


FAMILY = "sleep 301 & a=$!; sh -c 'sleep 302 & echo $! $$ '\"$a $$\"'; wait'"
STUBBORN = (
    "trap '' TERM; sh -c 'trap \"\" TERM HUP INT; echo $$ $PPID; "
    "exec >/dev/null 2>&1; while :; do sleep 303; done'; :"
)


@pytest.mark.parametrize("text", [FAMILY, STUBBORN], ids=["family", "stubborn"])
@pytest.mark.parametrize("stdin", ["", "some input\n"])
async def test_closing_the_iterator_ends_the_command_and_its_children(
    either: Server, text: str, stdin: str
) -> None:
    transport, node = either
    stream, pids = await _start(transport, node, text, stdin=stdin)
    await stream.aclose()  # type: ignore[attr-defined]
    await soon(lambda: not any(alive(pid) for pid in pids), "the end of all processes", 2)


@pytest.mark.parametrize("how", ["cancel", "timeout", "twice"])
async def test_cancelling_the_reader_ends_the_command(either: Server, how: str) -> None:
    transport, node = either
    seen: list[int] = []

    async def read() -> None:
        async with contextlib.aclosing(transport.run(node, Cmd(key="k", text=FAMILY))) as items:  # type: ignore[type-var]
            async for item in items:
                seen.extend(int(word) for word in item.data.split())

    task = asyncio.create_task(asyncio.wait_for(read(), 1.5 if how == "timeout" else None))
    await soon(lambda: len(seen) == 4, "the pids")
    if how != "timeout":
        task.cancel()
    if how == "twice":
        await asyncio.sleep(0)
        task.cancel()
    with pytest.raises(TimeoutError if how == "timeout" else asyncio.CancelledError):
        await task
    await soon(lambda: not any(alive(pid) for pid in seen), "the end of all processes", 3)


@pytest.mark.parametrize("stdin", ["", "some input\n"])
async def test_giving_up_at_any_moment_leaves_nothing_behind(either: Server, stdin: str) -> None:
    """Also while the session is being opened, when nobody here knows yet whether the command started."""
    transport, node = either
    await transport.reach(node)
    mark = f"9{free_port()}.25"
    for n in range(12):
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(ran(transport, node, f"sleep {mark}; :", stdin=stdin), 0.005 * n)
    await soon(lambda: not _running(mark), "the end of all of them", 5)
    assert (await ran(transport, node, "echo fine")).output == b"fine\n"


def _running(mark: str) -> list[int]:
    found = []
    for process in psutil.process_iter(["cmdline"]):
        if mark in " ".join(process.info["cmdline"] or ()):
            found.append(process.pid)
    return found


async def test_a_daemon_in_its_own_session_survives(either: Server) -> None:
    transport, node = either
    start = "setsid nohup sleep 304 >/dev/null 2>&1 </dev/null & d=$!; sleep 0.3; echo $d"
    quick = await ran(transport, node, start)
    left = int(quick.output)
    stream, (cut, shell) = await _start(transport, node, f"{start} $$; sleep 305")
    try:
        await stream.aclose()  # type: ignore[attr-defined]
        await soon(lambda: not alive(shell), "the end of the shell", 2)
        assert quick.exit == Exit(code=0)
        assert alive(left)
        assert alive(cut)
    finally:
        for pid in (left, cut):
            os.kill(pid, 9)


async def test_a_child_that_holds_the_output_does_not_hold_the_wizard(either: Server) -> None:
    transport, node = either
    result = await asyncio.wait_for(ran(transport, node, "sleep 306 & echo $!; exit 4"), 15)
    pid = int(result.output)
    assert result.exit == Exit(code=4)
    assert alive(pid), "ended by itself, so what it left behind is its own affair"
    os.kill(pid, 9)


async def test_output_that_stops_before_the_end_is_not_the_end(either: Server) -> None:
    transport, node = either
    result = await ran(transport, node, "echo a; exec >/dev/null 2>&1; sleep 0.5; exit 5")
    assert (result.output, result.exit) == (b"a\n", Exit(code=5))


async def test_endless_output_with_a_slow_reader_keeps_memory_bounded(either: Server) -> None:
    transport, node = either
    stream = transport.run(node, Cmd(key="k", text="echo $$; exec yes"))
    before = psutil.Process().memory_info().rss
    got = b""
    for _ in range(10):
        item = await anext(stream)
        assert isinstance(item, Chunk)
        assert len(item.data) <= 65536
        got += item.data
        await asyncio.sleep(0.1)
    grown = psutil.Process().memory_info().rss - before
    assert grown < 40 * 2**20
    await stream.aclose()  # type: ignore[attr-defined]
    await soon(lambda: not alive(int(got.split()[0])), "the end of yes", 2)


async def test_one_connection_for_all_commands_of_a_node(there: tuple[SshTransport, Node, Sshd]) -> None:
    transport, node, server = there
    for _ in range(3):
        await ran(transport, node, "true")
    many = await asyncio.gather(*(ran(transport, node, f"echo {n}; sleep 0.1") for n in range(SESSIONS + 4)))
    assert [result.output for result in many] == [f"{n}\n".encode() for n in range(SESSIONS + 4)]
    assert server.logins == 1


async def test_reaching_a_node_logs_in_and_says_why_not(there: tuple[SshTransport, Node, Sshd]) -> None:
    transport, node, server = there
    assert await transport.reach(node) == ""
    await ran(transport, node, "true")
    assert server.logins == 1
    server.stop()
    await soon(lambda: not listens(server.port), "the end of the server")
    await transport.close()
    assert "refused the connection" in await transport.reach(node)


async def test_commands_that_start_together_share_the_first_login(
    there: tuple[SshTransport, Node, Sshd],
) -> None:
    transport, node, server = there
    await asyncio.gather(*(ran(transport, node, "true") for _ in range(6)))
    assert server.logins == 1


async def test_a_connection_lost_in_mid_command(there: tuple[SshTransport, Node, Sshd]) -> None:
    transport, node, server = there
    stream, pids = await _start(transport, node, FAMILY)
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
    there: tuple[SshTransport, Node, Sshd],
) -> None:
    transport, node, server = there
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
    there: tuple[SshTransport, Node, Sshd],
) -> None:
    transport, node, _ = there
    stream, _pids = await _start(transport, node, "echo $$; sleep 0.5; echo whole")
    old = await transport._connector.connection(node)
    transport._connector.replace(node, old)
    assert await transport._connector.connection(node) is not old
    rest = [item async for item in stream]  # type: ignore[attr-defined]
    assert rest == [Chunk(b"whole\n"), Exit(code=0)]


async def test_a_host_that_falls_silent_in_mid_command(ssh_bed: Bed) -> None:
    server = ssh_bed.sshd()
    cluster = ssh_bed.cluster(server.port, keepalive=0.2)
    transport = SshTransport(cluster, NoAsker())
    stream, _ = await _start(transport, cluster.head, FAMILY)
    for session in server.sessions():
        for process in [psutil.Process(session), *psutil.Process(session).children(recursive=True)]:
            process.suspend()
    (end,) = await asyncio.wait_for(_rest(stream), 10)
    assert (end.code, end.reason) == (-1, "lost")
    await transport.close()


async def _rest(stream: object) -> list[Exit]:
    return [item async for item in stream]  # type: ignore[attr-defined]


async def test_an_unreachable_server_after_a_lost_connection(there: tuple[SshTransport, Node, Sshd]) -> None:
    transport, node, server = there
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


@contextlib.asynccontextmanager
async def _greeter(words: bytes) -> AsyncIterator[int]:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(words)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def test_tunnel(either: Server) -> None:
    transport, node = either
    async with _greeter(b"hello from inside") as port:
        async with transport.forward(node, "127.0.0.1", port) as local:
            assert local != port
            reader, writer = await asyncio.open_connection("127.0.0.1", local)
            assert await reader.read() == b"hello from inside"
            writer.close()
        with socket.socket() as sock:
            assert sock.connect_ex(("127.0.0.1", local)) != 0


async def test_a_command_of_the_wizard_goes_through_a_tunnel(either: Server) -> None:
    transport, node = either
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


async def test_asyncssh_says_nothing_by_itself(
    there: tuple[SshTransport, Node, Sshd], caplog: pytest.LogCaptureFixture
) -> None:
    transport, node, server = there
    caplog.set_level(logging.DEBUG)
    stream, _ = await _start(transport, node, FAMILY)
    server.cut()
    _ = [item async for item in stream]  # type: ignore[attr-defined]
    await transport.close()
    assert [record for record in caplog.records if record.name.startswith(("asyncssh", "asyncio"))] == []


async def test_close_ends_the_connection_and_what_ran_on_it(there: tuple[SshTransport, Node, Sshd]) -> None:
    transport, node, server = there
    stream, pids = await _start(transport, node, FAMILY)
    await transport.close()
    await soon(lambda: not server.sessions(), "the end of the connection")
    await soon(lambda: not any(alive(pid) for pid in pids), "the end of the command")
    await stream.aclose()  # type: ignore[attr-defined]
