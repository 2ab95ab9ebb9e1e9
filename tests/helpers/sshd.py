"""OpenSSH's sshd on loopback for tests, and the folder of keys, known_hosts and ssh config around it."""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import socket
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from tests.helpers.waiting import listens, wait_for
from wizard_steps.cluster.file import Cluster, NodeEntry, Ssh

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
