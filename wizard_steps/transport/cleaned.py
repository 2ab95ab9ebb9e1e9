"""Bytes from a host become plain text without secrets before anyone else sees them."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from wizard_steps.engine.transport import Transport
from wizard_steps.model import Chunk, Cmd, Exit, Node
from wizard_steps.recording.clean import Cleaner
from wizard_steps.recording.redact import Redactor


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
                    text = redacted.feed(cleaner.feed(item.data))
                    if text:
                        yield Chunk(text.encode())
                    continue
                rest = redacted.feed(cleaner.end()) + redacted.end()
                if rest:
                    yield Chunk(rest.encode())
                yield Exit(
                    code=item.code,
                    reason=item.reason,
                    detail=self._redactor.text(item.detail),
                    started=item.started,
                    ended=item.ended,
                )

    async def close(self) -> None:
        await self._inner.close()
