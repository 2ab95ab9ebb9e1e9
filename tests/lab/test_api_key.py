"""The API key end to end in the embedded lab: vLLM's API wants it, the walk has it, and nothing keeps it."""

from __future__ import annotations

import asyncio
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import pytest
import pytest_asyncio
from msgspec.structs import replace

from tests.helpers.headless_help import (
    arguments_seen,
    files_below,
    headless,
    milepost,
    ours,
    plain_bytes,
    write,
)
from tests.helpers.tui_fakes import plain, until
from tui.app.app import MilepostApp
from tui.screens.api_key import ApiKeyScreen
from wizard_steps.cluster.file import Cluster
from wizard_steps.lab import Lab
from wizard_steps.model import Verdict
from wizard_steps.recording import journal as walks
from wizard_steps.recording.events import Judged
from wizard_steps.session import LiveWalk
from wizard_steps.walks.replay import replay

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.lab, pytest.mark.timeout(600)]
KEY = "planted-key-that-clients-must-give"
OTHER = "planted-key-of-somebody-else"


class Walked(NamedTuple):
    lab: Lab
    cluster: Cluster
    folder: Path
    code: int
    said: str
    seen: set[bytes]


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def walked(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Walked]:
    """A headless walk with ``serve.api_key = true`` and the key in the environment."""
    folder = tmp_path_factory.mktemp("api-key")
    async with Lab.start(real_vllm=False) as lab:
        cluster = replace(lab.cluster, serve=replace(lab.cluster.serve, api_key=True))
        async with arguments_seen() as seen:
            code, said = await headless(cluster, folder, VLLM_API_KEY=KEY)
        yield Walked(lab, cluster, folder, code, said, seen)


def verdicts(folder: Path) -> dict[str, Verdict]:
    return {e.step: e.verdict for e in walks.load(folder).events if isinstance(e, Judged)}


def status(cluster: Cluster, key: str = "") -> int:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    url = f"http://{cluster.serve.host}:{cluster.serve.port}/v1/models"
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(urllib.request.Request(url, headers=headers), timeout=20) as reply:
            return int(reply.status)
    except urllib.error.HTTPError as error:
        return error.code


def nowhere(walked: Walked, key: str) -> None:
    """The key is in no file of the walks, the wizard's folder or the lab; on the nodes' disks neither."""
    places = [*files_below(walked.folder), *files_below(walked.lab.folder)]
    assert len(places) > 50
    assert not [path for path in places if key.encode() in plain_bytes(path)]
    assert not [line for line in walked.seen if key.encode() in line]


async def test_the_walk_passes_and_the_api_refuses_who_has_no_key(walked: Walked) -> None:
    assert walked.code == 0, walked.said[-3000:]
    found = verdicts(walked.folder / "walk")
    assert ("without a key", True, "HTTP 401") in [(c.name, c.ok, c.found) for c in found["curl"].checks]
    assert found["probe"].passed
    asked = [await asyncio.to_thread(status, walked.cluster, key) for key in ("", OTHER, KEY)]
    assert asked == [401, 401, 200]


async def test_the_key_is_in_no_file_argument_or_output(walked: Walked) -> None:
    assert KEY not in walked.said
    nowhere(walked, KEY)


async def test_the_recording_needs_no_key(walked: Walked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VLLM_API_KEY", raising=False)
    result = await replay(walks.load(walked.folder / "walk"))
    assert (result.outcome, result.drift, result.remarks) == ("passed", "", ())
    code, said = await milepost(walked.folder, "--replay", str(walked.folder / "walk"), limit=60)
    assert code == 0, said


async def test_a_person_who_walks_again_types_it(walked: Walked, monkeypatch: pytest.MonkeyPatch) -> None:
    """vLLM runs already; the probe on the wizard's own machine has what was typed, too."""
    monkeypatch.delenv("VLLM_API_KEY", raising=False)
    monkeypatch.chdir(walked.folder)
    before = set(ours(walked.lab.id))
    file = write(walked.cluster, walked.folder)
    app = MilepostApp(LiveWalk(walked.cluster, walked.folder / "typed"), file, linger=0.0)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: isinstance(app.screen, ApiKeyScreen) and app.focused, 60)
        await pilot.press(*KEY)
        await until(pilot, lambda: f"{len(KEY)} characters" in plain(app), 60)
        assert KEY not in plain(app)
        await pilot.press("enter")
        await until(pilot, lambda: app.session and app.session.state.outcome, 240)
        assert app.session is not None
        assert app.session.state.outcome == "passed"
        assert KEY not in plain(app)
    assert verdicts(walked.folder / "typed")["probe"].passed
    assert before <= set(ours(walked.lab.id))
    nowhere(walked, KEY)


@pytest.mark.long
async def test_another_key_is_not_taken_for_the_right_one(walked: Walked) -> None:
    code, said = await headless(walked.cluster, walked.folder, "other", VLLM_API_KEY=OTHER)
    assert code == 1
    assert "vLLM was started with another API key" in said
    assert not verdicts(walked.folder / "other")["curl"].passed
    nowhere(walked, OTHER)


async def test_down_ends_it(walked: Walked) -> None:
    code, said = await milepost(walked.folder, "down", str(walked.folder / "milepost.toml"), limit=120)
    assert code == 0, said
    assert ours(walked.lab.id) == []
