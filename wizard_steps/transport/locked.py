"""Keeps the cluster's lock while a walk goes on: no two wizards change one cluster at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from typing import Literal

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
    head is out of reach the walk goes on looking, and changes nothing (unless ``take_over`` is set): the
    head's own milestone says what is wrong. It raises LockUnsure where the head's answer says nothing.
    """

    def __init__(self, inner: Transport, cluster: Cluster, take_over: bool = False) -> None:
        self._inner = inner
        self._cluster = cluster
        self._me = lock.me()
        self._over = "any" if take_over else ""
        self._turn = asyncio.Lock()
        self._mine = False
        self._ever = False
        self._unsure = False
        self._other: Holder | None = None
        self._taken = asyncio.Event()
        self._alive: asyncio.Task[None] | None = None
        self._failed: BaseException | None = None

    async def run(self, node: Node, cmd: Cmd) -> AsyncGenerator[Chunk | Exit]:
        lost = ""
        if node.name == self._cluster.head.name or cmd.mutates:
            lost = await self._take(sure=cmd.mutates)
        if self._other is not None:
            raise lock.refusal(self._cluster, self._other, self._taken.is_set())
        if lost and cmd.mutates and not self._over:
            why = "not run: the head cannot be asked for the cluster's lock (`--take-over` does without)."
            yield Exit(-1, "lost", f"{why} {lost}")
            return
        async with aclosing(self._inner.run(node, cmd)) as stream:
            async for item in stream:
                yield item

    @property
    def refused(self) -> bool:
        """Whether this wizard never had the lock: nothing was changed, and the head was not looked at."""
        return not self._ever and (self._other is not None or self._unsure)

    async def taken(self) -> LockHeld:
        """Returns when another wizard has taken the lock from this one: seen at the next sign of life.

        Raises what ended the signs of life, such as HostKeyChanged: without them the lock is soon lost.
        """
        await self._taken.wait()
        if self._failed is not None:
            raise self._failed
        assert self._other is not None
        return lock.refusal(self._cluster, self._other, taken=True)

    async def close(self) -> None:
        if self._alive is not None:
            self._alive.cancel()
            await asyncio.wait([self._alive])
        if self._mine:
            with suppress(TimeoutError):
                async with asyncio.timeout(RELEASE):
                    await self._on_head(lock.release(self._cluster, self._me))
        await self._inner.close()

    async def _take(self, sure: bool) -> str:
        """``sure``: look again, for it may have been taken since the last sign of life.

        Returns why the head cannot be asked, "" when it was. Raises LockUnsure where its answer says nothing.
        """
        async with self._turn:
            if self._mine and sure:
                return await self._touch(sure)
            if self._mine or self._other is not None:
                return ""
            state, holder, why = await self._ask(lock.acquire(self._cluster, self._me, self._over))
            if holder is not None and lock.gone(holder):
                state, holder, why = await self._ask(lock.acquire(self._cluster, self._me, holder.id))
            self._other = holder
            self._mine = state == "mine"
            if self._mine:
                self._ever = True
                self._alive = asyncio.create_task(self._stay())
                self._alive.add_done_callback(self._stayed)
            if state == "unsure":
                self._unsure = True
                raise lock.unsure(self._cluster, why)
            return why

    async def _stay(self) -> None:
        """Signs of life. A head that is out of reach for a while gets the next one when it is back."""
        while self._other is None:
            await asyncio.sleep(lock.TOUCH)
            await self._touch()

    def _stayed(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failed = error
            self._taken.set()

    async def _touch(self, sure: bool = False) -> str:
        state, holder, why = await self._ask(lock.touch(self._cluster, self._me))
        if holder is not None:
            self._other, self._mine = holder, False
            self._taken.set()
        if state == "unsure" and sure:
            raise lock.unsure(self._cluster, why)
        return why

    async def _ask(self, cmd: Cmd) -> tuple[lock.Answer | Literal["lost"], Holder | None, str]:
        """``lost``: the head is out of reach, and why. A head that begins and does not end is ``unsure``."""
        said, end = await self._on_head(cmd)
        if end.reason == "timeout":
            return "unsure", None, end.detail
        if end.reason != "exit":
            return "lost", None, end.detail
        return lock.answer(said)

    async def _on_head(self, cmd: Cmd) -> tuple[str, Exit]:
        """What the head says, in ``cmd.timeout`` seconds from its first word on: the login before that has
        limits of its own, and a person may be typing a password."""
        said = b""
        end = Exit(-1, "lost", "no answer")
        loop = asyncio.get_running_loop()
        try:
            async with (
                asyncio.timeout(None) as limit,
                aclosing(self._inner.run(self._cluster.head, cmd)) as stream,
            ):
                async for item in stream:
                    if isinstance(item, Exit):
                        end = item
                        break
                    if not said:
                        limit.reschedule(loop.time() + cmd.timeout)
                    said = (said + item.data)[:8192]
        except TimeoutError:
            detail = f"no answer within {cmd.timeout:.0f} s; a home on a hanging network disk does that"
            return "", Exit(-1, "timeout", detail)
        return said.decode("utf-8", "replace"), end
