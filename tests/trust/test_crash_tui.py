"""SIGKILL of the wizard at its screen, at random moments: nothing is started twice, nothing is lost."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from msgspec.structs import replace

from tests.helpers.headless_help import headless, milepost, named, ours, write
from tests.helpers.on_terminal import OnTerminal
from wizard_steps.lab import Lab
from wizard_steps.recording import journal as walks
from wizard_steps.recording.events import Output

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.lab, pytest.mark.timeout(900)]
#: Seconds after the recording began: one moment of each span.
SPANS = ((0.1, 2.0), (2.0, 5.0), (5.0, 9.0))


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def lab() -> AsyncIterator[Lab]:
    async with Lab.start(real_vllm=False) as made:
        yield made


async def killed_at_its_screen(file: Path, walk: Path, after: float) -> None:
    """`milepost FILE` on a terminal of its own, ended by SIGKILL some seconds after it has begun to record."""
    events = walk / "events.jsonl"
    with OnTerminal([str(file), "--yes", "--walk", str(walk)], walk.parent) as wizard:
        await wizard.until(lambda: events.exists() and events.stat().st_size > 0, "its recording")
        until = asyncio.get_running_loop().time() + after
        await wizard.until(lambda: wizard.ended or asyncio.get_running_loop().time() > until, "its end")


async def test_killed_at_its_screen_at_random_moments(lab: Lab, tmp_path: Path) -> None:
    seed = random.randrange(10**6)
    rng = random.Random(seed)
    cluster = replace(lab.cluster, ray=replace(lab.cluster.ray, settle=1))
    file = write(cluster, tmp_path)
    for n, span in enumerate(SPANS):
        walk = tmp_path / f"killed-{n}"
        await killed_at_its_screen(file, walk, rng.uniform(*span))
        found = walks.load(walk)
        spools = {event.run: event.spool for event in found.events if hasattr(event, "spool")}
        for event in found.events:
            if isinstance(event, Output):
                found.read(spools[event.run], event.start, event.end)
    code, said = await headless(cluster, tmp_path)
    assert code == 0, f"seed {seed}: {said[-3000:]}"
    assert len(named(lab.id, "gcs/gcs_server")) == 1, seed
    assert len(named(lab.id, "raylet/raylet\0")) == 2, seed
    code, said = await milepost(tmp_path, "down", str(file), limit=120)
    assert code == 0, said
    assert ours(lab.id) == []
