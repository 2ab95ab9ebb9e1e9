"""Hands the cluster's Ray token to the commands that ask for it, on standard input only.

The wizard's own environment first (RAY_AUTH_TOKEN), then the one the head has already, else a new one.
Reading it back from the head is no command of a step: it is in no recording.
"""

from __future__ import annotations

import asyncio
import os
import re
import secrets
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing

from msgspec.structs import replace

from wizard_steps.cluster.file import Cluster
from wizard_steps.engine.transport import Transport
from wizard_steps.model import Chunk, Cmd, Exit, Node
from wizard_steps.node import ray_token
from wizard_steps.recording.redact import Redactor


class WithRayToken:
    """Wraps a live transport. The token is made known to ``redactor`` before any command can print it."""

    def __init__(
        self,
        inner: Transport,
        cluster: Cluster,
        redactor: Redactor,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._inner = inner
        self._cluster = cluster
        self._redactor = redactor
        self._environment = os.environ if environment is None else environment
        self._token = ""
        self._lock = asyncio.Lock()

    async def run(self, node: Node, cmd: Cmd) -> AsyncGenerator[Chunk | Exit]:
        if ray_token.NAME in cmd.secrets:
            lost = await self._know()
            if lost is not None:
                yield lost
                return
            others = tuple(name for name in cmd.secrets if name != ray_token.NAME)
            cmd = replace(cmd, secrets=others, stdin=f"{ray_token.NAME}={self._token}\n{cmd.stdin}")
        async with aclosing(self._inner.run(node, cmd)) as stream:
            async for item in stream:
                yield item

    async def close(self) -> None:
        await self._inner.close()

    async def _know(self) -> Exit | None:
        """Settle the token once; an Exit when the head cannot be asked for its own."""
        async with self._lock:
            if self._token:
                return None
            token = self._environment.get(ray_token.NAME, "").strip()
            if not token:
                said, end = await self._from_head()
                if end.reason != "exit":
                    return end
                token = said
            if not re.fullmatch(r"[!-~]{8,4096}", token):
                token = secrets.token_hex(32)
            self._redactor.add(token)
            self._token = token
            return None

    async def _from_head(self) -> tuple[str, Exit]:
        said = b""
        async with aclosing(
            self._inner.run(self._cluster.head, ray_token.read(self._cluster, self._cluster.head))
        ) as stream:
            async for item in stream:
                if isinstance(item, Exit):
                    return said.decode("utf-8", "replace").strip(), item
                said = (said + item.data)[:8192]
        return "", Exit(code=-1, reason="lost", detail="the head gave no answer")
