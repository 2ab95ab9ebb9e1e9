"""How a lab starts and ends: nothing of it stays, whoever is killed."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from tests.helpers.lab_help import start_wizard, until_gone
from tests.helpers.waiting import soon
from wizard_steps.errors import UsageError
from wizard_steps.lab import Lab, LabError, layout, reaper
from wizard_steps.lab import lab as lab_module

pytestmark = pytest.mark.asyncio(loop_scope="module")

#: Ignores SIGTERM and SIGHUP, left its session twice, and has no parent.
_ONE = "trap '' TERM HUP; setsid sleep 3199 & wait"
_STUBBORN = f'for i in 1 2 3; do setsid nohup sh -c "{_ONE}" >/dev/null 2>&1 & done'


async def test_sigkill_of_the_wizard_leaves_nothing() -> None:
    wizard, lab_id, folder = await start_wizard(_STUBBORN)
    await soon(lambda: len(reaper.marked(lab_id)) >= 5, "the start of all that ignores signals")
    wizard.send_signal(signal.SIGKILL)
    await wizard.wait()
    assert await until_gone(lab_id) == []
    assert not folder.exists()


async def test_sigkill_of_the_reaper_leaves_nothing() -> None:
    wizard, lab_id, folder = await start_wizard(_STUBBORN)
    parents = reaper.parents()
    mine = [pid for pid in reaper.marked(lab_id) if parents.get(pid) == wizard.pid]
    assert len(mine) == 1
    os.kill(mine[0], signal.SIGKILL)
    assert await until_gone(lab_id) == []
    wizard.send_signal(signal.SIGKILL)
    await wizard.wait()
    assert not folder.exists()


async def test_ctrl_c_while_it_starts_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    ids: list[str] = []
    real = lab_module._spawn

    async def spy(plan: layout.LabLayout) -> asyncio.subprocess.Process:
        ids.append(plan.id)
        return await real(plan)

    monkeypatch.setattr(lab_module, "_spawn", spy)

    async def enter() -> None:
        async with Lab.start():
            await asyncio.sleep(600)

    task = asyncio.create_task(enter())
    for _ in range(1000):
        if ids:
            break
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await until_gone(ids[0]) == []


async def test_servers_that_fail_say_why(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "executable", "/usr/bin/false")
    folder = tmp_path / "lab"
    folder.mkdir()
    monkeypatch.setattr(lab_module, "private_folder", lambda: folder)
    with pytest.raises(LabError, match="did not start"):
        async with Lab.start():
            pass
    assert not folder.exists()


async def test_without_ray_the_error_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "_version", lambda name: "")
    with pytest.raises(UsageError, match=r"pip install 'ray\[default\]=="):
        async with Lab.start():
            pass


async def test_a_long_temp_dir_is_not_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path / ("x" * 60)))
    folder = lab_module.private_folder()
    try:
        assert len(str(folder)) <= layout.LONGEST
    finally:
        folder.rmdir()
