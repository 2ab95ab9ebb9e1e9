"""What the ssh config and the cluster file say about one host, as asyncssh's options."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import asyncssh
from asyncssh.encryption import get_default_encryption_algs
from asyncssh.public_key import get_default_certificate_algs, get_default_public_key_algs
from msgspec import Struct

from wizard_steps.cluster.file import Ssh
from wizard_steps.transport.ssh_errors import Unreachable
from wizard_steps.transport.ssh_hosts import KnownHosts
from wizard_steps.transport.ssh_keys import Wanted, agent_path, default_files
from wizard_steps.transport.ssh_login import Login

DEFAULT_CONFIG = "~/.ssh/config"
GLOBAL_KNOWN_HOSTS = "/etc/ssh/ssh_known_hosts"


class Target(Struct, frozen=True):
    """A host to log in to, as the cluster file or a ProxyJump names it. Empty fields: the config decides."""

    host: str
    user: str = ""
    port: int = 0
    #: The jump hosts before this one, comma separated; None: what the ssh config says.
    via: str | None = None


def config_files(ssh: Ssh) -> list[str]:
    """The ssh config to read. Raises ValueError when one that was asked for is not there."""
    path = Path(ssh.config).expanduser()
    if ssh.config == DEFAULT_CONFIG and not path.exists():
        return []
    if not path.is_file():
        raise ValueError(f"{path}: no such file (ssh.config in the cluster file)")
    return [str(path)]


def known_hosts(settings: asyncssh.SSHClientConnectionOptions, ssh: Ssh) -> KnownHosts:
    """The cluster file's known_hosts; those of the ssh config and of the machine are read as well."""
    config = settings.config
    user: Any = config.get("UserKnownHostsFile", ()) or ()
    machine: Any = config.get("GlobalKnownHostsFile", (GLOBAL_KNOWN_HOSTS,)) or ()
    also = [Path(str(name)).expanduser() for name in (*user, *machine)]
    return KnownHosts(Path(ssh.known_hosts).expanduser(), also)


def wanted_keys(settings: asyncssh.SSHClientConnectionOptions, ssh: Ssh, jump: bool) -> Wanted:
    """For a node the cluster file's identities replace those of the ssh config; a jump host takes both."""
    config = settings.config
    given = tuple(Path(name).expanduser() for name in ssh.identity)
    configured: Any = config.get("IdentityFile", ()) or ()
    listed = tuple(Path(str(name)).expanduser() for name in configured)
    files = given if given and not jump else tuple(dict.fromkeys((*given, *listed)))
    certificates: Any = config.get("CertificateFile", ()) or ()
    identity_agent: Any = config.get("IdentityAgent", "")
    return Wanted(
        files=files or default_files(),
        explicit=bool(files),
        only_these=bool(config.get("IdentitiesOnly")),
        certificates=tuple(str(Path(str(name)).expanduser()) for name in certificates),
        agent=agent_path(identity_agent, given=identity_agent != ""),
    )


def parse_hop(text: str) -> Target:
    """One host of a ProxyJump: ``[user@]host[:port]``, ``[user@][ipv6]:port`` or ``ssh://…``."""
    match = re.fullmatch(
        r"(?:ssh://)?(?:(?P<user>.+)@)?(?:\[(?P<six>[^\]]+)\]|(?P<host>[^:@\[\]]+|[^@\[\]]*:[^@\[\]]*:[^@\[\]]*))"
        r"(?::(?P<port>\d+))?/?",
        text.strip(),
    )
    if match is None:
        raise Unreachable(f"The ssh config's ProxyJump {text!r} is not [user@]host[:port].")
    host = match["six"] or match["host"]
    return Target(host, match["user"] or "", int(match["port"] or 0))


def overrides(target: Target) -> dict[str, Any]:
    """What the cluster file sets; the ssh config decides the rest."""
    named: dict[str, Any] = {}
    if target.user:
        named["username"] = target.user
    if target.port:
        named["port"] = target.port
    return named


def login_options(
    settings: asyncssh.SSHClientConnectionOptions, hosts: KnownHosts, login: Login, ssh: Ssh
) -> dict[str, Any]:
    """Options of asyncssh.connect. Its own limits are off: ssh_connect times what no person is asked for."""
    options: dict[str, Any] = {
        "client_factory": lambda: login,
        "known_hosts": login.known,
        "client_keys": None,
        "agent_path": None,
        "agent_forwarding": False,
        "x11_forwarding": False,
        "connect_timeout": None,
        "login_timeout": 0,
        "keepalive_interval": ssh.keepalive,
    }
    if not settings.config.get("HostKeyAlgorithms"):
        options["server_host_key_algs"] = _host_key_algorithms(settings, hosts)
    if not settings.config.get("Ciphers"):
        options["encryption_algs"] = _ciphers()
    return options


def _ciphers() -> list[str]:
    """AES-GCM first: asyncssh's chacha20 takes far more processor time, which counts over many hosts."""
    names = [name.decode() for name in get_default_encryption_algs()]
    return sorted(names, key=lambda name: "gcm" not in name)


def _host_key_algorithms(settings: asyncssh.SSHClientConnectionOptions, hosts: KnownHosts) -> list[str]:
    """Types on record first, so that a host with several keys shows the known one; then all the others."""
    name = settings.host_key_alias or settings.host
    keys = hosts.look(name, settings.port)
    known = [name for key in keys.trusted for name in key.sig_algorithms]
    certificates = get_default_certificate_algs() if keys.authorities else []
    ordered = dict.fromkeys([*certificates, *known, *get_default_public_key_algs()])
    return [algorithm.decode() for algorithm in ordered]
