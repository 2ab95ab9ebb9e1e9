"""The ranks of one node in an all_reduce over all nodes: one process a GPU with NCCL, one a node with Gloo.

Run as ``python -c TEXT SPEC``; SPEC is JSON, see collective.command. It starts the ranks (scripts/rank.py),
keeps what matters of their output, and ends them when a stage takes too long. They end with it even when it
is killed.
"""

from __future__ import annotations

import collections
import json
import os
import re
import subprocess
import sys
import threading
import time
from typing import Any

SPEC: dict[str, Any] = json.loads(sys.argv[1])
FIRST = SPEC["first"]
#: ``via NET/IB/0/GDRDMA``, ``via P2P/CUMEM``, ``via SHM/direct/direct``: how a channel goes.
#: The name of a plug-in may have a blank: ``via NET/AWS Libfabric/0/GDRDMA``.
VIA = re.compile(r"\bvia (NET/[A-Za-z][\w .-]{0,40}/\d\S*|NET/[A-Za-z]+\S*|P2P\S*|SHM\S*)")
NETWORK = re.compile(r"Using network (AWS Libfabric|\S+)")
DEVICES = re.compile(r"NET/(\w+) : Using (\[\d.{0,1000})")
#: NCCL's own words, and those of the network plugin of NVIDIA's HPC-X.
DIRECT = re.compile(r"GPU Direct RDMA (?:\([\w-]{1,20}\) )?(en|dis)abled?\b", re.I)
#: Seconds in a stage after which its ranks are asked. Torch may come from a slow disk.
PATIENCE = {"all_reduce": SPEC["ask"], "import torch": 45, "meet the other ranks": 30}
#: Seconds until they are asked again, and for which a stopped rank may be just looked at by a debugger.
AGAIN, PAUSED = 20, 5
#: What scripts/stall.py says of a rank that will not come back.
GONE = re.compile(r"process rank \d+: \d+ (?:is stopped|is gone|has ended)|ras\| (?:INCOMPLETE|DEAD)$")


def say(text: str) -> None:
    """In one write, on a line of its own: NCCL's threads write to the same pipe, also in mid-line."""
    os.write(1, f"\n{text}\n".encode())


class Reader:
    """What matters of the ranks' output; NCCL's own lines are counted rather than printed."""

    def __init__(self) -> None:
        self.stages: dict[int, tuple[str, float]] = {}
        self.last: dict[int, str] = {}
        self.lock = threading.Lock()
        self.vias: collections.Counter[str] = collections.Counter()
        self.networks: set[str] = set()
        self.direct: set[str] = set()
        self.dmabuf = False
        self._shown: collections.Counter[str] = collections.Counter()

    def read(self, rank: int, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        for raw in process.stdout:
            line = raw.decode("utf-8", "replace").rstrip()
            with self.lock:
                if line and not line.startswith("@stage"):
                    self.last[rank] = line
                self._line(line)

    def _line(self, line: str) -> None:
        stage = re.match(r"@stage (\d+) (.*)", line)
        if stage:
            self.stages[int(stage[1])] = (stage[2], time.monotonic())
            return
        if "NCCL INFO" in line:
            line = self._nccl(line)
        if line:
            self._shown[line] += 1
            if self._shown[line] == 1 and len(self._shown) <= 100:
                print(line, flush=True)

    def _nccl(self, line: str) -> str:
        if via := VIA.search(line):
            self.vias[kind(via[1])] += 1
        if network := NETWORK.search(line):
            self.networks.add(network[1])
        if direct := DIRECT.search(line):
            self.direct.add(f"{direct[1].capitalize()}abled")
        self.dmabuf = self.dmabuf or "DMA-BUF is available" in line
        devices = DEVICES.search(line)
        return f"NCCL: NET/{devices[1]} uses {devices[2]}" if devices else ""

    def summary(self) -> None:
        if self.networks:
            print("NCCL network:", ", ".join(sorted(self.networks)))
        if self.vias:
            whole = sorted((via, n) for via, n in self.vias.items() if not self._is_cut(via))
            print("NCCL channels:", ", ".join(f"{n} x {via}" for via, n in whole))
        if self.direct:
            print("NCCL GPU Direct RDMA:", ", ".join(sorted(self.direct)))
        if self.dmabuf:
            print("NCCL DMA-BUF: available")

    def _is_cut(self, via: str) -> bool:
        """``NET/S`` beside ``NET/Socket``: the end of a line that another rank wrote into."""
        longer = [other for other in self.vias if other != via and other.startswith(via)]
        return any(not other[len(via) :].startswith("/") for other in longer)


def kind(via: str) -> str:
    """``NET/IB/0/GDRDMA/Shared`` -> ``NET/IB/GDRDMA``; ``P2P/CUMEM`` -> ``P2P``."""
    parts = via.split("/")
    if parts[0] != "NET":
        return parts[0]
    name = re.match(r"\w+(?: \w+)*", parts[1])
    return f"NET/{name[0] if name else parts[1]}" + ("/GDRDMA" if "GDRDMA" in via else "")


def main() -> int:
    wanted = {name: value for name, value in SPEC.items() if name not in ("rank", "stall")}
    argv = [sys.executable, "-I", "-c", SPEC["rank"], json.dumps(wanted)]
    pipes: dict[str, Any] = {
        "stdout": subprocess.PIPE,
        "stderr": subprocess.STDOUT,
        "stdin": subprocess.DEVNULL,
    }
    own = str(os.getpid())
    processes = [subprocess.Popen([*argv, str(i), own], **pipes) for i in range(SPEC["procs"])]
    reader = Reader()
    threads = [
        threading.Thread(target=reader.read, args=(FIRST + i, p), daemon=True)
        for i, p in enumerate(processes)
    ]
    for thread in threads:
        thread.start()
    late = wait(processes, reader)
    for process in processes:
        if process.poll() is None:
            process.kill()
    for process in processes:
        process.wait()
    for thread in threads:
        thread.join(2)
    reader.summary()
    if late:
        print(late)
    return 3 if late else max(abs(process.returncode) for process in processes)


class Stall:
    """Asks who hangs: scripts/stall.py, while the ranks still stand."""

    def __init__(self, processes: list[subprocess.Popen[bytes]], reader: Reader) -> None:
        self._processes, self._reader = processes, reader
        self._asked: dict[str, float] = {}
        self._thread: threading.Thread | None = None
        #: Whether a rank was named that will not come back.
        self.named = False

    def ask(self, stage: str, stages: dict[int, tuple[str, float]]) -> None:
        """Not again within AGAIN seconds."""
        now = time.monotonic()
        again = now - self._asked.get(stage, -AGAIN) >= AGAIN
        if not again or (self._thread and self._thread.is_alive()):
            return
        self._asked[stage] = now
        with self._reader.lock:
            last = dict(self._reader.last)
        for rank, (name, since) in sorted(stages.items()):
            say(f"rank {rank}: at {name} for {now - since:.0f} s")
            if rank in last:
                say(f"last of rank {rank}: {last[rank][:200]}")
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def _look(self) -> None:
        living = [(i, p) for i, p in enumerate(self._processes) if p.poll() is None]
        named = [f"rank {FIRST + i}={p.pid}" for i, p in living]
        argv = [sys.executable, "-I", "-c", SPEC["stall"], str(SPEC["ras"]), *named]
        with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as asked:
            assert asked.stdout is not None
            for raw in asked.stdout:
                line = raw.decode("utf-8", "replace").rstrip()
                print(line, flush=True)
                self.named = self.named or bool(GONE.match(line))

    def end(self) -> None:
        if self._thread:
            self._thread.join(20)


def is_stopped(process: subprocess.Popen[bytes]) -> bool:
    """By a signal, and not continued. Leaves its end for ``poll``."""
    try:
        event = os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return event is not None


def wait(processes: list[subprocess.Popen[bytes]], reader: Reader) -> str:
    """Until all ranks have ended or one has failed; else the stage that took too long."""
    began, stall = time.monotonic(), Stall(processes, reader)
    going = began
    while any(p.poll() is None for p in processes):
        time.sleep(0.1)
        if any(p.poll() for p in processes):
            time.sleep(1)  # one rank that failed is enough: the others would only wait for it
            stall.end()
            return ""
        now = time.monotonic()
        with reader.lock:
            stages = dict(reader.stages)
        for name, since in stages.values():
            if now - since > PATIENCE.get(name, 30):
                stall.ask(name, stages)
        if not any(map(is_stopped, processes)):
            going = now
        elif now - going > PAUSED:
            stall.ask("stopped", stages)
        if late := _late(stages, now, began, stall.named):
            stall.ask(stages.get(FIRST, ("start", 0.0))[0], stages)
            stall.end()
            return late
    return ""


def _late(stages: dict[int, tuple[str, float]], now: float, began: float, named: bool) -> str:
    """What took too long; where a rank was named that does not come back, what is waited for."""
    for rank, (name, since) in stages.items():
        if name == "all_reduce" and (now - since > SPEC["limit"] or named):
            return f"rank {rank}: no end of {name} within {now - since:.0f} s"
    if (now - began > SPEC["start"] or named) and any(name != "all_reduce" for name, _ in stages.values()):
        return f"rank {FIRST}: no end of {stages.get(FIRST, ('start', 0))[0]} within {now - began:.0f} s"
    return ""


sys.exit(main())
