"""The Ray token end to end, and secrets all the way: one lab walk with all of it planted, then looked for."""

from __future__ import annotations

import asyncio
import os
import re
import stat
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
    lines_until,
    milepost,
    ours,
    plain_bytes,
    start,
)
from tests.helpers.lab_help import login, sh
from wizard_steps.cluster.file import Cluster
from wizard_steps.lab import Lab, layout
from wizard_steps.recording import journal as walks
from wizard_steps.recording.events import Judged

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.lab, pytest.mark.timeout(600)]
SECRETS = {
    "HF_TOKEN": "hf_PlantedInTheEnvironment0123456789",
    "VLLM_API_KEY": "planted-api-key-of-the-server",
    "WANDB_API_KEY": "planted-wandb-key-not-for-nodes",
}
FILE = 'cat "$HOME"/.milepost/*/*/ray_token'


class Walked(NamedTuple):
    lab: Lab
    cluster: Cluster
    folder: Path
    code: int
    said: str
    seen: set[bytes]
    token: str


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def walked(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Walked]:
    """A whole walk with ``ray.auth = "token"``, on nodes that have no token of the lab's own."""
    folder = tmp_path_factory.mktemp("token")
    async with Lab.start(real_vllm=False) as lab:
        for node in lab.layout.nodes:
            (lab.layout.home(node) / ".ray" / "auth_token").unlink()
        cluster = replace(lab.cluster, ray=replace(lab.cluster.ray, auth="token"))
        async with arguments_seen() as seen:
            code, said = await headless(cluster, folder, **SECRETS)
        connection = await login(cluster)
        _, token = await sh(connection, FILE)
        yield Walked(lab, cluster, folder, code, said, seen, token)


async def test_the_walk_passes_with_a_token_that_the_wizard_made(walked: Walked) -> None:
    assert walked.code == 0, walked.said[-3000:]
    assert re.fullmatch(r"[0-9a-f]{64}", walked.token)
    judged = {e.step: e.verdict for e in walks.load(walked.folder / "walk").events if isinstance(e, Judged)}
    for step, count in (("head", 1), ("workers", 1)):
        checks = [check for check in judged[step].checks if check.name == "Ray token"]
        assert [check.ok for check in checks] == [True] * count
        assert "mode 600" in checks[0].found
    assert judged["probe"].passed


async def test_every_node_has_the_same_token_for_its_owner_alone(walked: Walked) -> None:
    found = []
    for node in walked.lab.layout.nodes:
        file = next(walked.lab.layout.home(node).glob(".milepost/*/*/ray_token"))
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
        assert not (walked.lab.layout.home(node) / ".ray" / "auth_token").exists(), (
            "the user's own is left alone"
        )
        found.append(file.read_text())
    assert found == [walked.token] * 2


async def test_no_secret_is_in_a_file_on_the_screen_or_in_an_argument(walked: Walked) -> None:
    secrets = [*SECRETS.values(), walked.token]
    for secret in secrets:
        assert secret not in walked.said
        assert not [line for line in walked.seen if secret.encode() in line], secret
    assert len(walked.seen) > 100
    token_files = set(walked.lab.folder.glob("nodes/*/home/.milepost/*/*/ray_token"))
    # Ray keeps what its processes print and its worker's environment below t/: looked through as well.
    places = [*files_below(walked.folder), *files_below(walked.lab.folder)]
    assert len(places) > 50
    for path in places:
        if path in token_files:
            continue
        data = plain_bytes(path)
        assert not [secret for secret in secrets if secret.encode() in data], path


async def test_a_secret_goes_to_the_server_that_needs_it_and_to_nothing_else(walked: Walked) -> None:
    """HF_TOKEN is in vLLM's environment, by way of standard input; the wizard's other keys are nowhere."""
    found = 0
    for pid in ours(walked.lab.id):
        environment = Path(f"/proc/{pid}/environ").read_bytes()
        found += SECRETS["HF_TOKEN"].encode() in environment
        assert SECRETS["WANDB_API_KEY"].encode() not in environment
    assert found


async def test_a_ray_without_the_token_or_with_another_cannot_join(walked: Walked) -> None:
    cluster = walked.cluster
    address = f"{cluster.nodes[0].fabric_ip}:{cluster.ray.port}"
    third = walked.lab.layout.nodes[0].ip.rsplit(".", 1)[0] + ".3"
    flags = " ".join(cluster.ray.worker_flags)
    ray = f"timeout 60 {cluster.venv}/bin/ray"
    start_ray = f"{ray} start --address={address} --node-ip-address={third} {flags} --block"
    connection = await login(cluster, 1)
    for env in ("RAY_AUTH_MODE=token RAY_AUTH_TOKEN=wrong-token-wrong-token", "RAY_AUTH_MODE=disabled"):
        code, out = await sh(connection, f"{env} {start_ray}", 90)
        assert code != 0
        assert re.search("InvalidAuthToken|Unauthenticated|authentication", out), out[-1500:]
    status = f"RAY_AUTH_TOKEN_PATH=$(echo ~/.milepost/*/*/ray_token) {ray} status --address={address}"
    code, out = await sh(connection, status)
    assert code == 0, out
    assert out.count(" node_") == 2


async def test_the_dashboard_is_opened_through_the_tunnel(walked: Walked) -> None:
    process = await start(walked.folder, "dashboard", str(walked.folder / "milepost.toml"))
    said = await lines_until(process, lambda line: "Ctrl-C" in line, 60)
    found = re.search(r"http://127\.0\.0\.1:(\d+)", said)
    assert found, said
    assert walked.token not in said
    reader, writer = await asyncio.open_connection("127.0.0.1", int(found[1]))
    writer.write(b"GET / HTTP/1.0\r\nHost: localhost\r\n\r\n")
    assert b"200 OK" in await reader.readline()
    writer.close()
    process.terminate()
    assert await asyncio.wait_for(process.wait(), 20) == 0


async def test_a_dashboard_that_is_not_there_is_said(walked: Walked) -> None:
    file = walked.folder / "other.toml"
    text = (walked.folder / "milepost.toml").read_text()
    port = layout.free_ports(1)[0]
    file.write_text(re.sub(r"dashboard_port = \d+", f"dashboard_port = {port}", text))
    code, said = await milepost(walked.folder, "dashboard", str(file), limit=60)
    assert code == 1
    assert f"nothing answers at 127.0.0.1:{port}" in said


@pytest.mark.long
async def test_a_second_walk_finds_the_token_and_starts_nothing(walked: Walked) -> None:
    before = set(ours(walked.lab.id))
    code, said = await headless(walked.cluster, walked.folder, "again", **SECRETS)
    assert code == 0, said[-3000:]
    assert said.count("already running, and ours") == 3
    assert before <= set(ours(walked.lab.id))


async def test_down_ends_it_all_and_takes_the_token_away(walked: Walked) -> None:
    code, said = await milepost(walked.folder, "down", str(walked.folder / "milepost.toml"), limit=120)
    assert code == 0, said
    assert ours(walked.lab.id) == []
    assert not list(walked.lab.folder.glob("nodes/*/home/.milepost/*/*/ray_token"))
    assert os.listdir(walked.folder / "walk")
