"""SIGKILL, SIGHUP and a second wizard in the lab, real Ray: what was started is found, never made twice."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import shutil
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
import pytest_asyncio
from msgspec.structs import replace

from tests.helpers.headless_help import lines_until, milepost, named, ours, start, write
from tests.helpers.lab_help import login, sh
from wizard_steps.cluster.file import Cluster
from wizard_steps.lab import Lab, layout
from wizard_steps.plan import PATHS
from wizard_steps.recording import journal as walks
from wizard_steps.recording.events import Output

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.lab, pytest.mark.timeout(900)]
STEPS = [step.id for step in PATHS["bare-metal"] if step.id not in ("kit", "rehearse")]
#: Those with which something new runs on the nodes; all of them are `long`.
KILLED_AT = ("head", "serve")
#: The milestones in whose midst there is something to undo.
STARTING = ("head", "workers", "serve", "curl")


class Bed(NamedTuple):
    lab: Lab
    cluster: Cluster
    file: Path
    folder: Path
    lock: Path


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def bed(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Bed]:
    folder = tmp_path_factory.mktemp("crash")
    async with Lab.start(real_vllm=False) as lab:
        cluster = replace(lab.cluster, ray=replace(lab.cluster.ray, settle=2))
        home = lab.layout.home(lab.layout.nodes[0])
        yield Bed(
            lab, cluster, write(cluster, folder), folder, home / ".milepost" / cluster.name / "wizard.lock"
        )


@pytest.fixture(autouse=True)
def no_walks_of_before(bed: Bed) -> None:
    """A second try of a test begins with the folders it names free."""
    for walk in bed.folder.iterdir():
        if (walk / "events.jsonl").exists():
            shutil.rmtree(walk)


async def walk_until(bed: Bed, name: str, found: Callable[[str], bool], then: int, later: float = 0.0) -> str:
    """A headless walk that gets the signal ``then`` some seconds after a line; what it had printed."""
    process = await start(bed.folder, str(bed.file), "--headless", "--walk", str(bed.folder / name))
    try:
        said = await lines_until(process, found)
        await asyncio.sleep(later)
    finally:
        if process.returncode is None:
            os.kill(process.pid, then)
    assert process.stdout is not None
    rest = await asyncio.wait_for(process.stdout.read(), 60)
    await process.wait()
    return said + rest.decode()


def at(step: str) -> Callable[[str], bool]:
    return lambda line: line.startswith(f"== {step}:")


def whole(folder: Path) -> None:
    """A recording that was cut off can be read, and what its events point at is there."""
    walk = walks.load(folder)
    spools = {event.run: event.spool for event in walk.events if hasattr(event, "spool")}
    for event in walk.events:
        if isinstance(event, Output):
            walk.read(spools[event.run], event.start, event.end)


def once(bed: Bed) -> None:
    """One head, one raylet a node, one vLLM: nothing was started twice."""
    assert len(named(bed.lab.id, "gcs/gcs_server")) == 1
    assert len(named(bed.lab.id, "raylet/raylet\0")) == 2
    servers = [
        pid for pid in named(bed.lab.id, "lab.standins.vllm\0serve") if _parent_is_not(pid, "standins.vllm")
    ]
    assert len(servers) == 1


def _parent_is_not(pid: int, word: str) -> bool:
    stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return word not in Path(f"/proc/{stat[1]}/cmdline").read_bytes().decode()


async def down(bed: Bed) -> str:
    code, said = await milepost(bed.folder, "down", str(bed.file), limit=120)
    assert code == 0, said
    assert ours(bed.lab.id) == []
    return said


@pytest.mark.parametrize(
    "steps", [KILLED_AT, pytest.param(STEPS, marks=pytest.mark.long)], ids=["some", "all"]
)
async def test_a_wizard_killed_at_every_milestone_starts_nothing_twice(
    bed: Bed, steps: Sequence[str]
) -> None:
    for step in steps:
        said = await walk_until(bed, f"at-{step}", at(step), signal.SIGKILL, random.uniform(0, 0.6))
        assert f"== {step}:" in said, said[-2000:]
        if step != steps[0]:
            assert bed.lock.exists(), "the dead wizard's lock is there, and the next one takes it"
        whole(bed.folder / f"at-{step}")
    code, said = await milepost(bed.folder, str(bed.file), "--headless", "--walk", str(bed.folder / "last"))
    assert code == 0, said[-3000:]
    # Whether vLLM runs by now, too, is a matter of when its start was cut off.
    assert said.count("already running, and ours") >= 2
    assert not bed.lock.exists()
    once(bed)


async def test_the_terminal_is_closed(bed: Bed) -> None:
    """SIGHUP: exit at once, what runs goes on, the lock is given back, the recording is whole."""
    before = set(ours(bed.lab.id))
    said = await walk_until(bed, "hup", at("ray_status"), signal.SIGHUP, 0.3)
    assert "keeps running" in said
    assert "walk interrupted" in said
    assert not bed.lock.exists()
    assert before <= set(ours(bed.lab.id))
    whole(bed.folder / "hup")


async def test_two_wizards(bed: Bed) -> None:
    first = await start(bed.folder, str(bed.file), "--headless", "--walk", str(bed.folder / "first"))
    await lines_until(first, at("smi"))
    os.kill(first.pid, signal.SIGSTOP)
    try:
        code, said = await milepost(
            bed.folder, str(bed.file), "--headless", "--walk", str(bed.folder / "second")
        )
        assert code == 1
        assert f"another wizard holds the cluster '{bed.cluster.name}'" in said
        assert f"process {first.pid}" in said
        code, said = await milepost(bed.folder, "down", str(bed.file))
        assert (code, "another wizard holds" in said) == (1, True)
        once(bed)
        words = (str(bed.file), "--headless", "--take-over", "--walk", str(bed.folder / "third"))
        code, said = await milepost(bed.folder, *words)
        assert code == 0, said[-3000:]
    finally:
        os.kill(first.pid, signal.SIGCONT)
        first.terminate()
        await first.communicate()


async def test_down_after_a_whole_walk_leaves_another_ray_alone(bed: Bed) -> None:
    """A Ray of somebody else on the head's machine, on other ports: it lives on, and answers."""
    port, client, dashboard = layout.free_ports(3)
    third = bed.lab.layout.nodes[0].ip.rsplit(".", 1)[0] + ".3"
    flags = " ".join(flag for flag in bed.cluster.ray.head_flags if "client" not in flag)
    ray = f"{bed.cluster.venv}/bin/ray"
    text = (
        f"setsid nohup {ray} start --head --node-ip-address={third} --port={port} {flags} "
        f"--ray-client-server-port={client} --dashboard-port={dashboard} --include-dashboard=false "
        "--disable-usage-stats --block > foreign.log 2>&1 < /dev/null &\n"
        "timeout 90 sh -c 'until grep -q \"Ray runtime started\" foreign.log; do sleep 0.2; done'"
    )
    connection = await login(bed.cluster)
    code, out = await sh(connection, text, 120)
    assert code == 0, out
    mine, all_before = set(ours(bed.lab.id)), set(named(bed.lab.id, "ray"))
    said = await down(bed)
    assert "ended" in said
    assert mine.isdisjoint(named(bed.lab.id, ""))
    code, out = await sh(connection, f"{ray} status --address={third}:{port}")
    assert code == 0, out
    assert out.count(" node_") == 1
    assert len(all_before - mine) >= 2
    for pid in named(bed.lab.id, "ray"):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize(
    "step", [step if step == "curl" else pytest.param(step, marks=pytest.mark.long) for step in STARTING]
)
async def test_down_after_a_wizard_was_killed_in(bed: Bed, step: str) -> None:
    await walk_until(bed, f"down-{step}", at(step), signal.SIGKILL, random.uniform(0.3, 2))
    await down(bed)
    said = await down(bed)
    assert "nothing of ours runs" in said
    assert not bed.lock.exists()


@pytest.mark.long  # in every run it is the wizard with a screen: test_crash_tui.py
async def test_kills_at_random_times(bed: Bed) -> None:
    """Seeded anew each time; a failure prints the seed."""
    seed = random.randrange(10**6)
    rng = random.Random(seed)
    for n in range(4):
        process = await start(
            bed.folder, str(bed.file), "--headless", "--walk", str(bed.folder / f"random-{n}")
        )
        await lines_until(process, at(STEPS[0]))
        await asyncio.sleep(rng.uniform(0.2, 14))
        with contextlib.suppress(ProcessLookupError):  # a quick walk has ended by now
            process.kill()
        await process.communicate()
        whole(bed.folder / f"random-{n}")
    code, said = await milepost(
        bed.folder, str(bed.file), "--headless", "--walk", str(bed.folder / "random-end")
    )
    assert code == 0, f"seed {seed}: {said[-3000:]}"
    once(bed)
    await down(bed)
