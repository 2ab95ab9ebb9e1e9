"""Floods through the headless path: SSH, cleaning, redaction, recording, plain log. MB/s, memory, all kept?

    python -m tests.bench.bench_flood [--scale 1.0]

The host is SIMULATED (a real SSH server on loopback in a process of its own); the output is real. "peak" is
what this process (the wizard's side) grew by. "complete" compares the recording with what was sent.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import tempfile
import threading
import time
from pathlib import Path

import psutil

from tests.bench.bench_scale import hosts, machine
from tests.helpers import scale_hosts
from tui.cli.plain import PlainReport
from wizard_steps.cluster.file import Cluster
from wizard_steps.engine.clock import RealClock
from wizard_steps.engine.runner import Runner
from wizard_steps.model import Cmd
from wizard_steps.recording import events as ev
from wizard_steps.recording.journal import WalkFolder, new_meta
from wizard_steps.recording.redact import Redactor
from wizard_steps.recording.state import State, apply
from wizard_steps.transport.cleaned import Cleaned
from wizard_steps.transport.ssh import SshTransport
from wizard_steps.transport.ssh_ask import NoAsker

LINE = "(EngineCore pid=7) INFO 11-24 08:50:47 [core.py:1] step done at http://10.0.0.1:8000 for 12 users"
SOUP = r"\033[1;31mred\033[0m \033]8;;http://x\007link\033]8;;\007 \033]52;c;eA==\007a\rb\r\n"


def floods(scale: float) -> dict[str, tuple[str, int, int]]:
    """name: (command, bytes it prints, bytes of the recording; 0 where cleaning decides that)."""
    lines, one, some = int(10_000_000 * scale), int(100_000_000 * scale), int(200_000 * scale)
    size = lines * (len(LINE) + 1)
    soup = f"python3 -c \"import sys\nfor _ in range({some}): sys.stdout.write('{SOUP}'*20)\""
    return {
        f"{lines} lines": (f"yes '{LINE}' | head -n {lines}", size, size),
        "one line": (f"head -c {one} /dev/zero | tr '\\0' x", one, one),
        "binary": (f"head -c {one // 2} /dev/urandom", one // 2, 0),
        "ANSI soup": (soup, some * 20 * len(SOUP.encode().decode("unicode_escape")), 0),
    }


class Grown(threading.Thread):
    """How much this process's resident memory grows, MiB."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.process, self.mib, self.over = psutil.Process(), 0.0, False
        self.before = self.process.memory_info().rss

    def run(self) -> None:
        while not self.over:
            self.mib = max(self.mib, (self.process.memory_info().rss - self.before) / 2**20)
            time.sleep(0.05)


async def flood(cluster: Cluster, folder: Path, name: str, text: str, size: int, wanted: int) -> None:
    transport = Cleaned(SshTransport(cluster, NoAsker()), Redactor(["hf_PlantedInTheEnvironment0123456789"]))
    journal = WalkFolder(folder, new_meta())
    state = apply(State(), ev.WalkStarted(0.0, "p", (("flood", "flood"),)))
    with Path(os.devnull).open("w") as out:  # noqa: ASYNC230
        report = PlainReport(journal.spool, out)

        def emit(event: ev.AnyEvent) -> None:
            nonlocal state
            journal.append(event)
            state = apply(state, event)
            report(event, state)

        runner = Runner(transport, RealClock(), journal.spool, emit, Redactor())
        await runner.run("flood", cluster.head, Cmd("warm", "true"))
        grown = Grown()
        grown.start()
        began, cpu = time.monotonic(), time.process_time()
        result = await runner.run("flood", cluster.head, Cmd("flood", text, timeout=3600))
        took, cpu = time.monotonic() - began, time.process_time() - cpu
        grown.over = True
    await transport.close()
    kept = max(path.stat().st_size for path in (folder / "out").iterdir())
    complete = ("yes" if kept == wanted else f"NO: {kept} of {wanted}") if wanted else f"{kept} bytes kept"
    mega = size / 1e6
    print(
        f"{name:15} {mega:6.0f} MB  {mega / took:6.1f} MB/s  {mega / cpu:6.1f} MB/s of own CPU  "
        f"peak +{grown.mib:.0f} MiB  {result.reason} {result.code}  complete: {complete}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--scale", type=float, default=1.0, help="1.0: 10 million lines, one line of 100 MB")
    scale = parser.parse_args().scale
    folder = Path(tempfile.mkdtemp(prefix="flood-"))
    print(f"machine: {machine()}")
    try:
        with hosts(folder, 1) as ports:
            cluster = scale_hosts.cluster(folder, ports)
            for number, (name, (text, size, wanted)) in enumerate(floods(scale).items()):
                asyncio.run(flood(cluster, folder / f"walk{number}", name, text, size, wanted))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
