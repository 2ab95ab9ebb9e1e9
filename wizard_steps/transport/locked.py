"""Keeps the cluster's lock while a walk goes on: no two wizards change one cluster at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, suppress

from wizard_steps.cluster.file import Cluster
from wizard_steps.engine.transport import Transport
from wizard_steps.model import Chunk, Cmd, Exit, Node
from wizard_steps.node import lock
from wizard_steps.node.lock import Holder, LockHeld

#: Seconds the lock may take to be given back at the end.
RELEASE = 5.0


class Locked:
    """Wraps a live transport. The lock is taken before the first command on the head and before any that
    changes something; other nodes are looked at meanwhile.

    ``run`` raises LockHeld when another wizard has the lock, also when it was taken from this one. Where the
    head cannot be asked the walk goes on: the head's own milestone says what is wrong with it.
    """

    def __init__(self, inner: Transport, cluster: Cluster, take_over: bool = False) -> None:
        self._inner = inner
        self._cluster = cluster
        self._me = lock.me()
        self._over = "any" if take_over else ""
        self._turn = asyncio.Lock()
        self._mine = False
        self._other: Holder | None = None
        self._taken = asyncio.Event()
        self._alive: asyncio.Task[None] | None = None

    async def run(self, node: Node, cmd: Cmd) -> AsyncIterator[Chunk | Exit]:
        if node.name == self._cluster.head.name or cmd.mutates:
            await self._take(sure=cmd.mutates)
        if self._other is not None:
            raise lock.refusal(self._cluster, self._other, self._taken.is_set())
        async with aclosing(self._inner.run(node, cmd)) as stream:  # type: ignore[type-var]
            async for item in stream:
                yield item

    async def taken(self) -> LockHeld:
        """Returns when another wizard has taken the lock from this one: seen at the next sign of life."""
        await self._taken.wait()
        assert self._other is not None
        return lock.refusal(self._cluster, self._other, taken=True)

    async def close(self) -> None:
        if self._alive is not None:
            self._alive.cancel()
        if self._mine:
            with suppress(TimeoutError):
                async with asyncio.timeout(RELEASE):
                    await self._on_head(lock.release(self._cluster, self._me))
        await self._inner.close()

    async def _take(self, sure: bool) -> None:
        """``sure``: look again, for it may have been taken since the last sign of life."""
        async with self._turn:
            if self._mine and sure:
                await self._touch()
            if self._mine or self._other is not None:
                return
            said = await self._on_head(lock.acquire(self._cluster, self._me, self._over))
            holder = lock.held(said)
            if holder is not None and lock.gone(holder):
                said = await self._on_head(lock.acquire(self._cluster, self._me, holder.id))
                holder = lock.held(said)
            self._other = holder
            self._mine = said.startswith("mine")
            if self._mine:
                self._alive = asyncio.create_task(self._stay())

    async def _stay(self) -> None:
        """Signs of life. A head that is out of reach for a while gets the next one when it is back."""
        while self._other is None:
            await asyncio.sleep(lock.TOUCH)
            await self._touch()

    async def _touch(self) -> None:
        self._other = lock.held(await self._on_head(lock.touch(self._cluster, self._me)))
        self._mine = self._other is None
        if self._other is not None:
            self._taken.set()

    async def _on_head(self, cmd: Cmd) -> str:
        said = b""
        async with aclosing(self._inner.run(self._cluster.head, cmd)) as stream:  # type: ignore[type-var]
            async for item in stream:
                if isinstance(item, Exit):
                    break
                said = (said + item.data)[:8192]
        return said.decode("utf-8", "replace")
