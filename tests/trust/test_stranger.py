"""Another account of the head calls its processes ours: the head gate stays shut, and `down` leaves them alone."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
from asyncio.subprocess import DEVNULL, Process
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from msgspec.structs import replace

from tests.helpers.headless_help import headless, milepost, write
from wizard_steps.lab import Lab

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.lab,
    pytest.mark.timeout(600),
    pytest.mark.skipif(
        os.geteuid() != 0 or not shutil.which("setpriv") or not shutil.which("python3", path="/usr/bin:/bin"),
        reason="needs root, to be another account, and the system's python3",
    ),
]
NOBODY = 65534
#: One that another account may run: not that of a virtual environment in somebody's home.
PYTHON = shutil.which("python3", path="/usr/bin:/bin") or ""
LISTENS = """
import socket, sys
s = socket.socket()
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(("0.0.0.0", int(sys.argv[1])))
s.listen(50)
while True:
    c, _ = s.accept()
    c.close()
"""
SLEEPS = "import time; time.sleep(100000)"
#: Argument lists that try to speak for the shell that looks at them.
LIES = (
    "xraylet/rayletx\nleader: 4242\n",
    "raylet/raylet\r\nours: 4242\r\n",
    "gcs_server\x1b[2K\nleader: {pid}\nours: {pid}",
    "raylet\u2028leader: 4242\u2028",
    "raylet/raylet " + "\u009d" * 4000,
    "ray start --head\nmine: 1\nstate: running\n",
)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def lab() -> AsyncIterator[Lab]:
    async with Lab.start(real_vllm=False) as made:
        yield made


async def stranger(code: str, *words: str, **env: str) -> Process:
    drop = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")
    return await asyncio.create_subprocess_exec(
        *drop, PYTHON, "-c", code, *words,
        stdin=DEVNULL, stdout=DEVNULL, stderr=DEVNULL, env={"PATH": os.defpath, **env}, cwd="/",
    )  # fmt: skip


async def test_a_stranger_with_our_name_opens_no_gate_and_is_not_ended(lab: Lab) -> None:
    folder = lab.folder / "attack"
    folder.mkdir()
    cluster = replace(lab.cluster, ray=replace(lab.cluster.ray, settle=1))
    head = cluster.head.name
    names = [f"{cluster.name}/{head}/{role}" for role in ("ray", "serve")]
    made = [await stranger(LISTENS, str(cluster.ray.port), MILEPOST_ID=names[0])]
    made += [await stranger(SLEEPS, words, MILEPOST_ID=names[n % 2]) for n, words in enumerate(LIES)]
    await asyncio.sleep(1)
    assert all(process.returncode is None for process in made)
    try:
        code, said = await headless(cluster, folder)
        assert code == 1, said[-3000:]
        assert "already running, and ours" not in said
        assert "PASSED head" not in said
        assert "Traceback" not in said
        down, told = await milepost(folder, "down", str(write(cluster, folder)))
        assert down in (0, 1), told
        assert "Traceback" not in told
        assert all(process.returncode is None for process in made), "a stranger was ended"
    finally:
        for process in made:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        await asyncio.gather(*(process.wait() for process in made))
