"""Which keys a login may offer, and in which order."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import lru_cache
from pathlib import Path

import asyncssh
from msgspec import Struct

from wizard_steps.model import Node

#: The names OpenSSH tries when nothing is configured.
DEFAULT_NAMES = ("id_rsa", "id_ecdsa", "id_ecdsa_sk", "id_ed25519", "id_ed25519_sk")
PASSPHRASE_TRIES = 3
LOCKED = "encrypted, and its passphrase was not given"
#: Seconds for which "no passphrase" holds: all nodes of one attempt share it, a retry asks again.
DECLINED = 5.0
#: Gets the node and the key's path; None: no passphrase.
AskPassphrase = Callable[[Node, str], Awaitable[str | None]]


class WantedKey(Struct, frozen=True):
    """What the cluster file and ssh config say about keys for one host."""

    files: tuple[Path, ...] = ()
    explicit: bool = False
    only_these: bool = False
    certificates: tuple[str, ...] = ()
    agent: str = ""


class KeyOffer(Struct, frozen=True):
    """One key to offer and how to call it before a person."""

    key: asyncssh.SSHKeyPair
    label: str


def default_files() -> tuple[Path, ...]:
    """OpenSSH's default key files, there or not."""
    return tuple(Path("~/.ssh", name).expanduser() for name in DEFAULT_NAMES)


def agent_path(configured: str | None, given: bool) -> str:
    """The agent's socket: IdentityAgent of the ssh config, else SSH_AUTH_SOCK. Empty: no agent."""
    if given and configured is None:
        return ""
    if given and configured and configured != "SSH_AUTH_SOCK":
        return os.path.expandvars(os.path.expanduser(configured))
    return os.environ.get("SSH_AUTH_SOCK", "")


class KeyRing:
    """Opens keys once for all connections. Passphrases are asked once a file and kept in memory only."""

    def __init__(self, ask: AskPassphrase) -> None:
        self._ask = ask
        self._open: dict[Path, tuple[asyncssh.SSHKey, str]] = {}
        self._declined: dict[Path, float] = {}
        self._locks: dict[Path, asyncio.Lock] = {}

    async def offers(
        self, node: Node, wanted: WantedKey, agent: asyncssh.SSHAgentClient | None, notes: list[str]
    ) -> list[KeyOffer]:
        """The keys to offer, best first. ``notes`` gets a plain sentence for each that cannot be offered."""
        from_files = [o for path in wanted.files for o in await self._from_file(node, path, wanted, notes)]
        ours = {offer.key.public_data for offer in from_files}
        from_agent = await _from_agent(agent, notes)
        matching = [o for o in from_agent if o.key.public_data in ours]
        others = [] if wanted.only_these else [o for o in from_agent if o.key.public_data not in ours]
        held = {offer.key.public_data for offer in matching}
        rest = [offer for offer in from_files if offer.key.public_data not in held]
        return [*matching, *rest, *others] if wanted.explicit else [*matching, *others, *rest]

    async def _from_file(self, node: Node, path: Path, wanted: WantedKey, notes: list[str]) -> list[KeyOffer]:
        try:
            pairs = await self._pairs(node, path, wanted, notes)
        except FileNotFoundError:
            if wanted.explicit:
                notes.append(f"key file {path}: no such file")
            return []
        except OSError as error:
            notes.append(f"key file {path}: {error.strerror or error}")
            return []
        except ValueError as error:
            notes.append(f"key file {path}: {error}")
            return []
        return [KeyOffer(pair, f"key file {path}") for pair in pairs]

    async def _pairs(
        self, node: Node, path: Path, wanted: WantedKey, notes: list[str]
    ) -> Sequence[asyncssh.SSHKeyPair]:
        certificates = [name for name in wanted.certificates if Path(name).exists()]
        if path not in self._open and not _encrypted(path.read_bytes()):
            return asyncssh.load_keypairs(str(path), certlist=certificates)

        async def passphrase(_name: str) -> str | None:
            words = await self._unlock(node, path)
            if words is None:
                notes.append(f"key file {path}: {LOCKED}")
            return words

        if path not in self._open and not _public_part(path) and not await self._unlock(node, path):
            raise ValueError(LOCKED)
        if path in self._open:
            own = [f"{path}-cert.pub"] if Path(f"{path}-cert.pub").exists() else []
            return asyncssh.load_keypairs([self._open[path][0]], certlist=[*certificates, *own])
        # asyncssh calls ``passphrase`` from a thread, and only when the server accepts this key.
        return asyncssh.load_keypairs(
            str(path),
            passphrase,  # type: ignore[arg-type]
            certlist=certificates,
            loop=asyncio.get_running_loop(),
        )

    async def _unlock(self, node: Node, path: Path) -> str | None:
        """The right passphrase, asked for at most three times; None: not given."""
        async with self._locks.setdefault(path, asyncio.Lock()):
            if path in self._open:
                return self._open[path][1]
            if time.monotonic() - self._declined.get(path, -DECLINED) < DECLINED:
                return None
            data = path.read_bytes()
            for _ in range(PASSPHRASE_TRIES):
                words = await self._ask(node, str(path))
                if words is None:
                    break
                try:
                    key = await asyncio.to_thread(asyncssh.import_private_key, data, words)
                except ValueError:
                    continue
                self._open[path] = (key, words)
                return words
            self._declined[path] = time.monotonic()
            return None


@lru_cache(maxsize=16)
def _encrypted(data: bytes) -> bool:
    try:
        asyncssh.import_private_key(data)
    except asyncssh.KeyImportError as error:
        return str(error).startswith("Passphrase")
    except asyncssh.KeyEncryptionError:
        return True
    return False


def _public_part(path: Path) -> bool:
    for name in (f"{path}.pub", str(path)):
        try:
            asyncssh.read_public_key(name)
        except (OSError, ValueError):
            continue
        return True
    return False


async def _from_agent(agent: asyncssh.SSHAgentClient | None, notes: list[str]) -> list[KeyOffer]:
    if agent is None:
        return []
    try:
        keys = await agent.get_keys()
    except ValueError as error:
        notes.append(f"ssh-agent: {error or 'no answer'}")
        return []
    return [KeyOffer(key, f"ssh-agent key {key.get_comment() or key.get_algorithm()}") for key in keys]
