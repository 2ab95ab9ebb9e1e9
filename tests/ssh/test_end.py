"""Ending commands over real SSH servers: nothing is left behind but what left its session."""

from __future__ import annotations

import asyncio
import contextlib
import os

import psutil
import pytest

from tests.helpers.ssh_fixtures import ServedNode, Server
from tests.helpers.ssh_help import FAMILY, STUBBORN, ran, started
from tests.helpers.sshd import free_port, needs_sshd
from tests.helpers.waiting import alive, soon
from wizard_steps.model import Cmd, Exit

pytestmark = needs_sshd


@pytest.mark.parametrize("text", [FAMILY, STUBBORN], ids=["family", "stubborn"])
@pytest.mark.parametrize("stdin", ["", "some input\n"])
async def test_closing_the_iterator_ends_the_command_and_its_children(
    ssh_either: Server, text: str, stdin: str
) -> None:
    transport, node = ssh_either
    stream, pids = await started(transport, node, text, stdin=stdin)
    await stream.aclose()  # type: ignore[attr-defined]
    await soon(lambda: not any(alive(pid) for pid in pids), "the end of all processes", 2)


@pytest.mark.parametrize("how", ["cancel", "timeout", "twice"])
async def test_cancelling_the_reader_ends_the_command(ssh_either: Server, how: str) -> None:
    transport, node = ssh_either
    seen: list[int] = []

    async def read() -> None:
        async with contextlib.aclosing(transport.run(node, Cmd(key="k", text=FAMILY))) as items:
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
async def test_giving_up_at_any_moment_leaves_nothing_behind(ssh_either: Server, stdin: str) -> None:
    """Also while the session is being opened, when nobody here knows yet whether the command started."""
    transport, node = ssh_either
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


async def test_a_daemon_in_its_own_session_survives(ssh_either: Server) -> None:
    transport, node = ssh_either
    daemon = "setsid nohup sleep 304 >/dev/null 2>&1 </dev/null & d=$!; sleep 0.3; echo $d"
    quick = await ran(transport, node, daemon)
    left = int(quick.output)
    stream, (cut, shell) = await started(transport, node, f"{daemon} $$; sleep 305")
    try:
        await stream.aclose()  # type: ignore[attr-defined]
        await soon(lambda: not alive(shell), "the end of the shell", 2)
        assert quick.exit == Exit(code=0)
        assert alive(left)
        assert alive(cut)
    finally:
        for pid in (left, cut):
            os.kill(pid, 9)


async def test_a_child_that_holds_the_output_does_not_hold_the_wizard(ssh_either: Server) -> None:
    transport, node = ssh_either
    result = await asyncio.wait_for(ran(transport, node, "sleep 306 & echo $!; exit 4"), 15)
    pid = int(result.output)
    assert result.exit == Exit(code=4)
    assert alive(pid), "ended by itself, so what it left behind is its own affair"
    os.kill(pid, 9)


async def test_close_ends_the_connection_and_what_ran_on_it(ssh_node: ServedNode) -> None:
    transport, node, server = ssh_node
    stream, pids = await started(transport, node, FAMILY)
    await transport.close()
    await soon(lambda: not server.sessions(), "the end of the connection")
    await soon(lambda: not any(alive(pid) for pid in pids), "the end of the command")
    await stream.aclose()  # type: ignore[attr-defined]
