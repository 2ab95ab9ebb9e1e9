"""A server that means harm: whatever it says, and wherever it stalls, a person reads one short sentence of ours."""

from __future__ import annotations

import asyncio
from pathlib import Path

import psutil
import pytest

from tests.helpers.asyncssh_server import served
from tests.helpers.headless_help import files_below, headless, plain_bytes
from tests.helpers.hostile_server import OpenServer, cut_short, hostile_server, raw_server
from tests.helpers.ssh_help import Answers, Ran, lost, once
from tests.helpers.sshd import USER, Bed, needs_sshd
from tests.trust.test_node import ACTIVE
from wizard_steps.model import Node
from wizard_steps.transport.ssh_errors import printable, said
from wizard_steps.transport.ssh_login import QUESTIONS

pytestmark = needs_sshd


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wizard_steps.transport.ssh.SILENT", 3.0)
    monkeypatch.setattr("wizard_steps.transport.ssh_session.REFUSED", (0.01,))


async def met(bed: Bed, port: int, asker: Answers | None = None, host: str = "", limit: float = 20.0) -> Ran:
    """One command there; checks that it ends, that memory lasts, and that what is said does no harm."""
    before = psutil.Process().memory_info().rss
    node = Node(name="n0", host=host) if host else None
    async with asyncio.timeout(60):
        result = await once(bed.cluster(port, connect_timeout=limit), asker, node)
    assert psutil.Process().memory_info().rss - before < 100 * 2**20
    assert not ACTIVE.search(result.exit.detail)
    assert result.exit.detail == printable(result.exit.detail)
    assert len(result.exit.detail) < 1500
    assert (result.exit.code, result.exit.reason) != (0, "exit")
    return result


def limit_of(name: str) -> float:
    """Long, but for a server that lets it pass."""
    return 1.5 if name.startswith("stalls") else 20.0


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("disconnects", "failed: ]52;c"),
        ("refuses", "refused the login of user"),
        ("asks", "refused the login of user"),
        ("one password", "refused the login of user"),
        ("stalls in login", "did not finish the login within 1.5 s"),
        ("weak", "no algorithm in common: No matching key exchange"),
    ],
)
async def test_at_the_login(ssh_bed: Bed, name: str, words: str) -> None:
    asker = Answers(password="secret-words")
    async with hostile_server(ssh_bed, name) as port:
        detail = lost(
            await met(ssh_bed, port, asker, limit=limit_of(name)),
            words,
            f"127.0.0.1 port {port}",
            "To see it by hand: ssh",
        )
    assert "secret-words" not in detail
    assert len(asker.asked) <= QUESTIONS
    for _, node, prompt in asker.asked:
        assert node == "n0"
        assert prompt.startswith(
            (f"{USER}@127.0.0.1:{port} asks: ", f"Password of {USER}@127.0.0.1:{port}: ")
        )
        assert len(prompt) < 1500
        assert prompt == printable(prompt)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("refuses channels", "refuses to run a command: ]52;c"),
        ("stalls at channel", "the command did not start within 1.5 s"),
        ("stalls at exec", "the command did not start within 1.5 s"),
        ("accepts and stalls", "did not get to the command"),
        ("floods errors", "did not get to the command"),
        ("one line", "printed more than 1 MiB before it ran the command"),
        ("far status at once", "ended with exit status"),
    ],
)
async def test_after_the_login(ssh_bed: Bed, name: str, words: str) -> None:
    async with hostile_server(ssh_bed, name) as port:
        result = await met(ssh_bed, port, limit=limit_of(name))
    assert result.exit.reason == "lost"
    assert words in result.exit.detail
    assert result.exit.detail.startswith("n0: ")


@pytest.mark.parametrize("message", [1, 20, 98])
async def test_a_packet_that_is_cut_short_ends_the_command(ssh_bed: Bed, message: int) -> None:
    """asyncssh ends the connection with whatever it stumbled over."""
    async with served(ssh_bed, process_factory=cut_short(message), server_factory=OpenServer) as port:
        result = await met(ssh_bed, port)
    assert (result.output, result.exit.reason) == (b"", "lost")
    assert "The connection to n0 broke while the command ran" in result.exit.detail


@pytest.mark.parametrize("name", ["ends strangely", "far status"])
async def test_a_strange_end_is_a_failed_command(ssh_bed: Bed, name: str) -> None:
    async with hostile_server(ssh_bed, name) as port:
        assert (await met(ssh_bed, port)).exit.reason == "exit"


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (b"", "no SSH server spoke"),
        (b"\x1b[31mHELLO\r\n" * 100, "no SSH server spoke"),
        (b"SSH-2.0-x\x1b]0;owned\x07\r\n", "answered, and did not finish the login"),
        (b"SSH-2.0-\xff\xfe\x1b[31m\r\n", "does not keep to the SSH protocol"),
        (b"SSH-1.5-\x1b[2J\r\n", "does not keep to the SSH protocol"),
        (b"SSH-2.0-x\r\n" + b"\0" * 40, "does not keep to the SSH protocol"),
        (b"SSH-2.0-x\r\n" + b"\xff" * 40, "does not keep to the SSH protocol"),
    ],
    ids=["silent", "greets", "stalls", "no ASCII", "old", "zeros", "ones"],
)
async def test_before_the_login(ssh_bed: Bed, words: bytes, answer: str) -> None:
    async with await raw_server(words) as server:
        port, limit = server.sockets[0].getsockname()[1], 20.0 if "keep" in answer else 1.5
        lost(await met(ssh_bed, port, limit=limit), answer, "To see it by hand: ssh")


async def test_a_packet_without_end_costs_no_memory(ssh_bed: Bed) -> None:
    async with await raw_server(b"SSH-2.0-x\r\n\xff\xff\xff\xff", b"\xff" * 65536) as server:
        lost(await met(ssh_bed, server.sockets[0].getsockname()[1]), "does not keep to the SSH protocol")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("refuses ways", "The jump host 127.0.0.1:{port} cannot reach 127.0.0.1 port 9: ]52;c"),
        ("stalls at ways", "No answer from inner (127.0.0.1) port 9 through the jump host 127.0.0.1:{port}"),
        ("disconnects", "127.0.0.1 port {port} failed: ]52;c"),
    ],
)
async def test_a_jump_host(ssh_bed: Bed, name: str, words: str) -> None:
    async with hostile_server(ssh_bed, name) as port:
        ssh_bed.config.write_text(
            f"Host inner\n  HostName 127.0.0.1\n  Port 9\n  ProxyJump 127.0.0.1:{port}\n"
        )
        lost(
            await met(ssh_bed, port, host="inner", limit=limit_of(name)),
            words.format(port=port),
            "To see it by hand: ssh",
        )


async def test_a_walk_to_such_servers_ends_in_words(ssh_bed: Bed, tmp_path: Path) -> None:
    names = ("refuses channels", "disconnects", "ends strangely", "weak")
    async with (
        hostile_server(ssh_bed, names[0]) as one,
        hostile_server(ssh_bed, names[1]) as two,
        hostile_server(ssh_bed, names[2]) as three,
        hostile_server(ssh_bed, names[3]) as four,
    ):
        code, text = await headless(ssh_bed.cluster(one, two, three, four), tmp_path)
    assert code == 1
    assert "Traceback" not in text
    assert not ACTIVE.search(text)
    for name in ("n0", "n1", "n2", "n3"):
        assert name in text
    for path in files_below(tmp_path / "walk"):
        assert not ACTIVE.search(plain_bytes(path).decode().replace("\r", "")), path


def test_a_servers_words_leave_room_for_ours() -> None:
    assert said("\x1b[31ma\r\n\u202e\u3164b" + "c" * 10_000, 10) == "[31ma bccc…"
    assert said(ValueError("")) == ""
