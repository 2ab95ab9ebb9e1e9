"""Host keys on record: look-up, the place of a record, and adding one. Nothing is ever trusted silently."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

import asyncssh
from asyncssh.known_hosts import SSHKnownHosts
from msgspec import Struct

from wizard_steps.files import read_plain

SSH_PORT = 22
#: Bytes of a file of host keys; one of a large site has a few megabytes.
_MOST = 1 << 26


class Record(Struct, frozen=True):
    """One host key on record and where it stands (1-based line)."""

    path: Path
    line: int
    key: asyncssh.SSHKey

    def __str__(self) -> str:
        return f"{describe(self.key)} at {self.path}:{self.line}"


class Keys(Struct, frozen=True):
    """What the files say about one host."""

    trusted: tuple[asyncssh.SSHKey, ...] = ()
    authorities: tuple[asyncssh.SSHKey, ...] = ()
    revoked: tuple[asyncssh.SSHKey, ...] = ()


def describe(key: asyncssh.SSHKey) -> str:
    """Algorithm and SHA256 fingerprint, as ssh-keygen -l prints it."""
    return f"{key.get_algorithm()} {key.get_fingerprint('sha256')}"


def entry_name(host: str, port: int) -> str:
    """The name of a host in known_hosts: ``[host]:port`` unless the port is 22, always lower case."""
    host = host.lower()
    return host if port == SSH_PORT else f"[{host}]:{port}"


class KnownHosts:
    """``path`` is read and added to; the ``also`` files are only read. Missing files hold nothing.

    Matching is by name, as OpenSSH does it by default: the address behind the name is not looked at.
    """

    def __init__(self, path: Path, also: Sequence[Path] = ()) -> None:
        self.path = path
        self.files = tuple(dict.fromkeys([path, *also]))

    def look(self, host: str, port: int) -> Keys:
        """Keys that hold for this host. A record without the port counts, unless one with it exists."""
        named = self._match(entry_name(host, port))
        plain = named if port == SSH_PORT else self._match(host.lower())
        return Keys(
            trusted=named.trusted or plain.trusted,
            authorities=named.authorities or plain.authorities,
            revoked=(*named.revoked, *plain.revoked),
        )

    def records(self, host: str, port: int) -> list[Record]:
        """The trusted keys recorded under exactly this name and port, with file and line."""
        found = []
        name = entry_name(host, port)
        for path in self.files:
            for number, line in enumerate(_lines(path), start=1):
                keys = _match(_parsed(line), name)
                found += [Record(path, number, key) for key in keys.trusted]
        return found

    def add(self, host: str, port: int, key: asyncssh.SSHKey) -> None:
        """Append a key under this name. Raises OSError when the file cannot be written."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        public = key.export_public_key("openssh").decode().split()[:2]
        line = " ".join([entry_name(host, port), *public]) + "\n"
        old = read_plain(self.path, _MOST) if self.path.exists() else b""
        if old and not old.endswith(b"\n"):
            line = "\n" + line
        handle = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        with os.fdopen(handle, "ab") as file:
            file.write(line.encode())

    def _match(self, name: str) -> Keys:
        parts = [_match(_load(path), name) for path in self.files]
        return Keys(
            trusted=tuple(key for part in parts for key in part.trusted),
            authorities=tuple(key for part in parts for key in part.authorities),
            revoked=tuple(key for part in parts for key in part.revoked),
        )


def _lines(path: Path) -> Iterator[str]:
    try:
        yield from read_plain(path, _MOST).decode("utf-8", "replace").splitlines()
    except OSError:
        return


def _load(path: Path) -> SSHKnownHosts:
    """All records of a file. A line that cannot be read is passed over, as OpenSSH does."""
    try:
        seen = path.stat()
    except OSError:
        return SSHKnownHosts()
    return _read(path, seen.st_mtime_ns, seen.st_size)


@lru_cache(maxsize=16)
def _read(path: Path, _changed: int, _size: int) -> SSHKnownHosts:
    """Thousands of keys take tenths of a second to read: once for all nodes, until the file changes."""
    text = "\n".join(_lines(path))
    try:
        return asyncssh.import_known_hosts(text)
    except ValueError:
        good = SSHKnownHosts()
        for line in text.splitlines():
            try:
                good.load(line)
            except ValueError:
                continue
        return good


def _parsed(line: str) -> SSHKnownHosts:
    try:
        return asyncssh.import_known_hosts(line)
    except ValueError:
        return SSHKnownHosts()


def _match(hosts: SSHKnownHosts, name: str) -> Keys:
    trusted, authorities, revoked = hosts.match(name, "", None)[:3]
    return Keys(tuple(trusted), tuple(authorities), tuple(revoked))
