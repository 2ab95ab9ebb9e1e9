"""SSH servers on loopback that mean harm: what they say at each moment of a connection, and where they stall."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

import asyncssh
from asyncssh.packet import NameList

from tests.helpers.asyncssh_server import served
from tests.helpers.hostile import EVIL
from tests.helpers.sshd import Bed

#: More than any message may show, and active from its first character to its last.
LONG = (EVIL + "\r") * 60
_FAILURE, _NO_SERVICE = 51, 7

Server = contextlib.AbstractAsyncContextManager[int]
Handler = Callable[[asyncssh.SSHServerProcess[bytes]], Awaitable[None]]


class OpenServer(asyncssh.SSHServer):
    """Lets everybody in."""

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self.conn = conn

    def begin_auth(self, username: str) -> bool:
        return False


class _Disconnects(OpenServer):
    def begin_auth(self, username: str) -> bool:
        self.conn.disconnect(_NO_SERVICE, LONG, "\x1b[31m")
        return True


class _Refuses(OpenServer):
    """Takes nobody, and names methods that nobody knows."""

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        evil = LONG.encode("ascii", "replace").replace(b",", b" ")[:20_000]
        names = [b"password", evil, *(b"method-%d" % n for n in range(5000))]
        refused = lambda partial: conn.send_packet(_FAILURE, NameList(names), b"\0")  # noqa: E731
        conn.send_userauth_failure = refused  # type: ignore[method-assign]

    def begin_auth(self, username: str) -> bool:
        return True


class _AsksForEver(OpenServer):
    """Every answer is followed by more questions."""

    def begin_auth(self, username: str) -> bool:
        return True

    def kbdint_auth_supported(self) -> bool:
        return True

    def get_kbdint_challenge(self, username: str, lang: str, submethods: str) -> asyncssh.KbdIntChallenge:
        return LONG, LONG, "", [(f"{LONG}Passphrase of /root/.ssh/id_rsa: ", True)] * 3

    def validate_kbdint_response(self, username: str, responses: Any) -> asyncssh.KbdIntChallenge:
        return self.get_kbdint_challenge(username, "", "")


class _OnePassword(_AsksForEver):
    """A single prompt that begins like a password's and has another host at its visible end."""

    def get_kbdint_challenge(self, username: str, lang: str, submethods: str) -> asyncssh.KbdIntChallenge:
        return "", "", "", [("x" * 5000 + " Password of root@bank: ", False)]


class _StallsInLogin(OpenServer):
    async def begin_auth(self, username: str) -> bool:  # type: ignore[override]
        await asyncio.sleep(3600)
        return False


class _RefusesChannels(OpenServer):
    def session_requested(self) -> Any:
        raise asyncssh.ChannelOpenError(1, LONG, "\x1b[31m")


class _StallsAtChannel(OpenServer):
    async def session_requested(self) -> Any:  # type: ignore[override]
        await asyncio.sleep(3600)


class _NoAnswer(asyncssh.SSHServerSession[bytes]):
    """The request to run a command gets no answer."""

    def connection_made(self, chan: asyncssh.SSHServerChannel[bytes]) -> None:
        chan._service_next_request = lambda: None  # type: ignore[method-assign]


class _StallsAtExec(OpenServer):
    def session_requested(self) -> Any:
        return _NoAnswer()


async def _accepts_and_stalls(process: asyncssh.SSHServerProcess[bytes]) -> None:
    await asyncio.sleep(3600)


async def _ends_strangely(process: asyncssh.SSHServerProcess[bytes]) -> None:
    process.stdout.write(await process.stdin.readline())
    process.channel.exit_with_signal("KILL", True, LONG, "\x1b[31m")


async def _far_status(process: asyncssh.SSHServerProcess[bytes]) -> None:
    process.stdout.write(await process.stdin.readline())
    process.exit(2**32 - 1)


async def _far_status_at_once(process: asyncssh.SSHServerProcess[bytes]) -> None:
    process.stderr.write(LONG.encode())
    process.exit(2**32 - 1)


async def _floods_errors(process: asyncssh.SSHServerProcess[bytes]) -> None:
    with contextlib.suppress(OSError, asyncssh.Error):
        while True:
            process.stderr.write(LONG.encode())
            await process.stderr.drain()


async def _one_line(process: asyncssh.SSHServerProcess[bytes]) -> None:
    with contextlib.suppress(OSError, asyncssh.Error):
        while True:
            process.stdout.write(b"\0\xff\xc3" * 4096)
            await process.stdout.drain()


class _RefusesWays(OpenServer):
    """A jump host."""

    def connection_requested(self, *_: object) -> bool:
        raise asyncssh.ChannelOpenError(2, LONG, "\x1b[31m")


class _StallsAtWays(OpenServer):
    async def connection_requested(self, *_: object) -> bool:  # type: ignore[override]
        await asyncio.sleep(3600)
        return False


def cut_short(message: int) -> Handler:
    """After the login comes a packet of this kind with next to nothing in it."""

    async def serve(process: asyncssh.SSHServerProcess[bytes]) -> None:
        process.stdout.write(await process.stdin.readline())
        process.get_extra_info("connection").send_packet(message, b"\0")

    return serve


_WEAK: dict[str, Any] = {"kex_algs": ["diffie-hellman-group1-sha1"], "encryption_algs": ["3des-cbc"]}
#: What is wrong with the login, by name.
LOGINS: dict[str, tuple[type[OpenServer], dict[str, Any]]] = {
    "disconnects": (_Disconnects, {}),
    "refuses": (_Refuses, {}),
    "asks": (_AsksForEver, {}),
    "one password": (_OnePassword, {}),
    "stalls in login": (_StallsInLogin, {}),
    "weak": (OpenServer, _WEAK),
}
#: What is wrong once somebody is in.
CHANNELS: dict[str, type[OpenServer]] = {
    "refuses channels": _RefusesChannels,
    "stalls at channel": _StallsAtChannel,
    "stalls at exec": _StallsAtExec,
    "refuses ways": _RefusesWays,
    "stalls at ways": _StallsAtWays,
}
COMMANDS: dict[str, Handler] = {
    "accepts and stalls": _accepts_and_stalls,
    "ends strangely": _ends_strangely,
    "far status": _far_status,
    "far status at once": _far_status_at_once,
    "floods errors": _floods_errors,
    "one line": _one_line,
}


def hostile_server(bed: Bed, name: str) -> Server:
    """One of LOGINS, CHANNELS and COMMANDS, with its host key on record; its port."""
    options: dict[str, Any] = {"server_factory": OpenServer, "process_factory": COMMANDS.get(name)}
    if name in LOGINS:
        options["server_factory"], more = LOGINS[name]
        options |= more
    options["server_factory"] = CHANNELS.get(name, options["server_factory"])
    if name in CHANNELS:
        options |= {"process_factory": None, "line_editor": False}
    return served(bed, **options)


async def raw_server(words: bytes, again: bytes = b"") -> asyncio.Server:
    """Says ``words`` to everybody, then ``again`` without end, or nothing more."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            writer.write(words)
            while again:
                writer.write(again)
                await writer.drain()
            await reader.read()

    return await asyncio.start_server(serve, "127.0.0.1", 0)
