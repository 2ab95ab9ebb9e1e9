"""Runs `milepost` as a person does, in a process of its own, and looks at what it left behind."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE, STDOUT, Process
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path

from wizard_steps.cluster import file as clusters
from wizard_steps.cluster.file import Cluster
from wizard_steps.lab import reaper

ROOT = Path(__file__).parents[2]


def write(cluster: Cluster, folder: Path) -> Path:
    file = folder / "milepost.toml"
    file.write_text(clusters.dump(cluster))
    return file


async def start(folder: Path, *words: str, **env: str) -> Process:
    """`milepost WORDS` with stdout and stderr in one pipe."""
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tui.cli.main", *words),
        stdin=DEVNULL,
        stdout=PIPE,
        stderr=STDOUT,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), **env},
        start_new_session=True,
    )


async def milepost(folder: Path, *words: str, limit: float = 240, **env: str) -> tuple[int, str]:
    """Its exit status and all that it printed."""
    process = await start(folder, *words, **env)
    try:
        out, _ = await asyncio.wait_for(process.communicate(), limit)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
    return process.returncode or 0, out.decode()


async def headless(cluster: Cluster, folder: Path, walk: str = "walk", **env: str) -> tuple[int, str]:
    """`milepost FILE --headless --walk FOLDER/walk`."""
    file = write(cluster, folder)
    return await milepost(folder, str(file), "--headless", "--walk", str(folder / walk), **env)


async def lines_until(process: Process, found: Callable[[str], bool], limit: float = 120) -> str:
    """What the process prints, up to a line that ``found`` likes, or its end."""
    said = ""
    assert process.stdout is not None
    async with asyncio.timeout(limit):
        while line := (await process.stdout.readline()).decode():
            said += line
            if found(line):
                break
    return said


def files_below(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]


def plain_bytes(path: Path) -> bytes:
    data = path.read_bytes()
    return gzip.decompress(data) if path.suffix == ".gz" else data


def pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def command_lines(of: Iterable[int]) -> dict[int, bytes]:
    """The argument lists of processes of this machine."""
    found = {}
    for pid in of:
        with contextlib.suppress(OSError):
            found[pid] = Path(f"/proc/{pid}/cmdline").read_bytes()
    return found


@contextlib.asynccontextmanager
async def arguments_seen() -> AsyncIterator[set[bytes]]:
    """Every argument list that any process of this machine has meanwhile.

    A process is looked at all the time in its first second, when it may become another program, and then
    once a second: to look at all of them always takes a third of a core.
    """
    seen: set[bytes] = set()
    since: dict[int, float] = {}

    async def watch() -> None:
        clock, everything = asyncio.get_running_loop().time, 0.0
        while True:
            now = clock()
            whole = now >= everything
            everything = now + 1.0 if whole else everything
            young = [pid for pid in pids() if whole or now - since.setdefault(pid, now) < 1.0]
            seen.update(command_lines(young).values())
            await asyncio.sleep(0.03)

    watching = asyncio.create_task(watch())
    try:
        yield seen
    finally:
        watching.cancel()


def named(lab_id: str, word: str) -> list[int]:
    """The lab's processes whose argument list begins with, or runs, ``word``."""
    lines = command_lines(reaper.marked(lab_id))
    return [pid for pid, line in lines.items() if word.encode() in line]


def ours(lab_id: str) -> list[int]:
    """The lab's processes that some milepost started: they carry its identity."""
    found = []
    for pid in reaper.marked(lab_id):
        with contextlib.suppress(OSError):
            if b"\0MILEPOST_ID=" in b"\0" + Path(f"/proc/{pid}/environ").read_bytes():
                found.append(pid)
    return found
