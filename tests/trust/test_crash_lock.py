"""The cluster's lock, by its real sh text: one gets it, a dead one loses it, nobody frees another's."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import time
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from wizard_steps.cluster.file import Cluster, NodeEntry
from wizard_steps.model import Chunk, Cmd, Exit, Node
from wizard_steps.node import lock
from wizard_steps.node.lock import Holder, LockHeld, LockUnsure
from wizard_steps.transport.local import run_local
from wizard_steps.transport.locked import Locked

NODES = (NodeEntry("h", 1, "head", name="head"), NodeEntry("w", 1, name="worker"))
CLUSTER = Cluster(nodes=NODES, name="it")


class Here:
    """Every node is this machine, with ``home`` as its home. ``off``: the head does not answer."""

    def __init__(self, home: Path) -> None:
        self.home, self.off, self.ran = home, False, list[tuple[str, str]]()

    async def run(self, node: Node, cmd: Cmd) -> AsyncGenerator[Chunk | Exit]:
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
    assert sorted(lock.answer(text)[0] for text in said) == ["held"] * 11 + ["mine"]
    assert file(tmp_path).stat().st_mode & 0o777 == 0o600


async def test_of_many_that_find_a_dead_one_exactly_one_gets_it(tmp_path: Path) -> None:
    for _ in range(4):
        sh(lock.acquire(CLUSTER, stranger(), "any"), tmp_path)
        age_by(tmp_path, lock.STALE + 20, uptime=True)
        cmds = [lock.acquire(CLUSTER, lock.me()) for _ in range(12)]
        said = await asyncio.gather(*(asyncio.to_thread(sh, cmd, tmp_path) for cmd in cmds))
        assert sum(lock.answer(text)[0] == "mine" for text in said) == 1


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


@pytest.mark.parametrize("uptime", [True, False])
async def test_a_lock_is_old_after_two_minutes_without_a_sign_of_life(tmp_path: Path, uptime: bool) -> None:
    for age, code in ((lock.STALE - 20, None), (lock.STALE + 20, 0)):
        sh(lock.acquire(CLUSTER, stranger(), "any"), tmp_path)
        age_by(tmp_path, age, uptime)
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


NONSENSE = [
    "",
    "nonsense",
    "mine\n",
    "asked\n",
    "asked\nheld \x1b[2J\n",
    "asked\nheld a b c d e f\n",
    "asked\nheld 00ff who where \u00b2 1 now\n",
    "asked\nmine\nmine\n",
    "*** Welcome ***\nasked\nmine\n",
    "asked\ncannot No space left on device\n",
]


@pytest.mark.parametrize("text", NONSENSE)
def test_an_answer_that_says_nothing_is_no_lock(text: str) -> None:
    assert lock.answer(text)[0] == "unsure"


@given(st.text(max_size=80))
def test_any_answer_is_read_without_an_error(text: str) -> None:
    for said in (text, f"asked\n{text}", f"asked\nheld {text}"):
        state, holder, why = lock.answer(said)
        assert (state == "held") == (holder is not None)
        assert bool(why) == (state == "unsure") or said == f"asked\n{text}"


async def refused(transport: Locked) -> str:
    with pytest.raises(LockUnsure) as error:
        await work(transport)
    assert transport.refused
    await transport.close()
    return str(error.value)


@pytest.mark.parametrize("text", ["half a line", "\x1b]52;c;eA==\x07\n", "\n\n"])
async def test_a_lock_that_cannot_be_read_is_an_error(tmp_path: Path, text: str) -> None:
    file(tmp_path).parent.mkdir(parents=True)
    file(tmp_path).write_text(text)
    said = await refused(Locked(Here(tmp_path), CLUSTER))
    assert "not one that milepost wrote" in said
    assert "\x1b" not in said
    assert file(tmp_path).read_text() == text
    over = Locked(Here(tmp_path), CLUSTER, take_over=True)
    assert (await work(over)).code == 0
    await over.close()


async def test_an_empty_lock_is_of_a_shell_that_was_killed_as_it_wrote_it(tmp_path: Path) -> None:
    file(tmp_path).parent.mkdir(parents=True)
    file(tmp_path).touch()
    holder = lock.me()
    assert lock.answer(sh(lock.acquire(CLUSTER, holder), tmp_path))[0] == "mine"
    assert lock.parse(file(tmp_path).read_text()) == holder


@pytest.mark.parametrize("name", ["wizard.lock", "wizard.guard"])
@pytest.mark.parametrize("kind", ["fifo", "link", "folder"])
async def test_a_lock_that_is_no_file_is_an_error(tmp_path: Path, name: str, kind: str) -> None:
    place = file(tmp_path).parent / name
    place.parent.mkdir(parents=True)
    if kind == "fifo":
        os.mkfifo(place)
    elif kind == "link":
        place.symlink_to("/etc/passwd")
    else:
        place.mkdir()
    assert f"{name} is no plain file" in await refused(Locked(Here(tmp_path), CLUSTER))


async def test_a_home_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / ".milepost").write_text("not a folder")
    assert "~/.milepost/it" in await refused(Locked(Here(tmp_path), CLUSTER))


def test_a_full_home_leaves_no_empty_lock(tmp_path: Path) -> None:
    """The folder is there, and not one more byte can be written."""
    file(tmp_path).parent.mkdir(parents=True)
    cmd = lock.acquire(CLUSTER, lock.me())
    said = sh(replace(cmd, text=f"ulimit -f 0; trap '' XFSZ\n{cmd.text}"), tmp_path)
    assert lock.answer(said)[0] == "unsure", said
    assert not file(tmp_path).exists()


async def test_a_head_that_begins_and_does_not_end_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "LIMIT", 0.5)

    class Hangs(Here):
        async def run(self, node: Node, cmd: Cmd) -> AsyncGenerator[Chunk | Exit]:
            yield Chunk(b"asked\n")
            await asyncio.sleep(3600)

    assert "no answer within" in await refused(Locked(Hangs(tmp_path), CLUSTER))


def age_by(home: Path, age: int, uptime: bool) -> None:
    """The last sign of life is ``age`` seconds old: by the head's uptime, or by the time of the lock file."""
    guard = file(home).with_name("wizard.guard")
    words = guard.read_text().split()
    # A machine that was booted a moment ago has no such uptime; the sign is then of before its boot.
    words[2] = str(int(words[2]) - age)
    if uptime and int(words[2]) >= 0:
        guard.write_text(" ".join(words) + "\n")
    else:
        guard.write_text("")
        os.utime(file(home), (time.time() - age,) * 2)


@pytest.mark.parametrize("step", [121, -1, 86400, -86400])
@pytest.mark.parametrize("age", [lock.STALE - 20, lock.STALE + 20])
def test_the_clock_of_the_head_is_no_sign_of_death(tmp_path: Path, step: int, age: int) -> None:
    """`date` there says another time than when the lock was touched: NTP after a boot, a VM that was moved."""
    sh(lock.acquire(CLUSTER, stranger()), tmp_path)
    age_by(tmp_path, age, uptime=True)
    if not file(tmp_path).with_name("wizard.guard").read_text():
        pytest.skip("this machine was booted a moment ago")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/date").write_text(f"#!/bin/sh\necho $(( $(/bin/date +%s) + {step} ))\n")
    (tmp_path / "bin/date").chmod(0o755)
    cmd = lock.acquire(CLUSTER, lock.me())
    said = sh(replace(cmd, text=f"PATH={tmp_path}/bin:$PATH\n{cmd.text}"), tmp_path)
    assert lock.answer(said)[0] == ("held" if age < lock.STALE else "mine")


@pytest.mark.parametrize(
    "sign", ["", "x", "00ff", "00ff  9", "00ff \x1b 9 9", "00ff $(id) 1", "1 2 3\n00ff 2 3\n"]
)
def test_a_sign_that_cannot_be_read_counts_for_nothing(tmp_path: Path, sign: str) -> None:
    sh(lock.acquire(CLUSTER, stranger()), tmp_path)
    file(tmp_path).with_name("wizard.guard").write_text(sign)
    assert lock.answer(sh(lock.acquire(CLUSTER, lock.me()), tmp_path))[0] == "held"


@pytest.mark.parametrize("step", [1, -1, 86400, -86400])
def test_the_clock_of_the_machine_is_no_sign_of_death(tmp_path: Path, step: int) -> None:
    """As the kernel shows it once the clock was set: the time of boot in /proc/stat moves, no birth does."""
    stat = re.sub(r"(?m)^btime (\d+)", lambda m: f"btime {int(m[1]) + step}", Path("/proc/stat").read_text())
    (tmp_path / "stat").write_text(stat)
    code = "import sys; from wizard_steps.node import lock; print(lock._born(int(sys.argv[1])))"
    there = f'mount --bind {tmp_path}/stat /proc/stat && exec {sys.executable} -c "$0" "$1"'
    words = ["unshare", "-m", "--propagation", "private", "sh", "-c", there, code, str(os.getpid())]
    done = subprocess.run(words, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    if done.returncode:
        pytest.skip(f"needs a mount namespace: {done.stderr.strip()[-80:]}")
    assert done.stdout.strip() == lock.me().born


async def test_nothing_is_changed_while_the_head_cannot_be_asked(tmp_path: Path) -> None:
    here = Here(tmp_path)
    here.off = True
    transport = Locked(here, CLUSTER)
    worker, change = CLUSTER.workers[0], Cmd("k", "true", mutates=True)
    (end,) = [item async for item in transport.run(worker, change)]
    assert isinstance(end, Exit)
    assert (end.reason, "lock" in end.detail, "no route" in end.detail) == ("lost", True, True)
    assert here.ran == []
    over = Locked(here, CLUSTER, take_over=True)
    assert [item async for item in over.run(worker, change)] == [Exit(0)]
