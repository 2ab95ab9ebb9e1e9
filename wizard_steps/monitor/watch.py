"""Keeps a Board up to date over a transport: one long command a node, begun again whenever it is cut."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import aclosing

from wizard_steps.cluster.api import base_url, own_host
from wizard_steps.cluster.file import Cluster
from wizard_steps.diagnose import Source, diagnose
from wizard_steps.engine.transport import Transport
from wizard_steps.errors import MilepostError
from wizard_steps.model import Chunk, Cmd, Exit, Node
from wizard_steps.monitor.board import Board
from wizard_steps.node import sample
from wizard_steps.node.place import SERVE
from wizard_steps.node.places import place_of
from wizard_steps.node.remote import state_dir

#: Seconds that a command lives before it is begun anew: it ends by itself where the wizard is gone.
_LIFE = 3600.0
#: Seconds to wait after a cut; each further one doubles it.
_FIRST, _MOST = 1.0, 30.0
#: Seconds without any output after which a command counts as hanging: the network drops packets silently.
_SILENT = 20.0
#: Lines of the log that are read at first, and characters of it that are diagnosed.
_TAIL, _DIAGNOSED = 200, 200_000
#: Kinds of findings that are told: a mere guess is no news.
_SAID = ("cause", "effect")

#: Takes what came since a part that was not whole, and returns that part of it.
Take = Callable[[str], str]
#: Called after the board has changed.
Changed = Callable[[], None]


class Watch:
    """``every``: seconds between two samples."""

    def __init__(self, cluster: Cluster, transport: Transport, board: Board, every: float = 1.0) -> None:
        self._cluster, self._transport, self._every = cluster, transport, every
        self.board = board
        self.changed: Changed = lambda: None
        #: Whether a node that is lost is asked again for as long as somebody looks.
        self.goes_on = True
        self._log: dict[str, str] = {}

    async def run(self) -> None:
        """Until it is cancelled. Whatever a node does ends in words on the board."""
        place = place_of(self._cluster)
        async with asyncio.TaskGroup() as group:
            for node in self._cluster.node_list:
                group.create_task(self._samples(node))
            for node in place.serving(self._cluster.node_list, self._cluster.server):
                group.create_task(self._follow(node))
            group.create_task(self._diagnose())

    def _command(self, node: Node) -> Cmd:
        server = node.name == self.board.server
        url = f"{base_url(self._cluster, own_host(self._cluster))}/metrics" if server else ""
        return Cmd("samples", sample.again(url, self._every, _LIFE), timeout=_LIFE, quiet=True)

    async def _samples(self, node: Node) -> None:
        """Whole samples only: one is whole when the next one begins."""

        def take(text: str) -> str:
            *whole, rest = _cut(text)
            for one in whole:
                for found in sample.read(one):
                    self.board.take(node.name, found, time.monotonic())
                    self.changed()
            return rest

        await self._again(node, self._command(node), take, tells=True)

    async def _follow(self, node: Node) -> None:
        log = f"{state_dir(self._cluster, node)}/{SERVE}.log"
        text = f"exec tail -n {_TAIL} -F {log} 2>/dev/null\n"
        cmd = place_of(self._cluster).run(node, Cmd("log", text, timeout=_LIFE, quiet=True))

        def take(text: str) -> str:
            whole, _, rest = text.rpartition("\n")
            self._log[node.name] = (self._log.get(node.name, "") + whole + "\n")[-_DIAGNOSED:]
            self.board.log(node.name, whole)
            self.changed()
            return rest[-_DIAGNOSED:]

        await self._again(node, cmd, take, tells=False)

    async def _again(self, node: Node, cmd: Cmd, take: Take, tells: bool) -> None:
        """``tells``: what ends it goes onto the board."""
        pause = _FIRST
        while True:
            began = time.monotonic()
            why = await self._once(node, cmd, take, _SILENT if tells else _LIFE)
            pause = _FIRST if time.monotonic() - began > pause else pause
            if tells:
                self.board.lost(node.name, f"{why} Again in {pause:.0f} s." if self.goes_on else why)
                self.changed()
            await asyncio.sleep(pause)
            pause = min(_MOST, 2 * pause)

    async def _once(self, node: Node, cmd: Cmd, take: Take, silent: float) -> str:
        """Why it ended."""
        rest = ""
        try:
            async with aclosing(self._transport.run(node, cmd)) as stream:
                while True:
                    async with asyncio.timeout(silent):
                        item = await anext(stream, None)
                    if isinstance(item, Chunk):
                        rest = take(rest + item.data.decode("utf-8", "replace"))
                    elif isinstance(item, Exit):
                        return item.detail or f"The samples ended (exit {item.code})."
                    else:
                        return "The connection ended."
        except TimeoutError:
            return f"No answer for {silent:.0f} s: the network or the machine hangs."
        except MilepostError as error:
            return str(error)

    async def _diagnose(self) -> None:
        """Looks at the log when it has grown; in a thread, for keys must answer meanwhile."""
        seen: dict[str, str] = {}
        while True:
            await asyncio.sleep(5)
            if self._log == seen:
                continue
            seen = dict(self._log)
            sources = [Source(f"{SERVE}.log", text, node) for node, text in seen.items()]
            found = await asyncio.to_thread(diagnose, sources)
            said = [f"{f.node or self.board.server}: {f.cause}" for f in found if f.kind in _SAID]
            self.board.found = tuple(said[:3])
            self.board.version += 1
            self.changed()


def _cut(text: str) -> list[str]:
    """Whole samples, and what is left of the last one, which may go on. (A sample begins with `at `.)"""
    first, *more = text.split("\nat ")
    pieces = [first, *(f"at {piece}" for piece in more)]
    return [*(f"{piece}\n" for piece in pieces[:-1]), pieces[-1]]


async def once(watch: Watch, limit: float) -> None:
    """Until every node was sampled, the server twice (speeds need that), or for ``limit`` seconds."""
    watch.goes_on = False
    task = asyncio.create_task(watch.run())
    board, end = watch.board, time.monotonic() + limit
    try:
        while time.monotonic() < end and not _complete(board):
            await asyncio.wait([task], timeout=0.1)
            if task.done():
                task.result()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def _complete(board: Board) -> bool:
    server = board.nodes[board.server]
    seen = all(it.sample is not None for it in board.nodes.values())
    return seen and server.previous is not None
