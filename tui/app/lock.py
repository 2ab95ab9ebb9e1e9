"""A walk beside the cluster's lock: it ends, or another wizard takes the lock from it."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Protocol, runtime_checkable

from tui.app.source import WalkSource
from wizard_steps.cluster.file import Cluster
from wizard_steps.errors import MilepostError
from wizard_steps.node.lock import LockHeld
from wizard_steps.recording import events as ev


@runtime_checkable
class Lockable(Protocol):
    """A walk that holds a lock. LiveWalk is one; a playback of a recording is not."""

    async def taken(self) -> LockHeld:
        """Returns when another wizard has taken the lock; never, where there is none."""
        ...

    def again(self, cluster: Cluster, take_over: bool) -> WalkSource:
        """A new walk of the cluster, recorded in a folder of its own."""
        ...


async def outcome_of(task: asyncio.Task[ev.Outcome], source: WalkSource) -> ev.Outcome:
    """How the walk ended. Raises what ended it or the signs of life of its lock, and LockHeld as soon as
    another wizard has the lock: also where the walk waits for a person. What runs then is left alone."""
    if not isinstance(source, Lockable):
        return await task
    taken = asyncio.ensure_future(source.taken())
    try:
        await asyncio.wait({task, taken}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise taken.result()
        return task.result()
    finally:
        taken.cancel()
        await asyncio.wait([taken])


async def ended(task: asyncio.Task[ev.Outcome]) -> None:
    """End a walk that still goes on, and wait until it has written its last word.

    Raises CancelledError when the caller is cancelled meanwhile, and what the walk raised that is no
    MilepostError.
    """
    task.cancel()
    await asyncio.wait([task])
    with contextlib.suppress(asyncio.CancelledError, MilepostError):
        task.result()
