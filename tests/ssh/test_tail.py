"""The end of an output: a busy OpenSSH tells the exit status before it sends the last of it."""

from __future__ import annotations

import asyncio

import asyncssh
from asyncssh.packet import UInt32

from tests.helpers.asyncssh_server import served
from tests.helpers.ssh_help import Ran, once, ran, transport_to
from tests.helpers.sshd import Bed, needs_sshd
from wizard_steps.model import Exit
from wizard_steps.transport.local import LINGER


class Late(asyncssh.SSHServerSession[bytes]):
    """Opens the frame and writes ``head``, tells the exit status when the client has waited for nearly all of its patience,
    and writes ``tail`` just after."""

    def connection_made(self, chan: asyncssh.SSHServerChannel[bytes]) -> None:
        self._chan = chan

    def exec_requested(self, command: str) -> bool:
        return True

    def data_received(self, data: bytes, datatype: object) -> None:
        self._task = asyncio.create_task(self._run(data))

    async def _run(self, mark: bytes) -> None:
        self._chan.write(mark + b"head\n")
        await asyncio.sleep(LINGER - 0.3)
        self._chan._send_request(b"exit-status", UInt32(7))  # type: ignore[attr-defined]
        await asyncio.sleep(0.8)
        self._chan.write(b"tail\n")
        self._chan.exit(7)


class Server(asyncssh.SSHServer):
    def begin_auth(self, username: str) -> bool:
        return False

    def session_requested(self) -> Late:
        return Late()


async def test_what_comes_after_the_exit_status_is_not_lost(ssh_bed: Bed) -> None:
    async with served(ssh_bed, server_factory=Server) as port:
        result = await once(ssh_bed.cluster(port))
    assert (result.output, result.exit) == (b"head\ntail\n", Exit(code=7))


@needs_sshd
async def test_more_commands_than_a_server_takes_at_once(ssh_bed: Bed) -> None:
    """The server lets go of a closed session a little later than the wizard: none is refused for that."""
    cluster = ssh_bed.cluster(ssh_bed.sshd("MaxSessions 8").port)
    async with transport_to(cluster) as transport:
        done = await asyncio.gather(*(ran(transport, cluster.head, f"echo {n}") for n in range(120)))
    assert done == [Ran(f"{n}\n".encode(), Exit(code=0)) for n in range(120)]
