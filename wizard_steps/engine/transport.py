"""The one door to the hosts."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Protocol

from wizard_steps.model import Chunk, Cmd, Exit, Node


class Transport(Protocol):
    """Runs commands on nodes. Nothing else in milepost touches a host.

    ``run`` yields output as it comes and then exactly one Exit, whatever happened: an unreachable
    host, a refused login or a broken connection is an Exit with reason "lost" and a ``detail`` that a
    person can act on. Closing the iterator early (``aclose``) ends the remote process for real.
    stderr is merged with stdout, in the order it arrives.
    ``run`` ignores ``until``, ``every``, ``settle`` and ``stop``: waiting belongs to the engine. It does
    not apply ``timeout`` either; the engine closes the iterator.
    Raises HostKeyChanged, and nothing else for what a host can do.
    """

    def run(self, node: Node, cmd: Cmd) -> AsyncGenerator[Chunk | Exit]: ...

    async def close(self) -> None: ...
