"""An asyncssh server on loopback, for what sshd cannot be told to do: passwords and prompts."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import subprocess
from collections.abc import AsyncIterator
from typing import Any

import asyncssh

from tests.helpers.sshd import Bed


class _PasswordServer(asyncssh.SSHServer):
    """Takes one password, by "password" or by keyboard-interactive."""

    password = "correct horse"
    methods = ("password",)

    def begin_auth(self, username: str) -> bool:
        return True

    def password_auth_supported(self) -> bool:
        return "password" in self.methods

    def validate_password(self, username: str, password: str) -> bool:
        return password == self.password

    def kbdint_auth_supported(self) -> bool:
        return "keyboard-interactive" in self.methods

    def get_kbdint_challenge(self, username: str, lang: str, submethods: str) -> asyncssh.KbdIntChallenge:
        if "one prompt" in self.methods:
            return "", "", "", [("Password: ", False)]
        return "Two\x1b[31m steps", "Answer both.", "", [("Password: ", False), ("One-time code: ", False)]

    def validate_kbdint_response(self, username: str, responses: asyncssh.KbdIntResponse) -> bool:
        return list(responses) == [self.password, "123456"][: 1 if "one prompt" in self.methods else 2]

    def connection_requested(self, *args: object) -> bool:
        return True


async def _serve(process: asyncssh.SSHServerProcess[bytes]) -> None:
    """Run the requested command with its standard input, as OpenSSH does, but in the server's own group."""
    child = subprocess.Popen(  # noqa: ASYNC220  # asyncssh wants real pipes
        ["/bin/sh", "-c", process.command or "exit 99"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,  # asyncssh would take the end of stderr for the end of all output
    )
    try:
        await process.redirect(stdin=child.stdin, stdout=child.stdout)
        code = await asyncio.to_thread(child.wait)
        with contextlib.suppress(TimeoutError):  # somebody may still hold the pipes
            await asyncio.wait_for(process.stdout.drain(), 1)
        if code < 0:
            process.exit_with_signal(_name(-code))
        else:
            process.exit(code)
    finally:
        await process.wait_closed()


def _name(number: int) -> str:
    return signal.Signals(number).name.removeprefix("SIG")


@contextlib.asynccontextmanager
async def served(bed: Bed, **options: Any) -> AsyncIterator[int]:
    """A server with these options of asyncssh.listen, its host key on the bed's record; its port."""
    key = asyncssh.generate_private_key("ssh-ed25519")
    server = await asyncssh.listen("127.0.0.1", 0, server_host_keys=[key], encoding=None, **options)
    bed.know(server.get_port(), key.export_public_key("openssh").decode().strip())
    try:
        yield server.get_port()
    finally:
        server.close()
        await server.wait_closed()


def password_server(bed: Bed, *methods: str) -> contextlib.AbstractAsyncContextManager[int]:
    """A server that takes its password by these methods; its port."""
    kind = type("Server", (_PasswordServer,), {"methods": methods or ("password",)})
    return served(bed, server_factory=kind, process_factory=_serve)
