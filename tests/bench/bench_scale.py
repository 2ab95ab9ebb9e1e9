"""How long a walk over many hosts takes, beside plain OpenSSH with ControlMaster run by xargs -P.

    python -m tests.bench.bench_scale [--hosts 256] [--limit 64] [--rounds 2] [--skip-walk]

The hosts are SIMULATED: real SSH servers on loopback in two processes; each command is a real subprocess; the
GPUs, Ray and vLLM behind them are stand-ins. Everything shares one machine, so servers and clients compete
for its cores. Both sides run the same commands (of the milestones reach, smi and install), log-in included,
one after the other in turns; milepost records and judges as well.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import platform
import shlex
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

from tests import scale_hosts
from wizard_steps import cluster as clusters
from wizard_steps import walk as walks
from wizard_steps.clock import RealClock
from wizard_steps.cluster import Cluster
from wizard_steps.decide import FileDecider
from wizard_steps.engine import Engine
from wizard_steps.events import CommandEnded, CommandStarted, StepStarted, WalkEnded
from wizard_steps.milestones.install import versions_command
from wizard_steps.milestones.reach import WHOAMI
from wizard_steps.milestones.smi import SMI
from wizard_steps.plan import plan_for
from wizard_steps.redact import Redactor
from wizard_steps.transport.cleaned import Cleaned
from wizard_steps.transport.ssh import SshTransport
from wizard_steps.transport.ssh_ask import NoAsker
from wizard_steps.walk import WalkFolder, new_meta

ROOT = Path(__file__).parents[2]
COMPARED = ("reach", "smi", "install")


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
            "tests.scale_hosts",
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
        "tui.cli",
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


def by_milepost(cluster: Cluster, folder: Path) -> float:
    """The compared milestones in the real engine, recorded; wall seconds."""
    plan = [step for step in plan_for(cluster) if step.id in COMPARED]

    async def go() -> str:
        transport = Cleaned(SshTransport(cluster, NoAsker()), Redactor())
        journal = WalkFolder(folder, new_meta())
        engine = Engine(plan, cluster, transport, FileDecider(), RealClock(), journal)
        try:
            return await engine.walk()
        finally:
            await transport.close()

    began = time.monotonic()
    outcome = asyncio.run(go())
    assert outcome == "passed", outcome
    return time.monotonic() - began


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


def by_ssh(cluster: Cluster, folder: Path, limit: int) -> float:
    """The same commands with `ssh` and ControlMaster, ``limit`` at a time; wall seconds."""
    texts = [WHOAMI.text, SMI.text, versions_command(cluster.venv).text]
    sockets = Path(tempfile.mkdtemp(prefix="cm-", dir="/tmp"))
    common = [
        "ssh",
        "-F",
        "none",
        "-i",
        cluster.ssh.identity[0],
        "-o",
        f"UserKnownHostsFile={cluster.ssh.known_hosts}",
    ]
    common += [
        "-o",
        "IdentitiesOnly=yes",
        "-o",
        "BatchMode=yes",
        "-o",
        "ControlMaster=auto",
        "-o",
        "ControlPersist=60",
    ]
    common += ["-o", f"ControlPath={sockets}/%p", "-o", "LogLevel=ERROR"]
    script = folder / "one.sh"
    out = folder / "ssh-out"
    out.mkdir(exist_ok=True)
    began = time.monotonic()
    for number, text in enumerate(texts):
        (folder / "text").write_text(text)
        ssh = f'{shlex.join(common)} -p "$1" {scale_hosts.USER}@127.0.0.1 "$(cat {folder}/text)"'
        script.write_text(f'{ssh} > {out}/{number}-"$1" 2>&1 < /dev/null\n')
        ports = "\n".join(str(entry.port) for entry in cluster.nodes)
        subprocess.run(
            ["xargs", "-P", str(limit), "-n", "1", "sh", str(script)], input=ports, text=True, check=False
        )
    took = time.monotonic() - began
    good = sum(1 for path in out.iterdir() if path.stat().st_size > 50)
    print(f"    ssh: {good} of {len(texts) * len(cluster.nodes)} outputs came")
    for path in sockets.iterdir():
        subprocess.run(["ssh", "-S", str(path), "-O", "exit", "x"], stderr=subprocess.DEVNULL, check=False)
    shutil.rmtree(sockets, ignore_errors=True)
    return took


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
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--skip-walk", action="store_true")
    args = parser.parse_args()
    folder, bad = Path(tempfile.mkdtemp(prefix="scale-")), args.hosts // 2
    print(f"machine: {machine()}")
    print(f"hosts: {args.hosts} SIMULATED, at most {args.limit} at a time")
    try:
        with hosts(folder, args.hosts) as ports:
            cut = [9 if n == bad else port for n, port in enumerate(ports)]
            dead = scale_hosts.cluster(folder, cut, limit=args.limit)
            cluster = scale_hosts.cluster(folder, ports, limit=args.limit)
            for number in range(args.rounds if shutil.which("ssh") else 0):
                ours = by_milepost(cluster, folder / f"compared-{number}")
                theirs = by_ssh(cluster, folder, args.limit)
                ratio = ours / theirs
                print(f"reach, smi, install: milepost {ours:.1f} s, ssh {theirs:.1f} s, ratio {ratio:.2f}")
            if not args.skip_walk:
                whole_walk(cluster, dead, folder, f"n{bad:03}")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
