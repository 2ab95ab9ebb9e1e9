"""Hands secrets of the wizard's environment to commands that ask for them, on standard input only."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing

from msgspec.structs import replace

from wizard_steps.engine.transport import Transport
from wizard_steps.model import Chunk, Cmd, Exit, Guard, Node

#: sh text: one line of standard input into the environment.
_TAKE = 'IFS= read -r line; export "${line%%=*}=${line#*=}"\n'

#: Bytes of the answer of a guard that are read.
_MOST = 1 << 20

_SEVERAL_LINES = (
    "milepost: {0} of the environment that milepost runs in has more than one line: it was "
    "not sent, and nothing was run. Export {0} again, as one line.\n"
)


class WithSecrets:
    """Wraps a live transport. A secret is never in a command line, an event or a file.

    On the wizard's own machine a command finds them in its environment: a person would have them there too.
    """

    def __init__(self, inner: Transport, environment: Mapping[str, str] | None = None) -> None:
        self._inner = inner
        self._environment = os.environ if environment is None else environment

    async def run(self, node: Node, cmd: Cmd) -> AsyncGenerator[Chunk | Exit]:
        given = {name: value for name in cmd.secrets if (value := self._environment.get(name))}
        if broken := [name for name, value in given.items() if set(value) & {"\n", "\r", "\0"}]:
            yield Chunk(_SEVERAL_LINES.format(broken[0]).encode())
            yield Exit(1)
            return
        if given and cmd.guard is not None and not await self._passes(cmd.guard):
            yield Chunk(f"milepost: {cmd.guard.why}: {', '.join(given)} was not sent to it\n".encode())
            yield Exit(1)
            return
        lines = [f"{name}={value}\n" for name, value in given.items()]
        filled = replace(cmd, stdin="".join(lines) + cmd.stdin) if lines else cmd
        if node.role == "wizard":
            filled = replace(filled, text=_TAKE * len(lines) + filled.text)
        async with aclosing(self._inner.run(node, filled)) as stream:
            async for item in stream:
                yield item

    async def _passes(self, guard: Guard) -> bool:
        said = bytearray()
        async with aclosing(self._inner.run(guard.node, guard.cmd)) as stream:
            async for item in stream:
                said += item.data[: _MOST - len(said)] if isinstance(item, Chunk) else b""
        return guard.passes(said.decode("utf-8", "replace"))

    async def close(self) -> None:
        await self._inner.close()
