"""What the tests over real SSH servers share: an asker with set answers, and runs that check how they end."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from tests.helpers.sshd import Sshd, sh
from tests.helpers.waiting import alive
from wizard_steps.cluster.file import Cluster
from wizard_steps.engine.transport import Transport
from wizard_steps.model import Chunk, Cmd, Exit, Node
from wizard_steps.transport.ssh import SshTransport
from wizard_steps.transport.ssh_ask import Asker, NoAsker


class Answers:
    """An asker that says what it is told to and remembers what it was asked."""

    def __init__(
        self, trust: bool = False, password: str | None = None, passphrase: str | None = None
    ) -> None:
        self.trust = trust
        self.words = password
        self.phrase = passphrase
        self.asked: list[tuple[str, ...]] = []

    async def host_key(self, node: Node, host: str, port: int, key_type: str, fingerprint: str) -> bool:
        self.asked.append(("host_key", node.name, host, str(port), key_type, fingerprint))
        return self.trust

    async def password(self, node: Node, prompt: str) -> str | None:
        self.asked.append(("password", node.name, prompt))
        return self.words

    async def passphrase(self, node: Node, key_path: str) -> str | None:
        self.asked.append(("passphrase", node.name, key_path))
        return self.phrase


@dataclass
class Ran:
    output: bytes
    exit: Exit


async def ran(transport: Transport, node: Node, text: str, **cmd: object) -> Ran:
    """Run a command to its end. Checks that exactly one Exit comes, and that it comes last."""
    chunks: list[bytes] = []
    exits: list[Exit] = []
    async for item in transport.run(node, Cmd(key="test", text=text, **cmd)):  # type: ignore[arg-type]
        assert not exits, "something came after the Exit"
        if isinstance(item, Chunk):
            chunks.append(item.data)
        else:
            exits.append(item)
    assert len(exits) == 1
    return Ran(b"".join(chunks), exits[0])


@asynccontextmanager
async def transport_to(cluster: Cluster, asker: Asker | None = None) -> AsyncIterator[SshTransport]:
    made = SshTransport(cluster, asker or NoAsker())
    try:
        yield made
    finally:
        await made.close()


async def once(cluster: Cluster, asker: Asker | None = None, node: Node | None = None) -> Ran:
    """One command on the head over a transport of its own."""
    async with transport_to(cluster, asker) as transport:
        return await ran(transport, node or cluster.head, "echo in")


def lost(result: Ran, *words: str) -> str:
    """Checks that the host was not reached and that the detail has these words."""
    assert (result.output, result.exit.code, result.exit.reason) == (b"", -1, "lost")
    for word in words:
        assert word in result.exit.detail
    assert "Traceback" not in result.exit.detail
    return result.exit.detail


def fingerprint(server: Sshd) -> str:
    return sh("ssh-keygen", "-lf", str(server.host_key) + ".pub").stdout.split()[1]


async def started(transport: SshTransport, node: Node, text: str, **cmd: object) -> tuple[object, list[int]]:
    """Start a command that prints pids on its first line."""
    stream = transport.run(node, Cmd(key="k", text=text, **cmd))  # type: ignore[arg-type]
    first = await anext(stream)
    assert isinstance(first, Chunk)
    pids = [int(word) for word in first.data.split()]
    assert pids
    assert all(alive(pid) for pid in pids)
    return stream, pids


FAMILY = "sleep 301 & a=$!; sh -c 'sleep 302 & echo $! $$ '\"$a $$\"'; wait'"
STUBBORN = (
    "trap '' TERM; sh -c 'trap \"\" TERM HUP INT; echo $$ $PPID; "
    "exec >/dev/null 2>&1; while :; do sleep 303; done'; :"
)
