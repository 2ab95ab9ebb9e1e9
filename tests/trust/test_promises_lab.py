"""A whole walk in the lab, real SSH and Ray, with secrets planted: where they are afterwards, and what looking
at a cluster leaves behind."""

from __future__ import annotations

import asyncio
import contextlib
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
from wizard_steps.cluster.file import Cluster
from wizard_steps.lab import Lab
from wizard_steps.secret_shapes import forms

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.lab, pytest.mark.timeout(600)]
#: With every character that some encoding writes otherwise.
KEY = "q7W+e/r=\"t'Y\\u9$Z`x&<k>%#pLaNtEd"
TOKEN = "hf_pLaNtEdInTheEnvironment0123456789"


class Walked(NamedTuple):
    lab: Lab
    cluster: Cluster
    folder: Path
    code: int
    said: str
    seen: set[bytes]
    environments: dict[int, bytes]


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def walked(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Walked]:
    folder = tmp_path_factory.mktemp("promises")
    async with Lab.start(real_vllm=False) as lab:
        serve, ray = replace(lab.cluster.serve, api_key=True), replace(lab.cluster.ray, settle=1)
        cluster = replace(lab.cluster, serve=serve, ray=ray)
        environments: dict[int, bytes] = {}
        watching = asyncio.create_task(watch(lab.id, environments))
        async with arguments_seen() as seen:
            code, said = await headless(cluster, folder, VLLM_API_KEY=KEY, HF_TOKEN=TOKEN)
        watching.cancel()
        yield Walked(lab, cluster, folder, code, said, seen, environments)


async def watch(lab_id: str, found: dict[int, bytes]) -> None:
    """The environment of every process that milepost started on the nodes."""
    while True:
        for pid in ours(lab_id):
            with contextlib.suppress(OSError):
                found[pid] = Path(f"/proc/{pid}/environ").read_bytes()
        await asyncio.sleep(0.3)


def planted() -> list[bytes]:
    return [form.encode() for secret in (KEY, TOKEN) for form in forms(secret)]


async def test_no_form_of_a_secret_is_on_the_screen_in_a_file_or_in_an_argument_list(walked: Walked) -> None:
    assert walked.code == 0, walked.said[-3000:]
    places = [*files_below(walked.folder), *files_below(walked.lab.folder)]
    assert len(places) > 50
    for form in planted():
        assert form not in walked.said.encode()
        assert not [path for path in places if form in plain_bytes(path)], form
        assert not [line for line in walked.seen if form in line], form


async def test_the_key_of_the_api_is_vllms_alone(walked: Walked) -> None:
    """Whatever runs on this Ray, of whomever, inherits Ray's environment."""
    has = {p for p, env in walked.environments.items() if KEY.encode() in env}
    asks = {p for p, env in walked.environments.items() if TOKEN.encode() in env}
    roles = {
        pid: next(word for word in env.split(b"\0") if word.startswith(b"MILEPOST_ID=")).rpartition(b"/")[2]
        for pid, env in walked.environments.items()
    }
    assert {roles[pid] for pid in has} == {b"serve"}
    # What fetches the model shows the hub its token, and the server may.
    assert {roles[pid] for pid in asks} <= {b"fetch", b"serve"}
    assert {b"ray", b"serve"} <= set(roles.values())


async def test_looking_writes_nothing_anywhere(walked: Walked) -> None:
    """`check` and `--dry-run`: no file of a node, nor of the folder one stands in, is made, changed or touched."""
    place = walked.folder / "looking"
    place.mkdir()
    file = write(walked.cluster, place)
    homes = [walked.lab.layout.home(node) for node in walked.lab.layout.nodes]

    def all_files() -> dict[Path, tuple[int, int]]:
        found = {}
        for folder in (place, *homes):
            for path in folder.rglob("*"):
                # What runs goes on writing its logs.
                if path.suffix not in (".log", ".out", ".err") and "session_" not in str(path):
                    with contextlib.suppress(OSError):
                        stat = path.lstat()
                        found[path] = (stat.st_size, stat.st_mtime_ns)
        return found

    before = all_files()
    for words in (("check", str(file)), (str(file), "--dry-run"), ("down", str(file), "--dry-run")):
        code, said = await milepost(place, *words, VLLM_API_KEY=KEY)
        assert code in (0, 1), said
        assert all_files() == before, words


async def test_a_walk_that_is_refused_is_no_recording(walked: Walked) -> None:
    from wizard_steps.node import lock

    home = walked.lab.layout.home(walked.lab.layout.nodes[0])
    held = home / ".milepost" / walked.cluster.name / "wizard.lock"
    other = replace(lock.me(), id="00ff", who="eve@far", where="elsewhere")
    held.parent.mkdir(parents=True, exist_ok=True)
    held.write_text(f"{other.line()}\n")
    try:
        code, said = await headless(walked.cluster, walked.folder, "refused", VLLM_API_KEY=KEY)
    finally:
        held.unlink()
    assert code == 1
    assert "eve@far" in said
    assert not (walked.folder / "refused").exists()
