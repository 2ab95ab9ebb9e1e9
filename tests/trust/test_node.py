"""A node that wants harm: what it sends cannot act on the person's terminal, clipboard or disk."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import stat
import time
from collections.abc import Callable
from pathlib import Path

import asyncssh
import psutil
import pytest

from tests.helpers.asyncssh_server import served
from tests.helpers.headless_help import files_below, headless, plain_bytes
from tests.helpers.ssh_help import Answers, transport_to
from tests.helpers.sshd import Bed, free_port, needs_sshd
from wizard_steps.cluster import file as clusters
from wizard_steps.engine.clock import RealClock
from wizard_steps.engine.runner import Runner
from wizard_steps.model import Cmd
from wizard_steps.recording.redact import Redactor
from wizard_steps.recording.spool import MemorySpool, file_name
from wizard_steps.transport.cleaned import Cleaned
from wizard_steps.transport.ssh import SshTransport
from wizard_steps.transport.ssh_ask import NoAsker

pytestmark = needs_sshd

#: Title, colours, clipboard (OSC 52), a link, a device query, a printer, C1 forms, bidi, NUL, backspace.
EVIL = (
    "\x1b]0;owned\x07\x1b[2J\x1b[1;31m\x1b]52;c;cm0gLXJmIH4=\x07\x1b]8;;http://evil\x1b\\go\x1b]8;;\x1b\\"
    "\x1b[6n\x1bP+q544e\x1b\\\x1b[5i\x9b31m\x9d52;c;ZXZpbA==\x9c\u202egpj.exe\u2066\x00\x07\x08\x08"
    "\r\nhost: ../../../etc/passwd\nuser: $(reboot)\n"
    "PASSED reach (0.0 s): all is well\nroot@your-laptop:~# \nPassword: \n"
)
#: What no terminal may get: controls but for tab and newline, C1, and the marks that reorder or hide text.
ACTIVE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2066-\u2069\ufeff]")


class EvilServer(asyncssh.SSHServer):
    """Lets everybody in. ``banners``: how many banners it sends before that."""

    banners = 1

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._conn = conn

    async def begin_auth(self, username: str) -> bool:  # type: ignore[override]
        for _ in range(self.banners):
            self._conn.send_auth_banner(EVIL * 20)
            await asyncio.sleep(0)
        return False


async def _evil(process: asyncssh.SSHServerProcess[bytes]) -> None:
    """Whatever is asked for, the answer is the same, on both outputs."""
    process.stdout.write(EVIL.encode())
    process.stderr.write(EVIL.encode())
    process.exit(0)


async def _endless(process: asyncssh.SSHServerProcess[bytes]) -> None:
    with contextlib.suppress(OSError, asyncssh.Error):
        process.stdout.write(await process.stdin.readline())  # the frame's mark: the answer has begun
        while True:
            process.stdout.write(EVIL.encode() * 500)
            await process.stdout.drain()


def evil_server(
    bed: Bed, factory: Callable[..., object] = _evil, banners: int = 1
) -> contextlib.AbstractAsyncContextManager[int]:
    """A server with a host key on record; its port."""
    kind = type("Server", (EvilServer,), {"banners": banners})
    return served(bed, server_factory=kind, process_factory=factory, server_version="evil")


async def test_nothing_active_reaches_the_terminal_or_a_file(ssh_bed: Bed, tmp_path: Path) -> None:
    async with evil_server(ssh_bed) as one, evil_server(ssh_bed) as two:
        code, said = await headless(ssh_bed.cluster(one, two), tmp_path)
    assert code == 1
    assert "reach" in said
    assert "etc/passwd" in said, "the words themselves are shown"
    assert not ACTIVE.search(said)
    assert "cm0gLXJmIH4=" not in said, "what was meant for the clipboard is not even text"
    # A line of the node never stands at the edge, where the wizard's own verdicts are.
    assert not any(line.startswith(("PASSED reach (0.0", "root@")) for line in said.splitlines())
    found = files_below(tmp_path / "walk")
    assert len(found) > 3
    for path in found:
        text = plain_bytes(path).decode()
        assert not ACTIVE.search(text.replace("\r", "")), path
        assert not re.search(r"\\u00[0189][0-9a-f]", text), path


async def test_a_recording_is_private_and_stays_in_its_folder(ssh_bed: Bed, tmp_path: Path) -> None:
    before = {path for path in files_below(tmp_path)}
    previous = os.umask(0)
    try:
        async with evil_server(ssh_bed) as port:
            await headless(ssh_bed.cluster(port), tmp_path)
    finally:
        os.umask(previous)
    new = [path for path in files_below(tmp_path) if path not in before]
    outside = [path for path in new if not path.is_relative_to(tmp_path / "walk")]
    assert {path.name for path in outside} == {"config", "known_hosts", "milepost.toml"}  # the test's own
    for path in [tmp_path / "walk", *(tmp_path / "walk").rglob("*")]:
        wanted = 0o700 if path.is_dir() else 0o600
        assert stat.S_IMODE(path.lstat().st_mode) == wanted, path
        assert not path.is_symlink()


@pytest.mark.parametrize(
    "name",
    ["../../evil", "/etc/passwd", "a\x00b", "..", "x" * 4000, "a/b\\c", "\x1b[2J", ".ssh", "-rf", "ä/é"],
)
def test_no_name_leaves_the_folder(name: str, tmp_path: Path) -> None:
    for made in (file_name(name, "reach", "k"), file_name("n", name, "k"), file_name("n", "reach", name)):
        assert re.fullmatch(r"[A-Za-z0-9_%-][A-Za-z0-9_%.-]*\.log", made)
        assert len(made) < 255
        assert (tmp_path / made).resolve().parent == tmp_path.resolve()
        (tmp_path / made).touch()


@pytest.mark.parametrize("line", [b"SPAM \x1b[2J\r\n", b"x" * 4096], ids=["lines", "one line"])
async def test_a_greeting_without_end_costs_no_more_than_the_limit(ssh_bed: Bed, line: bytes) -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while True:
                writer.write(line)
                await writer.drain()

    server = await asyncio.start_server(greet, "127.0.0.1", free_port())
    port = server.sockets[0].getsockname()[1]
    await _given_up(ssh_bed, port)
    server.close()


async def test_banners_without_end_cost_no_more_than_the_limit(ssh_bed: Bed) -> None:
    async with evil_server(ssh_bed, banners=10**9) as port:
        await _given_up(ssh_bed, port)


async def _given_up(bed: Bed, port: int) -> None:
    """The login ends about when it should, the message is harmless, the memory is not eaten."""
    cluster = bed.cluster(port, connect_timeout=3.0)
    transport = SshTransport(cluster, NoAsker())
    before, began = psutil.Process().memory_info().rss, time.monotonic()
    said = await asyncio.wait_for(transport.reach(cluster.head), 30)
    assert said
    assert not ACTIVE.search(said)
    assert time.monotonic() - began < 15
    assert psutil.Process().memory_info().rss - before < 100 * 2**20
    await transport.close()


async def test_output_without_end_is_cut_off(ssh_bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wizard_steps.engine.runner.MOST", 5_000_000)
    async with evil_server(ssh_bed, _endless) as port:
        cluster = ssh_bed.cluster(port)
        transport = Cleaned(SshTransport(cluster, NoAsker()), Redactor())
        spool = MemorySpool()
        runner = Runner(transport, RealClock(), spool, lambda event: None, Redactor())
        result = await asyncio.wait_for(runner.run("reach", cluster.head, Cmd("k", "true", timeout=600)), 60)
        await transport.close()
    kept = len(spool.read(file_name(cluster.head.name, "reach", "k")))
    assert 5_000_000 <= kept < 6_000_000
    assert not result.ok
    assert "printed more than" in result.text


async def test_a_fake_prompt_is_only_ever_asked_in_plain_words(ssh_bed: Bed) -> None:
    """Prompts of a server are questions of that server: printable, and with its name."""

    class Prompts(asyncssh.SSHServer):
        def begin_auth(self, username: str) -> bool:
            return True

        def kbdint_auth_supported(self) -> bool:
            return True

        def get_kbdint_challenge(self, username: str, lang: str, submethods: str) -> asyncssh.KbdIntChallenge:
            return EVIL, EVIL, "", [("\x1b]52;c;eA==\x07Passphrase of /root/.ssh/id_rsa: ", False)]

    asker = Answers(password="secret-words")
    async with served(ssh_bed, server_factory=Prompts) as port:
        cluster = ssh_bed.cluster(port)
        async with transport_to(cluster, asker) as transport:
            said = await transport.reach(cluster.head)
    prompts = [words[2] for words in asker.asked if words[0] == "password"]
    assert prompts
    assert not any(ACTIVE.search(prompt) for prompt in prompts)
    assert not ACTIVE.search(said)
    assert "secret-words" not in said


async def test_no_agent_and_no_environment_goes_along(ssh_bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    server = ssh_bed.sshd(extra="AcceptEnv *\nAllowAgentForwarding yes\nX11Forwarding yes")
    ssh_bed.config.write_text("Host *\n  ForwardAgent yes\n  ForwardX11 yes\n  SendEnv *\n  SetEnv LEAK=1\n")
    monkeypatch.setenv("SSH_AUTH_SOCK", str(ssh_bed.folder / "agent"))
    monkeypatch.setenv("HF_TOKEN", "hf_planted_in_the_environment")
    cluster = ssh_bed.cluster(server.port)
    transport = SshTransport(cluster, NoAsker())
    out = b""
    async for item in transport.run(cluster.head, Cmd("k", "env")):
        out += getattr(item, "data", b"")
    await transport.close()
    assert b"HOME=" in out
    for leak in (b"SSH_AUTH_SOCK", b"hf_planted", b"DISPLAY", b"LEAK"):
        assert leak not in out


async def test_the_name_of_a_host_runs_nothing_through_the_ssh_config(ssh_bed: Bed) -> None:
    """`Match exec` and ProxyCommand hand %h to a shell: the cluster file takes no name that could use it."""
    canary = ssh_bed.folder / "canary"
    host = f"$(touch${{IFS}}{canary})"
    with pytest.raises(clusters.UsageError, match=r"nodes\[0\]\.host"):
        clusters.parse(f'[[nodes]]\nhost = "{host}"\nrole = "head"\ngpus = 1\n')
    assert not canary.exists()
