"""Real SSH servers on loopback for tests: OpenSSH's sshd, and asyncssh where sshd cannot do the case."""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import asyncssh
import psutil
import pytest

from wizard_steps.cluster import Cluster, NodeEntry, Ssh
from wizard_steps.model import Chunk, Cmd, Exit, Node
from wizard_steps.transport.base import Transport

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
needs_sshd = pytest.mark.skipif(
    SSHD is None or shutil.which("ssh-keygen") is None,
    reason="needs OpenSSH's sshd and ssh-keygen (Debian: openssh-server, openssh-client)",
)
USER = getpass.getuser()

CONFIG = """\
ListenAddress 127.0.0.1
Port {port}
HostKey {host_key}
PidFile none
AuthorizedKeysFile {authorized}
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
PrintMotd no
MaxStartups 100
LogLevel VERBOSE
{extra}
"""


def sh(*command: str) -> subprocess.CompletedProcess[str]:
    """Run a helper program to its end."""
    return subprocess.run(command, check=True, capture_output=True, text=True, stdin=subprocess.DEVNULL)


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def keygen(path: Path, passphrase: str = "", kind: str = "ed25519") -> Path:
    size = ["-b", "2048"] if kind == "rsa" else []
    sh("ssh-keygen", "-q", "-t", kind, *size, "-N", passphrase, "-C", path.name, "-f", str(path))
    return path


@dataclass
class Sshd:
    """One running sshd: its port, keys and log."""

    folder: Path
    port: int
    extra: str = ""
    process: subprocess.Popen[bytes] | None = None

    @property
    def host_key(self) -> Path:
        return self.folder / "host_key"

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    @property
    def logins(self) -> int:
        """Accepted logins so far: one a connection."""
        return self.log.count("Accepted publickey for ")

    def public_host_key(self) -> str:
        return " ".join(self.host_key.with_suffix(".pub").read_text().split()[:2])

    def start(self) -> None:
        assert SSHD is not None
        config = self.folder / "sshd_config"
        config.write_text(
            CONFIG.format(
                port=self.port,
                host_key=self.host_key,
                authorized=self.folder / "authorized_keys",
                extra=self.extra,
            )
        )
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [SSHD, "-D", "-e", "-f", str(config)], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        wait_for(lambda: listens(self.port), f"sshd on port {self.port}")

    def sessions(self) -> list[int]:
        """The pids of the processes that serve connections."""
        assert self.process is not None
        return [child.pid for child in psutil.Process(self.process.pid).children()]

    def cut(self) -> None:
        """End every connection as a crash would; the listener stays."""
        assert self.process is not None
        for child in psutil.Process(self.process.pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if "sshd" in child.name():
                    child.kill()

    def stop(self) -> None:
        if self.process is not None:
            self.cut()
            self.process.kill()
            self.process.wait()
            self.process = None


def listens(port: int) -> bool:
    with socket.socket() as sock:
        sock.settimeout(1)
        return sock.connect_ex(("127.0.0.1", port)) == 0


def wait_for(condition: Callable[[], bool], what: str, seconds: float = 10) -> None:
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            raise AssertionError(f"{what}: not within {seconds} s")
        time.sleep(0.02)


async def soon(condition: Callable[[], bool], what: str, seconds: float = 5) -> None:
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            raise AssertionError(f"{what}: not within {seconds} s")
        await asyncio.sleep(0.02)


def alive(pid: int) -> bool:
    """Whether a process runs (a zombie does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


@dataclass
class Bed:
    """A folder with user keys, known_hosts and ssh config, and the sshd servers made in it."""

    folder: Path
    servers: list[Sshd] = field(default_factory=list)
    user_key: Path = Path()

    @property
    def known_hosts(self) -> Path:
        return self.folder / "known_hosts"

    @property
    def config(self) -> Path:
        return self.folder / "config"

    def sshd(self, extra: str = "", known: bool = True) -> Sshd:
        """A new server that takes the bed's user key; ``known`` puts its host key on record."""
        folder = self.folder / f"sshd{len(self.servers)}"
        folder.mkdir()
        keygen(folder / "host_key")
        shutil.copy(self.user_key.with_suffix(".pub"), folder / "authorized_keys")
        server = Sshd(folder, free_port(), extra)
        self.servers.append(server)
        server.start()
        if known:
            self.know(server.port, server.public_host_key())
        return server

    def know(self, port: int, key: str, host: str = "127.0.0.1") -> None:
        with self.known_hosts.open("a") as file:
            file.write(f"[{host}]:{port} {key}\n")

    def cluster(self, *ports: int, **ssh: object) -> Cluster:
        """A cluster file whose nodes n0, n1, … are 127.0.0.1 on these ports. ``ssh``: fields of [ssh]."""
        self.config.touch()
        fields: dict[str, object] = {
            "config": str(self.config),
            "known_hosts": str(self.known_hosts),
            "identity": (str(self.user_key),),
            "connect_timeout": 5.0,
            **ssh,
        }
        nodes = tuple(
            NodeEntry(host="127.0.0.1", gpus=8, name=f"n{n}", port=port, role="head" if n == 0 else "worker")
            for n, port in enumerate(ports or (22,))
        )
        return Cluster(nodes=nodes, ssh=Ssh(**fields))  # type: ignore[arg-type]


@pytest.fixture(name="ssh_bed")
def bed_fixture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bed]:
    """No agent, no home of the real user: only what is in the folder."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    made = Bed(tmp_path)
    made.user_key = keygen(tmp_path / "user_key")
    yield made
    for server in made.servers:
        server.stop()


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


class _PasswordServer(asyncssh.SSHServer):
    """Takes one password, by "password" or by keyboard-interactive."""

    password = "correct horse"
    methods = ("password",)

    def begin_auth(self, username: str) -> bool:
        return True

    def password_auth_supported(self) -> bool:
        return "password" in self.methods

    def validate_password(self, username: str, password: str) -> bool:
        return password == self.password

    def kbdint_auth_supported(self) -> bool:
        return "keyboard-interactive" in self.methods

    def get_kbdint_challenge(self, username: str, lang: str, submethods: str) -> asyncssh.KbdIntChallenge:
        if "one prompt" in self.methods:
            return "", "", "", [("Password: ", False)]
        return "Two\x1b[31m steps", "Answer both.", "", [("Password: ", False), ("One-time code: ", False)]

    def validate_kbdint_response(self, username: str, responses: asyncssh.KbdIntResponse) -> bool:
        return list(responses) == [self.password, "123456"][: 1 if "one prompt" in self.methods else 2]

    def connection_requested(self, *args: object) -> bool:
        return True


async def _serve(process: asyncssh.SSHServerProcess[bytes]) -> None:
    """Run the requested command with its standard input, as OpenSSH does, but in the server's own group."""
    child = subprocess.Popen(  # noqa: ASYNC220  # asyncssh wants real pipes
        ["/bin/sh", "-c", process.command or "exit 99"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,  # asyncssh would take the end of stderr for the end of all output
    )
    try:
        await process.redirect(stdin=child.stdin, stdout=child.stdout)
        code = await asyncio.to_thread(child.wait)
        with contextlib.suppress(TimeoutError):  # somebody may still hold the pipes
            await asyncio.wait_for(process.stdout.drain(), 1)
        if code < 0:
            process.exit_with_signal(_name(-code))
        else:
            process.exit(code)
    finally:
        await process.wait_closed()


def _name(number: int) -> str:
    return signal.Signals(number).name.removeprefix("SIG")


@contextlib.asynccontextmanager
async def asyncssh_server(*methods: str) -> AsyncIterator[tuple[int, str]]:
    """An asyncssh server: its port and its public host key."""
    key = asyncssh.generate_private_key("ssh-ed25519")
    kind = type("Server", (_PasswordServer,), {"methods": methods or ("password",)})
    server = await asyncssh.listen(
        "127.0.0.1", 0, server_factory=kind, server_host_keys=[key], process_factory=_serve, encoding=None
    )
    try:
        yield server.get_port(), key.export_public_key("openssh").decode().strip()
    finally:
        server.close()
        await server.wait_closed()
