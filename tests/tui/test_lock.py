"""Two wizards on one cluster at the screen: who holds it, wait or take over, and the one that has lost it."""

from __future__ import annotations

import asyncio
import os
from argparse import Namespace
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from tests.helpers.tui_fakes import Scripted, Toy, ToyWalk, WriteExpected, plain, toy_expected, until
from tui.app import app as apps
from tui.app.app import MilepostApp
from tui.app.lock import ended, outcome_of
from tui.app.session import WalkSession
from tui.cli import interactive
from tui.screens.lock import LockScreen
from tui.screens.question import QuestionScreen
from wizard_steps.cluster.file import Cluster
from wizard_steps.engine.decide import Decider
from wizard_steps.engine.engine import Engine, OnEvent
from wizard_steps.errors import HostKeyChanged
from wizard_steps.model import Chunk, Cmd, Exit, Node, Option, Question
from wizard_steps.node import lock
from wizard_steps.node.lock import Holder, LockHeld
from wizard_steps.session import LiveWalk, beside
from wizard_steps.transport.local import run_local
from wizard_steps.transport.locked import Locked

__all__ = ["toy_expected"]
ASKED = Question("size", "How large?", kind="choice", options=(Option("s", "Small"), Option("l", "Large")))


class Head(Scripted):
    """A scripted transport whose head keeps a real lock file below ``home``."""

    def __init__(self, home: Path, script: Any = None) -> None:
        super().__init__(script or {})
        self.home = home

    async def run(self, node: Node, cmd: Cmd) -> AsyncGenerator[Chunk | Exit]:
        if cmd.key in ("lock", "unlock"):
            async for item in run_local(cmd, {"HOME": str(self.home)}):
                yield item
            return
        async for item in super().run(node, cmd):
            yield item


class HeldWalk(ToyWalk):
    """A toy walk behind the real lock, with what LiveWalk has for it."""

    def __init__(self, folder: Path, plan: list[Toy], head: Head, take_over: bool = False) -> None:
        super().__init__(folder, plan, head)
        self.locked = Locked(head, self.cluster, take_over)
        self.next: HeldWalk | None = None

    def engine(self, decider: Decider, asker: Any, on_event: OnEvent) -> Engine:
        args = (self.plan, self.cluster, self.locked, decider, self.clock, self.journal, on_event)
        return Engine(*args, self.redactor)

    async def taken(self) -> LockHeld:
        return await self.locked.taken()

    def again(self, cluster: Cluster, take_over: bool) -> HeldWalk:
        head = self.transport
        assert isinstance(head, Head)
        self.next = HeldWalk(beside(self.folder), list(self.plan), head, take_over)  # type: ignore[arg-type]
        return self.next

    async def close(self) -> None:
        await self.locked.close()
        await super().close()


def stranger() -> Holder:
    return replace(
        lock.me(), id="00ff", who="eve@far", where="elsewhere", pid=77, since="2026-11-24T10:00:00Z"
    )


async def take(head: Head, cluster: Cluster, over: str = "") -> None:
    """Another wizard takes the lock."""
    async for _ in head.run(cluster.head, lock.acquire(cluster, stranger(), over)):
        pass


def holder(home: Path) -> str:
    file = home / ".milepost" / "demo" / "wizard.lock"
    return file.read_text().split()[1] if file.exists() else ""


def walk_of(tmp_path: Path, toy_expected: WriteExpected, question: Question | None = None) -> HeldWalk:
    toy_expected("reach", "Reach", "reach on {{node}}")
    toy_expected("serve", "Serve", "serve on {{node}}")
    plan = [Toy("reach", "Reach"), Toy("serve", "Serve", mutates=True, question=question)]
    return HeldWalk(tmp_path / "walk", plan, Head(tmp_path))


async def dialog(app: MilepostApp) -> str:
    """The text of the lock's dialog."""
    await until(None, lambda: isinstance(app.screen, LockScreen) and "Leave" in plain(app))
    return plain(app)


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_the_second_says_who_holds_it_and_leaves_with_1(
    tmp_path: Path, toy_expected: WriteExpected, size: tuple[int, int]
) -> None:
    walk = walk_of(tmp_path, toy_expected)
    await take(walk.transport, walk.cluster)  # type: ignore[arg-type]
    app = MilepostApp(walk, None, linger=0.0)
    async with app.run_test(size=size) as pilot:
        text = await dialog(app)
        for word in ("demo", "eve", "far", "77", "2026-11-24 10:00:00 UTC", "Take it over", "120 s"):
            assert word in text
        await pilot.press("enter")
        await until(None, lambda: app.return_value is not None)
    assert app.return_value == 1
    assert walk.transport.ran == [("gpu-b", "true")], "the head and what changes something were left alone"
    assert holder(tmp_path) == "eve@far"


async def test_taking_over_is_confirmed_and_the_walk_goes_on(
    tmp_path: Path, toy_expected: WriteExpected
) -> None:
    walk = walk_of(tmp_path, toy_expected)
    await take(walk.transport, walk.cluster)  # type: ignore[arg-type]
    app = MilepostApp(walk, None, linger=0.0)
    async with app.run_test(size=(80, 24)) as pilot:
        await dialog(app)
        await pilot.press("end", "enter")
        assert "stops at its next command" in plain(app)
        assert "is not ended" in plain(app)
        await pilot.press("enter")
        assert holder(tmp_path) == "eve@far", "No is the first choice"
        await pilot.press("end", "enter", "end", "enter")
        await until(pilot, lambda: app.session.state.outcome == "passed")
        assert holder(tmp_path) == lock.me().who
        assert app.session.source is walk.next
        assert walk.closed
        await pilot.press("ctrl+c")
        app.simulate_key("ctrl+c")
        await until(None, lambda: app.return_value is not None)
    assert app.return_value == 0
    assert (tmp_path / "walk-2" / "events.jsonl").exists()
    assert walk.next is not None
    assert walk.next.closed
    assert holder(tmp_path) == ""


async def test_try_again_when_the_other_is_done(tmp_path: Path, toy_expected: WriteExpected) -> None:
    walk = walk_of(tmp_path, toy_expected)
    head = walk.transport
    assert isinstance(head, Head)
    await take(head, walk.cluster)
    app = MilepostApp(walk, None, linger=0.0)
    async with app.run_test(size=(80, 24)) as pilot:
        await dialog(app)
        first = app.session
        await pilot.press("down", "enter")
        await until(pilot, lambda: app.session is not first and isinstance(app.screen, LockScreen))
        async for _ in head.run(walk.cluster.head, lock.release(walk.cluster, stranger())):
            pass
        await pilot.press("down", "enter")
        await until(pilot, lambda: app.session.state.outcome == "passed")


async def test_the_first_says_at_once_that_it_was_taken_and_does_no_more(
    tmp_path: Path, toy_expected: WriteExpected, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it waits for a person: by the next sign of life, not by the next command."""
    monkeypatch.setattr(lock, "TOUCH", 0.05)
    walk = walk_of(tmp_path, toy_expected, ASKED)
    app = MilepostApp(walk, None, linger=0.0)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: isinstance(app.screen, QuestionScreen))
        assert holder(tmp_path) == lock.me().who
        ran = len(walk.transport.ran)
        await take(walk.transport, walk.cluster, "any")  # type: ignore[arg-type]
        text = await dialog(app)
        assert "Another wizard took over this cluster" in text
        assert "eve" in text
        await pilot.press("escape")
        await until(None, lambda: app.return_value is not None)
    assert app.return_value == 1
    assert len(walk.transport.ran) == ran
    assert holder(tmp_path) == "eve@far", "its end does not free what is another's"


async def test_it_can_be_taken_back_in_the_midst_of_a_question(
    tmp_path: Path, toy_expected: WriteExpected, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "TOUCH", 0.05)
    walk = walk_of(tmp_path, toy_expected, ASKED)
    app = MilepostApp(walk, None, linger=0.0)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: isinstance(app.screen, QuestionScreen))
        first = app.session
        await take(walk.transport, walk.cluster, "any")  # type: ignore[arg-type]
        await dialog(app)
        await pilot.press("end", "enter", "end", "enter")
        await until(pilot, lambda: app.session is not first and isinstance(app.screen, QuestionScreen))
        assert first.state.outcome == "interrupted"
        assert len(app.screen_stack) == 3, "the question of the walk that ended is gone"
        await pilot.press("enter")
        await until(pilot, lambda: app.session.state.outcome == "passed")


async def test_a_lock_that_is_lost_at_a_command_is_told_as_taken(tmp_path: Path) -> None:
    head = Head(tmp_path)
    walk = HeldWalk(tmp_path / "walk", [], head)
    work = Cmd("work", "true", mutates=True)
    assert [item async for item in walk.locked.run(walk.cluster.head, work)][-1] == Exit(0)
    taken = asyncio.create_task(walk.taken())
    await take(head, walk.cluster, "any")
    with pytest.raises(LockHeld, match=r"has taken over the cluster 'demo'.*keeps running") as error:
        _ = [item async for item in walk.locked.run(walk.cluster.head, work)]
    assert error.value.taken
    assert (await taken).holder == stranger()
    await walk.close()


@pytest.mark.parametrize("over", [True, False])
def test_take_over_holds_for_a_walk_from_the_set_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, over: bool
) -> None:
    made: list[Any] = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(apps.MilepostApp, "start", lambda self: made.append(self) or 0)
    args = Namespace(lab=False, cluster=None, walk=None, take_over=over, yes=False, load=False)
    assert interactive.run_interactive(args) == 0
    cluster = HeldWalk(tmp_path / "walk", [], Head(tmp_path)).cluster
    walk = made[0]._life._factory(cluster, tmp_path / "live")
    assert isinstance(walk, LiveWalk)
    assert walk.take_over is over
    again = walk.again(cluster, take_over=True)
    assert (again.take_over, again.folder, again.redactor) == (True, tmp_path / "live-2", walk.redactor)
    assert os.stat(again.folder).st_mode & 0o777 == 0o700


async def test_signs_of_life_that_end_in_an_error_end_the_walk_with_it(
    tmp_path: Path, toy_expected: WriteExpected, monkeypatch: pytest.MonkeyPatch
) -> None:
    walk = walk_of(tmp_path, toy_expected)
    work = Cmd("k", "true", mutates=True)
    assert [item async for item in walk.locked.run(walk.cluster.head, work)][-1] == Exit(0)
    assert walk.locked._alive is not None
    monkeypatch.setattr(lock, "TOUCH", 0.0)

    async def fails() -> str:
        raise HostKeyChanged("another key")

    monkeypatch.setattr(walk.locked, "_touch", fails)
    walk.locked._alive.cancel()
    walk.locked._alive = asyncio.create_task(walk.locked._stay())
    walk.locked._alive.add_done_callback(walk.locked._stayed)
    walking = asyncio.create_task(asyncio.sleep(60, "passed"))
    with pytest.raises(HostKeyChanged, match="another key"):
        await outcome_of(walking, walk)  # type: ignore[arg-type]
    await ended(walking)  # type: ignore[arg-type]
    assert walking.cancelled()
    await walk.locked.close()


async def test_who_ends_a_walk_can_itself_be_cancelled() -> None:
    async def stubborn() -> str:
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.05)
        return "passed"

    walking = asyncio.create_task(stubborn())
    await asyncio.sleep(0)
    ending = asyncio.create_task(ended(walking))  # type: ignore[arg-type]
    await asyncio.sleep(0)
    ending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await ending
    with pytest.raises(asyncio.CancelledError):
        await walking


async def test_a_diagnosis_that_goes_on_is_ended_with_the_session(
    tmp_path: Path, toy_expected: WriteExpected
) -> None:
    walk = walk_of(tmp_path, toy_expected)
    session = WalkSession(walk, None)  # type: ignore[arg-type]
    forever = asyncio.create_task(asyncio.sleep(60))
    session._tasks.add(forever)  # type: ignore[arg-type]
    await session.close()
    assert forever.cancelled()
    await walk.close()
