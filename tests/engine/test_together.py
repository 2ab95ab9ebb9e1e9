"""Commands of one round that end each other."""

from __future__ import annotations

import asyncio

from wizard_steps.engine.clock import RealClock, ZeroClock
from wizard_steps.engine.together import GroupEnd, unless
from wizard_steps.model import Exit, Node, Result, Together

A, B = Node("a", "a"), Node("b", "b")
RULE = Together(lambda result: result.code != 0, lead="a", grace=0.0)


async def forever() -> Exit:
    await asyncio.Event().wait()
    return Exit(0)


async def ends_others(first: Result) -> str:
    group = GroupEnd(RULE, RealClock())
    running = asyncio.create_task(unless(group.event, forever()))
    group.seen(first)
    done, _ = await asyncio.wait({running}, timeout=5)
    running.cancel()
    group.close()
    return running.result().reason if done else "runs on"


async def test_the_first_to_fail_ends_the_others_and_the_lead_does_when_it_is_done() -> None:
    assert await ends_others(Result(B, "log", "", 1)) == "cancelled"
    assert await ends_others(Result(A, "log", "", 0)) == "cancelled"


async def test_another_that_is_done_ends_nobody() -> None:
    group = GroupEnd(RULE, RealClock())
    group.seen(Result(B, "log", "", 0))
    group.seen(Result(A, "log", "", 1, "cancelled"))
    assert group.event is not None
    assert not group.event.is_set()


async def test_a_replay_ends_nothing_and_nothing_is_ended_without_a_rule() -> None:
    assert GroupEnd(RULE, ZeroClock()).event is None
    assert GroupEnd(None, RealClock()).event is None


async def test_an_own_end_counts() -> None:
    async def quick() -> Exit:
        return Exit(3)

    assert (await unless(asyncio.Event(), quick())).code == 3
    assert (await unless(None, quick())).code == 3
