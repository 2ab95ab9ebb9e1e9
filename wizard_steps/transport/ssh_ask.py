"""What the SSH transport has to ask a person. No SSH library in here, so that any front end can answer."""

from __future__ import annotations

from typing import Protocol

from wizard_steps.model import Node


class Asker(Protocol):
    """Answers for host keys, passwords and passphrases. The transport asks one question at a time.

    ``node`` is the node that is being reached; the question may be about a jump host on the way to it.
    ``None`` (or False) means no: the connection is given up with a detail that says what was missing.
    """

    async def host_key(self, node: Node, host: str, port: int, key_type: str, fingerprint: str) -> bool:
        """Whether to trust a host key that is on no record. ``fingerprint`` reads ``SHA256:…``.

        A key that DIFFERS from the one on record is never asked about: that is HostKeyChanged.
        """
        ...

    async def password(self, node: Node, prompt: str) -> str | None:
        """A password, or the answer to one prompt of a keyboard-interactive login."""
        ...

    async def passphrase(self, node: Node, key_path: str) -> str | None:
        """The passphrase of an encrypted private key."""
        ...


class NoAsker:
    """Nobody is there: no unknown host key is trusted and there is no password."""

    async def host_key(self, node: Node, host: str, port: int, key_type: str, fingerprint: str) -> bool:
        return False

    async def password(self, node: Node, prompt: str) -> str | None:
        return None

    async def passphrase(self, node: Node, key_path: str) -> str | None:
        return None
