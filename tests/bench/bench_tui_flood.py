"""How long a key takes on the wizard's screen while a node writes 10 million lines.

    python tests/bench/bench_tui_flood.py [LINES]

The real app, engine, journal, spool on disk; only the host is made up. The log view is on show and follows.
Prints figures; nothing is asserted. A key counts as answered when the screen's state has changed.
"""

from __future__ import annotations

import asyncio
import os
import platform
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Callable
from functools import partial
from pathlib import Path
from typing import Any

from textual.screen import Screen

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.helpers.tui_fakes import Toy, ToyWalk
from tui.app.app import MilepostApp
from tui.widgets.log_view import LogView
from wizard_steps.engine import expected
from wizard_steps.engine.clock import RealClock
from wizard_steps.model import Chunk, Cmd, Exit, Node

CHUNK = 64 * 1024
LINE = b"(EngineCore pid=4242) INFO 11-24 10:00:00 [loader.py:42] Loading shards: line %08d\n"


class Flood:
    """One node writes as fast as it is read, in pieces of 64 KiB like an SSH channel."""

    def __init__(self, lines: int) -> None:
        self._lines = lines
        self.go = asyncio.Event()

    async def run(self, node: Node, cmd: Cmd) -> AsyncGenerator[Chunk | Exit]:
        if node.name == "gpu-a":
            await self.go.wait()
            per = CHUNK // len(LINE % 0)
            for first in range(0, self._lines, per):
                piece = b"".join(LINE % n for n in range(first, min(first + per, self._lines)))
                yield Chunk(piece)
                await asyncio.sleep(0)
        yield Exit(code=0)

    async def close(self) -> None:
        pass


Took = dict[str, list[tuple[float, float]]]


async def until(condition: Callable[[], bool], limit: float = 10.0) -> None:
    """Poll every millisecond; a limit, so that a missed key costs a figure and not the run."""
    end = time.monotonic() + limit
    while not condition() and time.monotonic() < end:  # noqa: ASYNC110 - the screen has no event for it
        await asyncio.sleep(0.001)


async def measure(lines: int, folder: Path) -> None:
    expected.SNAPSHOTS = folder
    (folder / "expected").mkdir()
    (folder / "expected" / "flood.md").write_text("# Flood\n## Why\nTo see whether keys still work.\n")
    flood: Any = Flood(lines)
    walk = ToyWalk(folder / "walk", [Toy("flood", "Flood")], flood, clock=RealClock())
    app = MilepostApp(walk, None, linger=0.0)
    took: Took = {"z": [], "up": [], "end": []}
    async with app.run_test(size=(120, 40)) as pilot:
        await until(lambda: app.screen.query("#log-view").first().is_attached and app.session is not None)
        await pilot.press("2")
        view, screen, session = app.screen.query_one("#log-view", LogView), app.screen, app.session
        assert session is not None
        begun, cpu = time.monotonic(), time.process_time()
        flood.go.set()
        await until(lambda: view.line_total() > 1000)
        while session.state.outcome is None:
            for key in took:
                want = {"z": not screen.has_class("-zoom"), "up": False, "end": True}[key]
                done = partial(_is, key, want, screen, view)
                wall_before, cpu_before = time.monotonic(), time.process_time()
                app.simulate_key(key)
                await until(done)
                took[key].append((time.monotonic() - wall_before, time.process_time() - cpu_before))
                await asyncio.sleep(0.05)
        spent, busy = time.monotonic() - begun, time.process_time() - cpu
        await until(lambda: view.line_total() >= lines, 60)
        before = time.process_time()
        view.go_to(lines // 2)
        await pilot.pause()
        jump = time.process_time() - before
        report(lines, spent, busy, view.line_total(), jump, took)


def _is(key: str, want: bool, screen: Screen[Any], view: LogView) -> bool:
    return (screen.has_class("-zoom") if key == "z" else view.following) == want


def report(lines: int, spent: float, busy: float, shown: int, jump: float, took: Took) -> None:
    print(
        f"machine: {platform.processor() or platform.machine()}, {os.cpu_count()} CPUs, {platform.system()}, "
        f"Python {platform.python_version()}, load {os.getloadavg()[0]:.1f}"
    )
    rate = lines / busy / 1000
    print(f"{lines:,} lines in {spent:.1f} s, {busy:.1f} s of CPU: {rate:,.0f} thousand a CPU second")
    print(f"{shown:,} lines on show; jump to the middle {jump * 1000:.0f} ms of CPU")
    print(f"memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB at most")
    print("wall time is true on an idle machine only; CPU time is what a key waits for on an idle core")
    for name, values in [*took.items(), ("all", [v for some in took.values() for v in some])]:
        for kind, place in (("wall", 0), ("CPU", 1)):
            ordered = sorted(value[place] * 1000 for value in values)
            print(
                f"key {name:<4} {kind:<5} n={len(values):<4} median {statistics.median(ordered):6.1f} ms   "
                f"p95 {ordered[int(len(ordered) * 0.95)]:6.1f} ms   worst {ordered[-1]:6.1f} ms"
            )


if __name__ == "__main__":
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000_000
    with tempfile.TemporaryDirectory() as place:
        asyncio.run(measure(count, Path(place)))
