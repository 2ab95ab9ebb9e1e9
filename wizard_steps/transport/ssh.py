"""The transport over SSH: every command of the wizard on real hosts goes through here.

A connection ends with whatever asyncssh stumbled over, which a hostile server may choose: a packet that is
cut short is a ValueError. So each wait for asyncssh takes any exception for the end of the connection.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress

import asyncssh
from msgspec.structs import replace

from wizard_steps.cluster.file import Cluster
from wizard_steps.model import Chunk, Cmd, Exit, Forward, Node
from wizard_steps.transport import profile
from wizard_steps.transport.framed import Frame, framed_exit, not_begun
from wizard_steps.transport.local import READ, run_local
from wizard_steps.transport.ssh_ask import Asker
from wizard_steps.transport.ssh_connect import Connection, Connector
from wizard_steps.transport.ssh_errors import Unreachable, printable, said
from wizard_steps.transport.ssh_feed import feeding, pieces
from wizard_steps.transport.ssh_session import Process, close_late, end_session, last_words, output, session
from wizard_steps.transport.ssh_shell import remote

#: Sessions at the same time on one connection; OpenSSH's MaxSessions is 10.
SESSIONS = 8
#: Seconds a node's shell gets, after the login, to begin a command.
SILENT = 30.0


class SshTransport:
    """Runs commands on the nodes of a cluster, and on the wizard's machine for the role "wizard".

    Host keys are always verified. See ``transport.base.Transport`` for the contract of ``run``.
    """

    def __init__(self, cluster: Cluster, asker: Asker) -> None:
        asyncssh.set_log_level(logging.CRITICAL)
        self._ssh = cluster.ssh
        self._connector = Connector(cluster.ssh, asker)
        self._sessions: dict[str, asyncio.Semaphore] = {}

    async def run(self, node: Node, cmd: Cmd) -> AsyncGenerator[Chunk | Exit]:
        stream = self._run_here(cmd) if node.role == "wizard" else self._run_there(node, cmd)
        async with aclosing(stream) as items:
            try:
                async for item in items:
                    yield item
            except (Unreachable, OSError) as error:
                yield Exit(code=-1, reason="lost", detail=str(error))

    @asynccontextmanager
    async def forward(self, node: Node, host: str, port: int) -> AsyncIterator[int]:
        """A tunnel: the port on 127.0.0.1 here that leads to ``host``:``port`` as seen from ``node``.

        Raises Unreachable or HostKeyChanged.
        """
        connection = await self._connector.connection(node)
        try:
            listener = await connection.forward_local_port("127.0.0.1", 0, host, port)
        except Exception as error:
            raise Unreachable(f"No tunnel through {node.name} to {host}:{port}: {said(error)}.") from None
        try:
            yield listener.get_port()
        finally:
            listener.close()
            with suppress(TimeoutError):  # newer Pythons wait for open connections as well
                await asyncio.wait_for(listener.wait_closed(), 1)

    @asynccontextmanager
    async def _through_here(self, node: Node, way: Forward | None) -> AsyncIterator[None]:
        """A tunnel from a node to another one, as long as a command runs."""
        if way is None:
            yield
            return
        async with self.forward(way.node, way.host, way.port) as port:
            connection = await self._connector.connection(node)
            try:
                listener = await connection.forward_remote_port("127.0.0.1", way.at, "127.0.0.1", port)
            except Exception as error:
                raise Unreachable(
                    f"{node.name}: no tunnel from its port {way.at} to {way.node.name}: {said(error)}. Is "
                    "the port taken there, or does its sshd_config forbid it (AllowTcpForwarding)?"
                ) from None
            try:
                yield
            finally:
                listener.close()

    async def reach(self, node: Node) -> str:
        """Log in and run nothing, without a limit on the time a person takes to answer.

        Empty when it worked, else what a lost command's ``detail`` would say. Raises HostKeyChanged.
        """
        try:
            await self._connector.connection(node)
        except Unreachable as error:
            return str(error)
        return ""

    async def close(self) -> None:
        """End all connections. Commands that still run are ended by their node."""
        await self._connector.close()

    async def _run_here(self, cmd: Cmd) -> AsyncGenerator[Chunk | Exit]:
        if cmd.forward is None:
            async with aclosing(run_local(cmd)) as items:
                async for item in items:
                    yield item
            return
        way = cmd.forward
        async with (
            self.forward(way.node, way.host, way.port) as port,
            aclosing(run_local(cmd, {"MILEPOST_PORT": str(port)})) as items,
        ):
            async for item in items:
                yield item

    async def _run_there(self, node: Node, cmd: Cmd) -> AsyncGenerator[Chunk | Exit]:
        slots = self._sessions.setdefault(f"{node.user}@{node.host}:{node.port}", asyncio.Semaphore(SESSIONS))
        async with slots, self._through_here(node, cmd.forward):
            frame, files = Frame(), pieces(cmd.feed)
            process = await self._start(node, cmd, frame, sum(size for _, _, size in files))
            try:
                async with feeding(process, files), aclosing(_framed(node, process, frame)) as chunks:
                    async for chunk in chunks:
                        yield chunk
                if process.returncode is None:
                    await process.wait_closed()
                complaint = b"" if frame.opened else await last_words(process)
                end = framed_exit(node, frame, self._exit(node, process), complaint)
            finally:
                await asyncio.shield(end_session(process))
        yield await self._told(node, frame, end) if cmd.login and end.reason == "exit" else end

    async def _start(self, node: Node, cmd: Cmd, frame: Frame, more: int) -> Process:
        """Start the command. A connection that is found dead before that is replaced once."""
        fed = cmd.stdin.encode()
        command = remote(cmd.text, len(fed) + more)
        for last in (False, True):
            connection = await self._connector.connection(node)
            opened: list[Process] = []
            try:
                process = await self._open(connection, command, opened)
            except Exception as error:
                await asyncio.sleep(0.01)  # asyncssh tells of the end of a connection a moment later
                if not opened and not last and _dead(connection, error):
                    self._connector.replace(node, connection)
                    continue
                raise self._not_started(node, error) from None
            with suppress(BrokenPipeError):  # the server has ended it already
                process.stdin.write(frame.line + fed)
            return process
        raise AssertionError("unreachable")

    async def _open(self, connection: Connection, command: str, opened: list[Process]) -> Process:
        """Raises TimeoutError when the server does not answer. Who gives up leaves no command behind."""
        opening = asyncio.create_task(session(connection, command, opened))
        try:
            async with asyncio.timeout(self._ssh.connect_timeout):
                return await asyncio.shield(opening)
        except (TimeoutError, asyncio.CancelledError):
            opening.add_done_callback(close_late)
            raise

    def _not_started(self, node: Node, error: BaseException) -> Unreachable:
        if isinstance(error, asyncssh.ChannelOpenError):
            return Unreachable(
                f"{node.name}: the SSH server refuses to run a command: {said(error.reason)}. "
                "Check MaxSessions and ForceCommand in its sshd_config, and the user's shell."
            )
        if isinstance(error, TimeoutError):
            return Unreachable(
                f"{node.name}: logged in, but the command did not start within {self._ssh.connect_timeout:g} "
                "s. The machine may be overloaded or out of memory, or this computer has slept. Retry."
            )
        return Unreachable(
            f"{node.name}: the connection broke before the command started: {said(error)}. Retry."
        )

    async def _told(self, node: Node, frame: Frame, end: Exit) -> Exit:
        """The Exit of a command that ran, with what a person should know of the login."""
        notes = list(self._connector.notes(node))
        if frame.strange_lines:
            said = b""
            async with aclosing(self._run_there(node, profile.WHICH)) as items:
                async for item in items:
                    said += item.data if isinstance(item, Chunk) and len(said) < READ else b""
            notes.append(profile.sentence(frame.strange_lines, said.decode("utf-8", "replace")))
        return replace(end, detail="\n".join(printable(note) for note in notes))

    def _exit(self, node: Node, process: Process) -> Exit:
        if process.exit_signal is not None:
            return Exit(code=128 + _signal_number(process.exit_signal[0]))
        if process.exit_status is not None:
            return Exit(code=process.exit_status)
        return Exit(
            code=-1,
            reason="lost",
            detail=f"The connection to {node.name} broke while the command ran; what it had done by then "
            "remains. Check the machine (rebooted? out of memory?), the network, and whether this computer "
            "has slept; then retry.",
        )


def _dead(connection: Connection, error: BaseException) -> bool:
    return connection.is_closed() or isinstance(error, TimeoutError | asyncssh.ConnectionLost | OSError)


async def _framed(node: Node, process: Process, frame: Frame) -> AsyncGenerator[Chunk]:
    """What the command itself printed. Raises Unreachable when the node's shell does not get to it."""
    limit = asyncio.get_running_loop().time() + SILENT
    async with aclosing(output(process)) as chunks:
        while True:
            try:
                async with asyncio.timeout_at(None if frame.opened else limit):
                    item = await anext(chunks, None)
            except TimeoutError:
                raise Unreachable(not_begun(node, frame)) from None
            if item is None:
                break
            if data := frame.feed(item.data):
                yield Chunk(data)
            if frame.flooded:
                raise Unreachable(not_begun(node, frame))
    if data := frame.end() if frame.opened else frame.noise:
        yield Chunk(data)


def _signal_number(name: str) -> int:
    try:
        return int(signal.Signals[f"SIG{name}"])
    except KeyError:
        return 0
