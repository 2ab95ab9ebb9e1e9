"""The script that asks a node who hangs, run here: on a stopped process, and against a SIMULATED NCCL RAS."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.network_help import cluster
from tests.node.test_ours_and_theirs import started
from tests.node.test_ras import NEWER
from wizard_steps.engine.step import Known
from wizard_steps.milestones import hang, vllm
from wizard_steps.model import Result, Results
from wizard_steps.node import ras
from wizard_steps.node.place import SERVE, Service
from wizard_steps.node.places import InContainer, OnHost
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


async def test_ras_of_a_stopped_process_is_not_waited_for(stopped: int) -> None:
    """NCCL's thread is stopped with it: a connection is taken, and never answered."""
    simulated = SimulatedRas(NEWER)
    server = await asyncio.start_server(simulated.serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        text = await run(port, f"VLLM::Worker_TP1={stopped}")
        assert simulated.asked == b""
        assert "ras| no answer: its process is stopped" in text
        await run(port, f"VLLM::Worker_TP1={stopped}", f"VLLM::Worker_TP0={os.getpid()}")
        assert simulated.asked == b"verbose status\n"


@pytest.fixture
def worker() -> Iterator[int]:
    """A process that calls itself what vLLM calls its workers, stopped."""
    line = "exec -a VLLM::Worker_TP0 sleep 600"
    with subprocess.Popen(["bash", "-c", line]) as process:
        while not Path(f"/proc/{process.pid}/cmdline").read_bytes().startswith(b"VLLM"):
            time.sleep(0.01)
        process.send_signal(signal.SIGSTOP)
        yield process.pid
        process.kill()


def test_a_silent_log_leads_to_its_processes_and_twice_without_an_answer_ends_it(
    worker: int, tmp_path: Path
) -> None:
    (tmp_path / "serve.log").write_text("INFO rank 0 in world size 2\n")
    text = ras.watch(sys.executable, f"ours() {{ echo {worker}; }}\n", "serve.log")
    text = text.replace("sleep 5", "sleep 0.1").replace(str(ras.PORT), "1")
    # The shell gives way to another process, as it does to tail.
    command = f"{text}exec timeout 20 sh -c 'while :; do sleep 1; done'\n"
    with subprocess.Popen(
        ["sh", "-c", command], cwd=tmp_path, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as shell:
        assert shell.stdout is not None
        lines = []
        for line in shell.stdout:
            lines.append(line.strip())
            if ras.STALLED in line:
                break
        os.killpg(shell.pid, signal.SIGKILL)
    assert lines.count(f"process VLLM::Worker_TP0: {worker} is stopped") == 2
    assert lines[0] == "milepost: no new line in this log for 20 s"
    assert vllm.broken(lines[-1])
    of = Known(cluster("a"))
    (check,) = hang.checks(of, {"a": "\n".join(lines)}, hang.START)
    assert check.found == (
        f"VLLM::Worker_TP0 on a: process {worker} is stopped; the start of vLLM waits for it"
    )


def test_a_worker_that_stays_stopped_is_told_by_its_own_node(worker: int) -> None:
    """Over Ray the log is elsewhere."""
    text = ras.unstopped(sys.executable, f"ours() {{ echo {worker}; }}\n", 60).text
    text = text.replace("sleep 10", "sleep 0.1").replace(str(ras.PORT), "1")
    done = subprocess.run(["sh", "-c", text], capture_output=True, text=True, check=True)
    assert f"process VLLM::Worker_TP0: {worker} is stopped" in done.stdout
    assert vllm.broken(done.stdout.splitlines()[-1])


def test_a_rank_is_known_by_the_process_that_wrote_of_it() -> None:
    log = (
        "(EngineCore pid=2) \x1b[36m(RayWorkerProc pid=885, ip=10.0.0.2)\x1b[0m (Worker pid=885) INFO rank 1 in "
        "world size 2 is assigned as DP rank 0\n(Worker pid=77) INFO rank 0 in world size 2 is assigned\n"
        "INFO rank 3 in world size 4\n"
    )
    of = Known(cluster("ab"), {"fabric_ips": {"a": "10.0.0.1", "b": "10.0.0.2"}})
    found = hang.worker_ranks(of, Results([Result(of.head, "log", log, 0, "stopped")]))
    assert found == {("b", 885): "rank 1", ("a", 77): "rank 0"}


def test_the_programs_that_name_vllms_processes_are_sh(tmp_path: Path) -> None:
    one = cluster("a")
    for place in (OnHost(one, {}), InContainer(one, {})):
        for text in (
            ras.processes("python3", place.mine(one.head)).text,
            ras.unstopped("python3", place.mine(one.head), 60).text,
            place._watch(Service(one.head, SERVE, 8000)),
        ):
            assert subprocess.run(["sh", "-n", "-c", text], check=False).returncode == 0, text


def test_our_own_processes_of_both_roles_are_found(tmp_path: Path) -> None:
    one = cluster("a")
    home = tmp_path / ".milepost" / one.name / "a"
    home.mkdir(parents=True)
    (home / "life").write_text("MILEPOST_LIFE=word\n")
    running = []
    for role in ("serve", "ray", "other"):
        env = {"MILEPOST_ID": f"{one.name}/a/{role}", "MILEPOST_LIFE": "word"}
        running.append(started("sleep", "600", **env))
    text = f"{OnHost(one, {}).mine(one.head)}ours\n"
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    try:
        done = subprocess.run(["sh", "-c", text], env=env, capture_output=True, text=True, check=False)
    finally:
        for process in running:
            process.kill()
            process.wait()
    assert done.stdout.split() == [str(process.pid) for process in running[:2]], done.stderr
