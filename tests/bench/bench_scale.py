"""A whole walk over many hosts: how long it takes, what it holds in memory, how soon a dead host is named.

    python -m tests.bench.bench_scale [--hosts 256] [--limit 64]

The hosts are SIMULATED: real SSH servers on loopback in two processes; each command is a real subprocess; the
GPUs, Ray and vLLM behind them are stand-ins. Everything shares one machine, so servers and clients compete
for its cores. The comparison with other ways of running the same commands is bench_fanout's.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from tests.helpers import scale_hosts
from wizard_steps.cluster import file as clusters
from wizard_steps.cluster.file import Cluster
from wizard_steps.recording import journal as walks
from wizard_steps.recording.events import CommandEnded, CommandStarted, StepStarted, WalkEnded

ROOT = Path(__file__).parents[2]


@contextlib.contextmanager
def hosts(folder: Path, total: int, processes: int = 2) -> Iterator[list[int]]:
    """The servers' ports, in order."""
    scale_hosts.prepare(folder, total)
    share = -(-total // processes)
    running, ports = [], []
    for first in range(0, total, share):
        words = [
            sys.executable,
            "-m",
            "tests.helpers.scale_hosts",
            str(folder),
            str(first),
            str(min(share, total - first)),
        ]
        running.append(
            subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, text=True)
        )
    try:
        for process in running:
            assert process.stdout is not None
            ports += json.loads(process.stdout.readline())["ports"]
        yield ports
    finally:
        for process in running:
            process.terminate()
        _end_all(str(folder))


def _end_all(mark: str) -> None:
    """The stand-ins for Ray go on after their servers, as Ray does: ended by their mark."""
    wanted = f"{scale_hosts.MARK}={mark}".encode()
    for path in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if wanted in path.read_bytes().split(b"\0"):
                os.kill(int(path.parent.name), signal.SIGKILL)


class Peak(threading.Thread):
    """The largest resident memory of a process and its children, MiB."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.pid, self.mib, self.over = pid, 0.0, False

    def run(self) -> None:
        while not self.over:
            with contextlib.suppress(psutil.Error):
                self.mib = max(self.mib, psutil.Process(self.pid).memory_info().rss / 2**20)
            time.sleep(0.1)


def walk(cluster: Cluster, folder: Path, name: str) -> tuple[float, float, str]:
    """A headless walk: wall seconds, peak MiB, what it printed."""
    file = folder / f"{name}.toml"
    file.write_text(clusters.dump(cluster))
    words = [
        sys.executable,
        "-m",
        "tui.cli.main",
        str(file),
        "--headless",
        "--quiet",
        "--walk",
        str(folder / name),
    ]
    began = time.monotonic()
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env, cwd=folder
    )
    peak = Peak(process.pid)
    peak.start()
    out, _ = process.communicate()
    peak.over = True
    return time.monotonic() - began, peak.mib, out


def first_bad(folder: Path, node: str) -> tuple[float, float]:
    """When a failing node was named, and when the last of the others was done, s after the step began."""
    began = named = last = 0.0
    nodes = {}
    for event in walks.load(folder).events:
        if isinstance(event, StepStarted) and not began:
            began = event.t
        elif isinstance(event, CommandStarted):
            nodes[event.run] = event.node
        elif isinstance(event, CommandEnded):
            last = max(last, event.ended - began)
            if nodes[event.run] == node and event.reason == "lost" and not named:
                named = event.ended - began
        elif isinstance(event, WalkEnded):
            break
    return named, last


def machine() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.split(":")[1].strip() for line in lines if "model name" in line), "?")
    memory = psutil.virtual_memory().total / 2**30
    load = os.getloadavg()[0]
    python = platform.python_version()
    return f"{os.cpu_count()} x {model}, {memory:.0f} GiB, Python {python}, load {load:.1f} before"


def whole_walk(cluster: Cluster, dead: Cluster, folder: Path, bad: str) -> None:
    wall, mib, out = walk(cluster, folder, "walk")
    print("\n".join(line[:110] for line in out.splitlines() if line.startswith(("PASSED", "FAILED"))))
    print(f"walk up to ray_status (vLLM cannot start here): {wall:.1f} s, peak {mib:.0f} MiB")
    walk(dead, folder, "dead")
    named, last = first_bad(folder / "dead", bad)
    print(f"one dead host: named after {named:.2f} s, the last of the others was done after {last:.2f} s")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--hosts", type=int, default=256)
    parser.add_argument("--limit", type=int, default=64)
    args = parser.parse_args()
    folder, bad = Path(tempfile.mkdtemp(prefix="scale-")), args.hosts // 2
    print(f"machine: {machine()}")
    print(f"hosts: {args.hosts} SIMULATED, at most {args.limit} at a time")
    try:
        with hosts(folder, args.hosts) as ports:
            cut = [9 if n == bad else port for n, port in enumerate(ports)]
            dead = scale_hosts.cluster(folder, cut, limit=args.limit)
            cluster = scale_hosts.cluster(folder, ports, limit=args.limit)
            whole_walk(cluster, dead, folder, f"n{bad:03}")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
