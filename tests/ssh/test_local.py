"""Commands on the wizard's own machine."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys

import pytest

from tests.helpers.ssh_help import ran
from tests.helpers.waiting import alive, soon
from wizard_steps.cluster.file import Cluster, NodeEntry
from wizard_steps.model import WIZARD, Chunk, Cmd, Exit
from wizard_steps.transport.ssh import SshTransport
from wizard_steps.transport.ssh_ask import NoAsker


@pytest.fixture
def here() -> SshTransport:
    return SshTransport(Cluster(nodes=(NodeEntry(host="127.0.0.1", gpus=0, role="head"),)), NoAsker())


async def test_output_and_exit_code(here: SshTransport) -> None:
    text = 'i=0; while [ $i -lt 60 ]; do echo "o$i"; echo "e$i" >&2; i=$((i+1)); done; exit 7'
    result = await ran(here, WIZARD, text)
    assert result.output.decode().split() == [f"{s}{i}" for i in range(60) for s in "oe"]
    assert result.exit == Exit(code=7)
    assert (await ran(here, WIZARD, "kill -KILL $$")).exit == Exit(code=137)


async def test_the_python_of_the_wizard(here: SshTransport) -> None:
    result = await ran(here, WIZARD, "\"$MILEPOST_PYTHON\" -c 'import sys; print(sys.executable)'")
    assert result.output.decode().strip() == sys.executable
    assert (await ran(here, WIZARD, 'echo "[$MILEPOST_PORT]"')).output == b"[]\n"


@pytest.mark.parametrize("size", [0, 1, 2_000_000])
async def test_input(here: SshTransport, size: int) -> None:
    result = await ran(here, WIZARD, "wc -c", stdin="x" * size)
    assert result.output.split() == [str(size).encode()]


async def test_input_that_nobody_reads(here: SshTransport) -> None:
    result = await ran(here, WIZARD, "echo early", stdin="y" * 2_000_000)
    assert (result.output, result.exit) == (b"early\n", Exit(code=0))


async def test_a_child_that_holds_the_output(here: SshTransport) -> None:
    result = await asyncio.wait_for(ran(here, WIZARD, "sleep 307 & echo $!; exit 4"), 15)
    assert result.exit == Exit(code=4)
    os.kill(int(result.output), 9)


FAMILY = "sleep 308 & a=$!; trap '' TERM; sh -c 'sleep 309 & echo $! $$ '\"$a $$\"'; wait'; sleep 310"
DAEMON = "setsid sleep 311 >/dev/null 2>&1 </dev/null & sleep 0.3; echo $! $$; sleep 312"


async def test_closing_ends_the_whole_group(here: SshTransport) -> None:
    stream = here.run(WIZARD, Cmd(key="k", text=FAMILY))
    first = await anext(stream)
    assert isinstance(first, Chunk)
    pids = [int(word) for word in first.data.split()]
    assert len(pids) == 4
    await stream.aclose()  # type: ignore[attr-defined]
    await soon(lambda: not any(alive(pid) for pid in pids), "the end of all processes", 1)


async def test_a_daemon_in_its_own_session_survives(here: SshTransport) -> None:
    stream = here.run(WIZARD, Cmd(key="k", text=DAEMON))
    first = await anext(stream)
    assert isinstance(first, Chunk)
    daemon, shell = (int(word) for word in first.data.split())
    await stream.aclose()  # type: ignore[attr-defined]
    assert not alive(shell)
    assert alive(daemon)
    os.kill(daemon, 9)


async def test_cancelling_twice_ends_the_group_too(here: SshTransport) -> None:
    seen: list[int] = []

    async def read() -> None:
        async with contextlib.aclosing(here.run(WIZARD, Cmd(key="k", text=FAMILY))) as items:
            async for item in items:
                seen.extend(int(word) for word in item.data.split())

    task = asyncio.create_task(read())
    await soon(lambda: len(seen) == 4, "the pids")
    task.cancel()
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await soon(lambda: not any(alive(pid) for pid in seen), "the end of all processes", 3)


async def test_text_that_no_process_can_be_given(here: SshTransport) -> None:
    result = await ran(here, WIZARD, "echo a\0b")
    assert (result.exit.code, result.exit.reason) == (-1, "lost")
    assert "null byte" in result.exit.detail


async def test_endless_output_is_read_in_pieces(here: SshTransport) -> None:
    stream = here.run(WIZARD, Cmd(key="k", text="echo $$; exec yes"))
    items = [await anext(stream) for _ in range(20)]
    assert all(isinstance(item, Chunk) and len(item.data) <= 65536 for item in items)
    await stream.aclose()  # type: ignore[attr-defined]
    assert isinstance(items[0], Chunk)
    assert not alive(int(items[0].data.split()[0]))
