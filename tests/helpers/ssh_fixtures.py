"""The fixtures of the tests over real SSH servers; conftest.py makes them known."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.helpers.asyncssh_server import password_server
from tests.helpers.ssh_help import Answers
from tests.helpers.sshd import Bed, Sshd, keygen
from wizard_steps.model import Node
from wizard_steps.transport.ssh import SshTransport
from wizard_steps.transport.ssh_ask import NoAsker

#: A transport and a node that it reaches.
Server = tuple[SshTransport, Node]
#: The same and the sshd behind the node.
ServedNode = tuple[SshTransport, Node, Sshd]


@pytest.fixture
def ssh_bed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bed]:
    """No agent, no home of the real user: only what is in the folder."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    made = Bed(tmp_path)
    made.user_key = keygen(tmp_path / "user_key")
    yield made
    for server in made.servers:
        server.stop()


@pytest.fixture
async def ssh_node(ssh_bed: Bed) -> AsyncIterator[ServedNode]:
    server = ssh_bed.sshd()
    cluster = ssh_bed.cluster(server.port)
    transport = SshTransport(cluster, NoAsker())
    yield transport, cluster.head, server
    await transport.close()


@pytest.fixture(params=["openssh", "asyncssh"])
async def ssh_either(request: pytest.FixtureRequest, ssh_bed: Bed) -> AsyncIterator[Server]:
    """A node on OpenSSH's sshd, then the same on an asyncssh server."""
    async with contextlib.AsyncExitStack() as stack:
        if request.param == "openssh":
            port = ssh_bed.sshd().port
        else:
            port = await stack.enter_async_context(password_server(ssh_bed))
        cluster = ssh_bed.cluster(port)
        transport = SshTransport(cluster, Answers(password="correct horse"))
        yield transport, cluster.head
        await transport.close()
