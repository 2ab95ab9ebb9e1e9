"""The milestone `weights` on the embedded lab: real SSH, real huggingface_hub, two homes; the hub is SIMULATED."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.helpers.requirements import require
from tests.helpers.weights_walk import WeightsWalk
from tui.cli.down import down
from wizard_steps.lab import Lab, layout

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.lab, pytest.mark.timeout(300)]


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def lab() -> AsyncIterator[Lab]:
    if not layout.has_hub_client():
        require("huggingface_hub is not installed")
    async with Lab.start(real_vllm=False) as made:
        yield made


async def test_a_cut_wizard_finds_the_fetch_again_and_starts_nothing_twice(lab: Lab, tmp_path: Path) -> None:
    first = WeightsWalk(lab.cluster, tmp_path / "cut", cut_at="fetch")
    assert await first.run() is None
    assert first.changed == ["lab-head begin", "lab-head share", "lab-worker share"]
    assert "lab-head fetches 12.6 MB of 12.6 MB from http://127.0.0.1" in first.questions[0]
    second = WeightsWalk(lab.cluster, tmp_path / "again")
    verdict = await second.run()
    assert verdict is not None
    assert verdict.passed, verdict
    assert "lab-head begin" not in second.changed
    assert "on all 2 nodes, verified" in verdict.summary
    third = WeightsWalk(lab.cluster, tmp_path / "there")
    verdict = await third.run()
    assert verdict is not None
    assert verdict.passed, verdict
    assert third.changed == [], "what is right is left alone"


async def test_the_word_of_the_copy_is_in_no_file(lab: Lab, tmp_path: Path) -> None:
    recorded = [*tmp_path.parent.glob("test_a_cut_wizard*")]
    assert recorded, "the walks of the test before"
    # Other tests of this worker copy the project, which holds the word's name.
    for folder in (lab.folder, *recorded):
        for file in folder.rglob("*"):
            if file.is_file() and file.stat().st_size < 1 << 20:
                assert b"MILEPOST_COPY_TOKEN=" not in file.read_bytes(), file


async def test_down_ends_a_fetch_that_runs(
    lab: Lab, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for blob in lab.folder.rglob("blobs/*"):
        blob.unlink()
    walk = WeightsWalk(lab.cluster, tmp_path / "cut", cut_at="begin")
    assert await walk.run() is None
    capsys.readouterr()
    assert await down(lab.cluster) == 0
    # One process or more: the fetch has children of its own for a moment.
    assert "lab-head: The model on every node: ended " in capsys.readouterr().out
    assert await down(lab.cluster) == 0
    assert "ended " not in capsys.readouterr().out
