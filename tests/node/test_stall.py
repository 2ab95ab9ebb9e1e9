"""The script that asks a node who hangs, run here: on a stopped process, and against a SIMULATED NCCL RAS."""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from tests.node.test_ras import NEWER
from wizard_steps.node import ras
from wizard_steps.node.program import program


class SimulatedRas:
    """Speaks RAS's protocol as NCCL's client_support.cc does: a line asked, an answer, the end."""

    def __init__(self, answer: str) -> None:
        self.answer, self.asked = answer, b""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.asked = await reader.readline()
        writer.write(self.answer.encode())
        await writer.drain()
        writer.close()


async def run(port: int, *words: str) -> str:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-I", "-c", program("stall.py"), str(port), *words, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    assert process.returncode == 0
    return out.decode()


async def test_nccl_is_asked_in_its_own_words_and_its_rank_is_named() -> None:
    simulated = SimulatedRas(NEWER)
    server = await asyncio.start_server(simulated.serve, "127.0.0.1", 0)
    async with server:
        text = await run(server.sockets[0].getsockname()[1])
    assert simulated.asked == b"verbose status\n"
    (one,) = ras.report(text).suspects
    assert (one.rank, one.pid) == (21, 3487984)


@pytest.fixture
def stopped() -> Iterator[int]:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as process:
        process.send_signal(signal.SIGSTOP)
        while " T " not in open(f"/proc/{process.pid}/stat").read():  # noqa: SIM115
            time.sleep(0.01)
        yield process.pid
        process.kill()


async def test_a_stopped_process_is_told_and_without_ras_that_is_said(stopped: int) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        text = await run(free.getsockname()[1], f"rank 3={stopped}", "rank 4=999999999")
    assert f"process rank 3: {stopped} is stopped" in text
    assert "process rank 4: 999999999 is gone" in text
    assert "ras| no answer: " in text
    assert not ras.report(text).answered
