"""What the ssh config and the cluster file say about one host, as asyncssh's options."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from asyncssh.compression import get_compression_algs
from asyncssh.encryption import get_default_encryption_algs, get_encryption_algs
from asyncssh.kex import get_kex_algs
from asyncssh.mac import get_mac_algs
from asyncssh.public_key import (
    get_certificate_algs,
    get_default_certificate_algs,
    get_default_public_key_algs,
    get_public_key_algs,
)

from wizard_steps.cluster.address import address
from wizard_steps.cluster.file import Ssh
from wizard_steps.transport.ssh_config import Settings, Target, tilde
from wizard_steps.transport.ssh_errors import Unreachable
from wizard_steps.transport.ssh_hosts import KnownHosts
from wizard_steps.transport.ssh_keys import WantedKey, agent_path, default_files
from wizard_steps.transport.ssh_login import Login

DEFAULT_KNOWN_HOSTS = "~/.ssh/known_hosts"
GLOBAL_KNOWN_HOSTS = "/etc/ssh/ssh_known_hosts"
#: Names of key exchange and so on, as asyncssh gives them.
Names = Callable[[], Sequence[bytes]]


def known_hosts(settings: Settings, ssh: Ssh) -> KnownHosts:
    """Where host keys are looked up. A new one is added to the cluster file's known_hosts, or as ssh does it
    to the first UserKnownHostsFile, unless that is /dev/null."""
    user = _paths(settings, "UserKnownHostsFile")
    machine = _paths(settings, "GlobalKnownHostsFile") or [Path(GLOBAL_KNOWN_HOSTS)]
    own = Path(ssh.known_hosts).expanduser()
    kept = [path for path in user if path != Path("/dev/null")]
    first = kept[0] if kept and ssh.known_hosts == DEFAULT_KNOWN_HOSTS else own
    return KnownHosts(first, [*kept, *machine])


def _paths(settings: Settings, name: str) -> list[Path]:
    """ssh -G prints several paths on one line, without quotes: each begins with ``/`` or ``~``."""
    words: list[str] = []
    for value in settings.all(name):
        for word in value.split(" "):
            if word.startswith(("/", "~")) or not words:
                words.append(word)
            else:
                words[-1] += f" {word}"
    return [Path(tilde(word)) for word in words]


def wanted_keys(settings: Settings, ssh: Ssh, jump: bool) -> WantedKey:
    """For a node the cluster file's identities replace those of the ssh config; a jump host takes both."""
    given = tuple(Path(name).expanduser() for name in ssh.identity)
    listed = tuple(Path(name) for name in settings.all("IdentityFile") if name.lower() != "none")
    files = given if given and not jump else tuple(dict.fromkeys((*given, *listed)))
    identity_agent = settings.one("IdentityAgent")
    off = settings.is_none("IdentityAgent")
    no_files = settings.is_none("IdentityFile") and not given
    return WantedKey(
        files=files or (() if no_files else default_files()),
        explicit=bool(files),
        only_these=settings.yes("IdentitiesOnly", False),
        certificates=settings.all("CertificateFile"),
        agent=agent_path(None if off else identity_agent, given=off or bool(identity_agent)),
    )


def parse_hop(text: str) -> Target:
    """One host of a ProxyJump: ``[user@]host[:port]``, ``[user@][ipv6]:port`` or ``ssh://…``."""
    hop = address(text)
    if hop is None:
        raise Unreachable(f"The ssh config's ProxyJump {text!r} is not [user@]host[:port].")
    return Target(hop.host, hop.user, hop.port)


def login_options(settings: Settings, hosts: KnownHosts, login: Login, ssh: Ssh) -> dict[str, Any]:
    """Options of asyncssh.connect. Its own limits are off: ssh_connect times what no person is asked for.

    Raises ValueError when the config allows only algorithms that asyncssh does not have.
    """
    options: dict[str, Any] = {
        "config": None,
        "port": settings.port,
        "username": settings.user,
        "client_factory": lambda: login,
        "known_hosts": login.known,
        "host_key_alias": settings.one("HostKeyAlias") or None,
        "client_keys": None,
        "agent_path": None,
        "agent_forwarding": False,
        "x11_forwarding": False,
        "connect_timeout": None,
        "login_timeout": 0,
        "keepalive_interval": ssh.keepalive,
        "tcp_keepalive": settings.yes("TCPKeepAlive", True),
        "public_key_auth": settings.yes("PubkeyAuthentication", True),
        "password_auth": settings.yes("PasswordAuthentication", True),
        "kbdint_auth": settings.yes("KbdInteractiveAuthentication", True),
        "server_host_key_algs": _host_key_algorithms(settings, hosts),
        "encryption_algs": _algorithms(settings, "Ciphers", get_encryption_algs) or _ciphers(),
    }
    for option, name, known in (
        ("kex_algs", "KexAlgorithms", get_kex_algs),
        ("mac_algs", "MACs", get_mac_algs),
    ):
        if names := _algorithms(settings, name, known):
            options[option] = names
    if settings.yes("Compression", False):
        options["compression_algs"] = [name.decode() for name in reversed(get_compression_algs())]
    if order := settings.one("PreferredAuthentications"):
        options["preferred_auth"] = order.split(",")
    return {**options, **_way(settings)}


def _way(settings: Settings) -> dict[str, Any]:
    """How the packets get there: address family, own address, ProxyCommand."""
    way: dict[str, Any] = {}
    family = {"inet": socket.AF_INET, "inet6": socket.AF_INET6}.get(settings.one("AddressFamily"))
    if family is not None:
        way["family"] = family
    if address := settings.one("BindAddress"):
        way["local_addr"] = (address, 0)
    if command := settings.one("ProxyCommand"):
        # ssh hands it to a shell. The shell stays: asyncssh takes a standard error that ends, as with
        # ``2>/dev/null``, for the end of the connection.
        way["proxy_command"] = ["/bin/sh", "-c", f"{command}\nexit $?"]
    return way


def _algorithms(settings: Settings, name: str, known: Names) -> list[str]:
    """The configured algorithms that asyncssh has, in the config's order; empty when none is configured."""
    wanted = settings.one(name)
    if not wanted:
        return []
    ours = {algorithm.decode() for algorithm in known()}
    names = [algorithm for algorithm in wanted.split(",") if algorithm in ours]
    if not names:
        raise ValueError(f"{name} {wanted}: milepost's SSH library (asyncssh) has none of these")
    return names


def _ciphers() -> list[str]:
    """AES-GCM first: asyncssh's chacha20 takes far more processor time, which counts over many hosts."""
    names = [name.decode() for name in get_default_encryption_algs()]
    return sorted(names, key=lambda name: "gcm" not in name)


def _host_key_types() -> list[bytes]:
    return [*get_certificate_algs(), *get_public_key_algs()]


def _host_key_algorithms(settings: Settings, hosts: KnownHosts) -> list[str]:
    """Types on record first, so that a host with several keys shows the known one; then all the others."""
    if configured := _algorithms(settings, "HostKeyAlgorithms", _host_key_types):
        return configured
    name = settings.one("HostKeyAlias") or settings.host
    keys = hosts.look(name, settings.port)
    known = [name for key in keys.trusted for name in key.sig_algorithms]
    certificates = get_default_certificate_algs() if keys.authorities else []
    ordered = dict.fromkeys([*certificates, *known, *get_default_public_key_algs()])
    return [algorithm.decode() for algorithm in ordered]
