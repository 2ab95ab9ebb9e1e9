"""Bytes from a host become plain text without secrets before anyone else sees them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from wizard_steps.engine.transport import Transport
from wizard_steps.model import Chunk, Cmd, Exit, Node
from wizard_steps.recording.clean import Cleaner
from wizard_steps.recording.redact import Redactor
from wizard_steps.recording.safe import safe

#: Bytes that are cleaned at once: even the worst take only some hundredths of a second.
PIECE = 16384


class Cleaned:
    """Wraps a live transport: real -> clean -> redact."""

    def __init__(self, inner: Transport, redactor: Redactor) -> None:
        self._inner = inner
        self._redactor = redactor

    async def run(self, node: Node, cmd: Cmd) -> AsyncGenerator[Chunk | Exit]:
        cleaner, redacted = Cleaner(), self._redactor.stream()
        async with aclosing(self._inner.run(node, cmd)) as stream:
            async for item in stream:
                if isinstance(item, Chunk):
                    for at in range(0, len(item.data), PIECE):
                        if at:
                            await asyncio.sleep(0)  # keys, Ctrl-C and the other nodes have their turn
                        if text := redacted.feed(cleaner.feed(item.data[at : at + PIECE])):
                            yield Chunk(text.encode("utf-8", "replace"))
                    continue
                rest = redacted.feed(cleaner.end()) + redacted.end()
                if rest:
                    yield Chunk(rest.encode())
                yield Exit(
                    code=item.code,
                    reason=item.reason,
                    detail=self._redactor.text(safe(item.detail)),
                    started=item.started,
                    ended=item.ended,
                )

    async def close(self) -> None:
        await self._inner.close()
