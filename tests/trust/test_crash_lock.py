"""The cluster's lock, by its real sh text: one gets it, a dead one loses it, nobody frees another's."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from wizard_steps.cluster.file import Cluster, NodeEntry
from wizard_steps.model import Chunk, Cmd, Exit, Node
from wizard_steps.node import lock
from wizard_steps.node.lock import Holder, LockHeld
from wizard_steps.transport.local import run_local
from wizard_steps.transport.locked import Locked

NODES = (NodeEntry("h", 1, "head", name="head"), NodeEntry("w", 1, name="worker"))
CLUSTER = Cluster(nodes=NODES, name="it")


class Here:
    """Every node is this machine, with ``home`` as its home. ``off``: the head does not answer."""

    def __init__(self, home: Path) -> None:
        self.home, self.off, self.ran = home, False, list[tuple[str, str]]()

    async def run(self, node: Node, cmd: Cmd) -> AsyncIterator[Chunk | Exit]:
        if self.off and node.role == "head":
            yield Exit(-1, "lost", "no route")
            return
        self.ran.append((node.name, cmd.key))
        async for item in run_local(cmd, {"HOME": str(self.home)}):
            yield item

    async def close(self) -> None: ...


def sh(cmd: Cmd, home: Path) -> str:
    done = subprocess.run(
        ["/bin/sh", "-c", cmd.text], env={**os.environ, "HOME": str(home)}, capture_output=True, text=True
    )
    return done.stdout


def file(home: Path) -> Path:
    return home / ".milepost" / "it" / "wizard.lock"


def stranger(**changes: object) -> Holder:
    return replace(lock.me(), id="00ff", who="eve@far", where="elsewhere", **changes)


async def work(transport: Locked, mutates: bool = False) -> Exit:
    """A command on the head; its Exit."""
    node = CLUSTER.head
    return [item async for item in transport.run(node, Cmd("k", "true", mutates=mutates))][-1]  # type: ignore[return-value]


async def test_of_many_at_once_exactly_one_gets_it(tmp_path: Path) -> None:
    cmds = [lock.acquire(CLUSTER, lock.me()) for _ in range(12)]
    said = await asyncio.gather(*(asyncio.to_thread(sh, cmd, tmp_path) for cmd in cmds))
    assert sorted(text.split()[0] for text in said) == ["held"] * 11 + ["mine"]
    assert file(tmp_path).stat().st_mode & 0o777 == 0o600


async def test_of_many_that_find_a_dead_one_exactly_one_gets_it(tmp_path: Path) -> None:
    for _ in range(4):
        sh(lock.acquire(CLUSTER, stranger(), "any"), tmp_path)
        os.utime(file(tmp_path), (1, 1))
        cmds = [lock.acquire(CLUSTER, lock.me()) for _ in range(12)]
        said = await asyncio.gather(*(asyncio.to_thread(sh, cmd, tmp_path) for cmd in cmds))
        assert sum(text == "mine\n" for text in said) == 1


async def test_the_second_wizard_is_told_who_holds_it(tmp_path: Path) -> None:
    sh(lock.acquire(CLUSTER, stranger(pid=77, since="2026-11-24T10:00:00Z")), tmp_path)
    here = Here(tmp_path)
    second = Locked(here, CLUSTER)
    with pytest.raises(LockHeld, match=r"eve@far \(process 77, since 2026-11-24T10:00:00Z\)"):
        await work(second)
    assert ("head", "k") not in here.ran
    await second.close()
    assert file(tmp_path).exists(), "the end of the second does not free the first"
    over = Locked(here, CLUSTER, take_over=True)
    assert (await work(over)).code == 0
    await over.close()
    assert not file(tmp_path).exists()


async def test_a_lock_is_old_after_two_minutes_without_a_sign_of_life(tmp_path: Path) -> None:
    for age, code in ((lock.STALE - 20, None), (lock.STALE + 20, 0)):
        sh(lock.acquire(CLUSTER, stranger(), "any"), tmp_path)
        os.utime(file(tmp_path), (time.time() - age,) * 2)
        transport = Locked(Here(tmp_path), CLUSTER)
        if code is None:
            with pytest.raises(LockHeld):
                await work(transport)
        else:
            assert (await work(transport)).code == code
        await transport.close()


async def test_a_wizard_of_this_machine_that_is_gone_loses_it_at_once(tmp_path: Path) -> None:
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", "import time; time.sleep(600)")
    living = replace(lock.me(), id="00aa", pid=child.pid, born=lock._born(child.pid))
    sh(lock.acquire(CLUSTER, living), tmp_path)
    first = Locked(Here(tmp_path), CLUSTER)
    with pytest.raises(LockHeld):
        await work(first)
    child.kill()
    await child.wait()
    second = Locked(Here(tmp_path), CLUSTER)
    assert (await work(second)).code == 0
    await second.close()


async def test_a_pid_used_again_is_not_the_wizard(tmp_path: Path) -> None:
    sh(lock.acquire(CLUSTER, replace(lock.me(), id="00aa", born="1.0")), tmp_path)
    transport = Locked(Here(tmp_path), CLUSTER)
    assert (await work(transport)).code == 0
    await transport.close()


async def test_who_has_lost_the_lock_changes_nothing_more(tmp_path: Path) -> None:
    here = Here(tmp_path)
    transport = Locked(here, CLUSTER)
    await work(transport, mutates=True)
    sh(lock.acquire(CLUSTER, stranger(), "any"), tmp_path)
    with pytest.raises(LockHeld):
        await work(transport, mutates=True)
    assert here.ran.count(("head", "k")) == 1
    await transport.close()
    assert file(tmp_path).read_text().startswith("00ff ")


async def test_signs_of_life(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "TOUCH", 0.05)
    here = Here(tmp_path)
    transport = Locked(here, CLUSTER)
    await work(transport)
    os.utime(file(tmp_path), (1, 1))
    for _ in range(200):
        await asyncio.sleep(0.02)
        if file(tmp_path).stat().st_mtime > 1:
            break
    assert file(tmp_path).stat().st_mtime > 1
    await transport.close()


async def test_a_head_out_of_reach_is_no_reason_not_to_look_at_the_others(tmp_path: Path) -> None:
    here = Here(tmp_path)
    here.off = True
    transport = Locked(here, CLUSTER)
    assert (await work(transport)).reason == "lost"
    worker = CLUSTER.workers[0]
    assert [item async for item in transport.run(worker, Cmd("k", "true"))] == [Exit(0)]
    here.off = False
    await work(transport)
    assert file(tmp_path).exists()
    await transport.close()


@pytest.mark.parametrize("text", ["", "held \x1b[2J", "held a b c d e f", "held a b c 1", "nonsense"])
def test_a_head_that_says_nonsense_holds_nothing(text: str) -> None:
    assert lock.held(text) is None
