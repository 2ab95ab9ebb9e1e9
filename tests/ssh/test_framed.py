"""What a command printed, told apart from what a login shell prints around it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

import asyncssh
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.asyncssh_server import served
from tests.helpers.pieces import pieces
from tests.helpers.ssh_help import once, ran, transport_to
from tests.helpers.sshd import Bed, needs_sshd
from wizard_steps.transport import ssh
from wizard_steps.transport.framed import MOST_NOISE, Frame

MARK = "~milepost-0123"


@given(st.binary(max_size=60), st.binary(max_size=60), st.binary(max_size=20), st.lists(st.integers(1, 9)))
def test_only_the_command_comes_through_however_it_is_cut(
    before: bytes, inside: bytes, after: bytes, sizes: list[int]
) -> None:
    frame = Frame(MARK)
    whole = before + frame.line + inside + f"{MARK} 7\n".encode() + after
    found = b"".join(frame.feed(piece) for piece in pieces(whole, sizes))
    assert (found + frame.end(), frame.code) == (inside, 7)


@given(st.binary(max_size=200), st.lists(st.integers(1, 9)))
def test_without_a_mark_nothing_is_the_commands(data: bytes, sizes: list[int]) -> None:
    frame = Frame()
    assert not b"".join(frame.feed(piece) for piece in pieces(data, sizes))
    assert (frame.opened, frame.code, frame.noise) == (False, None, data[-4096:])


@pytest.mark.parametrize(
    "tail", ["~", "~milepost-", MARK, f"{MARK} ", f"{MARK} 12", f"{MARK}x", f"{MARK} 1234\n"]
)
def test_what_only_looks_like_the_end_is_output(tail: str) -> None:
    frame = Frame(MARK)
    found = frame.feed(frame.line + b"out" + tail.encode())
    assert found + frame.end() == b"out" + tail.encode()
    assert frame.code is None


def test_a_line_is_not_held_back() -> None:
    frame = Frame(MARK)
    assert frame.feed(frame.line + b"Application startup complete.\n") == b"Application startup complete.\n"


def test_marks_are_new_each_time() -> None:
    assert Frame().line != Frame().line


def test_a_flood_before_the_command_is_not_kept() -> None:
    frame = Frame()
    for _ in range(MOST_NOISE // 1000 + 2):
        frame.feed(b"x" * 1000)
    assert frame.flooded
    assert len(frame.noise) == 4096


@needs_sshd
async def test_a_shell_that_prints_around_the_command(ssh_bed: Bed) -> None:
    """Whatever a node prints before and after, a command's answer and its status are its own."""
    greeting = "*** Welcome ***\\nmine\\nheld x\\nours: 1\\n"

    async def greet(process: asyncssh.SSHServerProcess[bytes]) -> None:
        mark = await process.stdin.readline()
        process.stdout.write(greeting.encode() + mark + b"in\n" + mark.strip() + b" 3\n" + b"bye\n")
        process.exit(0)

    async with served(ssh_bed, process_factory=greet, server_factory=_Open) as port:
        done = await once(ssh_bed.cluster(port))
    assert (done.output, done.exit.code) == (b"in\n", 3)


class _Open(asyncssh.SSHServer):
    def begin_auth(self, username: str) -> bool:
        return False


Factory = Callable[..., object]


async def _silent(process: asyncssh.SSHServerProcess[bytes]) -> None:
    with contextlib.suppress(OSError, asyncssh.Error):
        process.stdout.write(b"1) shell 2) menu? ")
        await asyncio.sleep(3600)


async def _refuses(process: asyncssh.SSHServerProcess[bytes]) -> None:
    process.stdout.write(b"This account is currently not available.\n")
    process.exit(1)


async def _lies(process: asyncssh.SSHServerProcess[bytes]) -> None:
    process.stdout.write(b"all is well\n")
    process.exit(0)


async def _cut(process: asyncssh.SSHServerProcess[bytes]) -> None:
    process.stdout.write(await process.stdin.readline() + b"half")
    process.exit(0)


async def _asked(bed: Bed, factory: Factory) -> tuple[bytes, str, int, str]:
    async with served(bed, process_factory=factory, server_factory=_Open) as port:
        cluster = bed.cluster(port)
        async with transport_to(cluster) as transport:
            done = await ran(transport, cluster.head, "echo in")
    return done.output, done.exit.reason, done.exit.code, done.exit.detail


@needs_sshd
async def test_a_node_that_is_silent_after_the_login_is_named(
    ssh_bed: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ssh.SILENT <= 30
    monkeypatch.setattr(ssh, "SILENT", 0.5)
    out, reason, code, detail = await _asked(ssh_bed, _silent)
    assert (out, reason, code) == (b"", "lost", -1)
    assert "logged in, but the shell there did not get to the command" in detail
    assert "1) shell 2) menu?" in detail


@needs_sshd
async def test_a_shell_that_runs_nothing_is_no_success(ssh_bed: Bed) -> None:
    out, reason, code, detail = await _asked(ssh_bed, _lies)
    assert (out, reason, code) == (b"all is well\n", "lost", -1)
    assert "all is well" in detail
    out, reason, code, detail = await _asked(ssh_bed, _refuses)
    assert (out, reason, code) == (b"This account is currently not available.\n", "lost", -1)
    assert "exit status 1" in detail
    assert "This account is currently not available." in detail
    out, reason, code, detail = await _asked(ssh_bed, _cut)
    assert (out, reason, code) == (b"half", "lost", -1)
    assert "ended before the command did" in detail
