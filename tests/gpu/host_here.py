"""This machine, reachable over real SSH on loopback: for a GPU machine that has no sshd of its own.

with a folder for keys: async with Here(folder) as here: here.port, here.identity, here.known_hosts
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import asyncssh

from wizard_steps.lab.session import CommandSession


class _Server(asyncssh.SSHServer):
    def __init__(self, tasks: set[asyncio.Task[None]], env: dict[str, str]) -> None:
        self._tasks = tasks
        self._env = env

    def session_requested(self) -> CommandSession:
        return CommandSession(self._env, self._tasks)

    def connection_requested(self, dest_host: str, dest_port: int, orig_host: str, orig_port: int) -> bool:
        return dest_host in ("127.0.0.1", "localhost")


class Here:
    """An SSH server for this user, with keys made on the spot. Public-key login only, loopback only."""

    def __init__(self, folder: Path, env: dict[str, str] | None = None) -> None:
        self.folder = folder
        self.identity = folder / "id_ed25519"
        self.known_hosts = folder / "known_hosts"
        self.config = folder / "config"
        self.port = 0
        self._env = {**os.environ, **(env or {})}
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Here:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.config.touch()
        user, host = (asyncssh.generate_private_key("ssh-ed25519") for _ in range(2))
        user.write_private_key(self.identity)
        self.identity.chmod(0o600)
        user.write_public_key(self.folder / "authorized_keys")
        self._server = await asyncssh.listen(
            "127.0.0.1",
            0,
            server_host_keys=[host],
            authorized_client_keys=str(self.folder / "authorized_keys"),
            server_factory=lambda: _Server(self._tasks, self._env),
            encoding=None,
        )
        self.port = self._server.get_port()
        public = host.export_public_key().decode().strip()
        self.known_hosts.write_text(f"[127.0.0.1]:{self.port} {public}\n")
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await self._server.wait_closed()
