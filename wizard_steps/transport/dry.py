"""A dry run: what reads runs for real, what would change something is only listed."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from wizard_steps.engine.transport import Transport
from wizard_steps.model import Chunk, Cmd, Exit, Node


class Dry:
    """Wraps a live transport. A mutating command ends at once with reason "dry" and exit code 0."""

    def __init__(self, inner: Transport) -> None:
        self._inner = inner
        self._changed = False

    async def run(self, node: Node, cmd: Cmd) -> AsyncGenerator[Chunk | Exit]:
        """After the first command that was not run, what waits for its effect is listed too."""
        if cmd.mutates or (self._changed and (cmd.until or cmd.stop or cmd.forward)):
            self._changed = True
            yield Exit(code=0, reason="dry", detail="not run: this is a dry run")
            return
        async with aclosing(self._inner.run(node, cmd)) as stream:
            async for item in stream:
                yield item

    async def close(self) -> None:
        await self._inner.close()
