"""Connections to nodes: one each, shared by all commands, through jump hosts where the ssh config says so."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import asyncssh
from asyncssh.public_key import get_default_certificate_algs, get_default_public_key_algs
from msgspec import Struct

from wizard_steps.cluster import Ssh
from wizard_steps.model import Node
from wizard_steps.transport import ssh_errors as errors
from wizard_steps.transport.ssh_ask import Asker
from wizard_steps.transport.ssh_errors import Place, Unreachable
from wizard_steps.transport.ssh_hosts import SSH_PORT, KnownHosts
from wizard_steps.transport.ssh_keys import KeyRing, Wanted, agent_path, default_files
from wizard_steps.transport.ssh_login import Limit, Login, OneAtATime

#: Rounds of one login: a host key that gets accepted and a server that hung up meanwhile cost one each.
ROUNDS = 4
DEFAULT_CONFIG = "~/.ssh/config"
GLOBAL_KNOWN_HOSTS = "/etc/ssh/ssh_known_hosts"

Connection = asyncssh.SSHClientConnection


class Target(Struct, frozen=True):
    """A host to log in to, as the cluster file or a ProxyJump names it. Empty fields: the config decides."""

    host: str
    user: str = ""
    port: int = 0
    #: The jump hosts before this one, comma separated; None: what the ssh config says.
    via: str | None = None


#: The targets whose jump hosts are being reached, outermost first.
Route = tuple[Target, ...]


class _Link:
    """A connection, or the attempt at one, and how many commands wait for it."""

    def __init__(self, task: asyncio.Task[Connection]) -> None:
        self.task = task
        self.waiting = 0


class Connector:
    """Keeps one live connection a target. Raises Unreachable or HostKeyChanged."""

    def __init__(self, ssh: Ssh, asker: Asker) -> None:
        self._ssh = ssh
        self._asking = OneAtATime(asker)
        self._slots = asyncio.Semaphore(ssh.limit)
        self._ring = KeyRing(self._ask_passphrase)
        self._passwords: dict[str, str] = {}
        self._links: dict[Target, _Link] = {}
        self._agents: dict[str, asyncssh.SSHAgentClient] = {}

    async def connection(self, node: Node) -> Connection:
        """The node's connection; made when there is none that lives."""
        return await self._get(node, Target(node.host, node.user, node.port), ())

    async def drop(self, node: Node) -> None:
        """Forget the node's connection: the next command makes a new one."""
        link = self._links.pop(Target(node.host, node.user, node.port), None)
        if link is not None:
            await _end(link)

    async def close(self) -> None:
        links, self._links = list(self._links.values()), {}
        await asyncio.gather(*(_end(link) for link in reversed(links)))
        agents, self._agents = list(self._agents.values()), {}
        for agent in agents:
            agent.close()

    async def _get(self, node: Node, target: Target, route: Route) -> Connection:
        link = self._links.get(target)
        if link is None or (link.task.done() and not _alive(link.task)):
            link = _Link(asyncio.create_task(self._open(node, target, route)))
            self._links[target] = link
        link.waiting += 1
        try:
            return await asyncio.shield(link.task)
        finally:
            link.waiting -= 1
            if not link.waiting and not link.task.done():
                link.task.cancel()
                if self._links.get(target) is link:
                    del self._links[target]

    async def _open(self, node: Node, target: Target, route: Route) -> Connection:
        try:
            settings = await self._settings(target)
        except (ValueError, OSError) as error:
            place = Place(target.host, target.host, target.port or SSH_PORT, target.user or "you")
            raise errors.explain(error, place, self._ssh) from None
        via = settings.tunnel if isinstance(settings.tunnel, str) else ""
        if target.via is not None:
            via = target.via
        place = Place(target.host, settings.host, settings.port, settings.username, via)
        tunnel = await self._jump(node, target, via, route) if via else None
        async with self._slots:
            return await self._login(node, target, settings, place, tunnel, jump=bool(route))

    async def _settings(self, target: Target) -> asyncssh.SSHClientConnectionOptions:
        """What the ssh config says about the target. Raises ValueError or OSError when it cannot be read."""
        settings: asyncssh.SSHClientConnectionOptions = await asyncssh.SSHClientConnectionOptions.construct(
            host=target.host, config=self._config(), client_keys=None, **_overrides(target)
        )
        return settings

    def _config(self) -> list[str]:
        path = Path(self._ssh.config).expanduser()
        if self._ssh.config == DEFAULT_CONFIG and not path.exists():
            return []
        if not path.is_file():
            raise ValueError(f"{path}: no such file (ssh.config in the cluster file)")
        return [str(path)]

    async def _jump(self, node: Node, target: Target, via: str, route: Route) -> Connection | None:
        """The connection to the last jump host of ``via``."""
        *before, last = via.split(",")
        hop = parse_hop(last)
        own = target.via is None and not before and hop.port in (0, target.port)
        if own and hop.host == target.host:
            return None  # a ProxyJump under "Host *" also matches the jump host itself
        jump = Target(hop.host, hop.user, hop.port, ",".join(before) or None)
        route = (*route, target)
        if jump in route:
            raise Unreachable(f"ProxyJump of {target.host} goes in circles. Check {self._ssh.config}.")
        return await self._get(node, jump, route)

    async def _login(
        self,
        node: Node,
        target: Target,
        settings: asyncssh.SSHClientConnectionOptions,
        place: Place,
        tunnel: Connection | None,
        jump: bool,
    ) -> Connection:
        hosts = self._known_hosts(settings)
        wanted = self._wanted(settings, jump)
        for _ in range(ROUNDS):
            notes: list[str] = []
            limit = Limit(self._ssh.connect_timeout)
            offers = await self._ring.offers(node, wanted, self._agent(wanted.agent), notes)
            who = f"{place.user}@{place.host}:{place.port}"
            login = Login(node, hosts, offers, self._asking, limit, self._passwords, who)
            options = _options(settings, hosts, login, self._ssh)
            try:
                async with limit:
                    return await asyncssh.connect(
                        target.host, config=self._config(), tunnel=tunnel, **_overrides(target), **options
                    )
            except asyncssh.HostKeyNotVerifiable as error:
                if login.shown is None:
                    raise self._not_verifiable(error, place, hosts) from None
                await self._unknown_key(node, settings, place, hosts, login)
            except asyncssh.PermissionDenied:
                raise errors.refused_login(
                    place, self._ssh, login.methods, login.tried, notes, login.empty_handed
                ) from None
            except (asyncssh.Error, OSError, ValueError) as error:
                # The server may hang up while a person types; the password is remembered by now.
                if login.asked and isinstance(error, asyncssh.DisconnectError):
                    login.asked = False
                    continue
                raise errors.explain(error, place, self._ssh) from None
        raise Unreachable(f"{place} hangs up again and again during the login. Its log says why.")

    def _not_verifiable(
        self, error: asyncssh.HostKeyNotVerifiable, place: Place, hosts: KnownHosts
    ) -> Unreachable:
        if "revoked" in error.reason:
            return errors.revoked(place, hosts.files)
        return Unreachable(f"The host key of {place} cannot be verified: {error.reason}.")

    async def _unknown_key(
        self,
        node: Node,
        settings: asyncssh.SSHClientConnectionOptions,
        place: Place,
        hosts: KnownHosts,
        login: Login,
    ) -> None:
        """Ask about a key that is not on record and record it. Raises for a changed or refused one."""
        key = login.shown
        assert key is not None
        name, port = login.verified_name
        if settings.host_key_alias:
            port = SSH_PORT  # OpenSSH records an alias without a port
        async with self._asking.turn() as asker:
            if key in hosts.look(name, port).trusted:
                return  # accepted for another node with the same address meanwhile
            records = hosts.records(name, port)
            if records:
                raise errors.changed(place, name, port, records, key)
            kind, fingerprint = key.get_algorithm(), key.get_fingerprint("sha256")
            if not await asker.host_key(node, place.host, place.port, kind, fingerprint):
                raise errors.untrusted(place, self._ssh, key)
            try:
                hosts.add(name, port, key)
            except OSError as error:
                raise Unreachable(
                    f"The host key of {place} was accepted but cannot be recorded in {hosts.path}: "
                    f"{error.strerror}. Make that file writable, or set ssh.known_hosts in the cluster file."
                ) from None

    def _known_hosts(self, settings: asyncssh.SSHClientConnectionOptions) -> KnownHosts:
        config = settings.config
        user: Any = config.get("UserKnownHostsFile", ()) or ()
        machine: Any = config.get("GlobalKnownHostsFile", (GLOBAL_KNOWN_HOSTS,)) or ()
        also = [Path(str(name)).expanduser() for name in (*user, *machine)]
        return KnownHosts(Path(self._ssh.known_hosts).expanduser(), also)

    def _wanted(self, settings: asyncssh.SSHClientConnectionOptions, jump: bool) -> Wanted:
        config = settings.config
        given = tuple(Path(name).expanduser() for name in self._ssh.identity)
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

    def _agent(self, path: str) -> asyncssh.SSHAgentClient | None:
        if not path:
            return None
        if path not in self._agents:
            self._agents[path] = asyncssh.SSHAgentClient(path)
        return self._agents[path]

    async def _ask_passphrase(self, node: Node, path: str) -> str | None:
        async with self._asking.turn() as asker:
            return await asker.passphrase(node, path)


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


def _overrides(target: Target) -> dict[str, Any]:
    """What the cluster file sets; the ssh config decides the rest."""
    named: dict[str, Any] = {}
    if target.user:
        named["username"] = target.user
    if target.port:
        named["port"] = target.port
    return named


def _options(
    settings: asyncssh.SSHClientConnectionOptions, hosts: KnownHosts, login: Login, ssh: Ssh
) -> dict[str, Any]:
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
    return options


def _host_key_algorithms(settings: asyncssh.SSHClientConnectionOptions, hosts: KnownHosts) -> list[str]:
    """Types on record first, so that a host with several keys shows the known one; then all the others."""
    name = settings.host_key_alias or settings.host
    keys = hosts.look(name, settings.port)
    known = [name for key in keys.trusted for name in key.sig_algorithms]
    certificates = get_default_certificate_algs() if keys.authorities else []
    ordered = dict.fromkeys([*certificates, *known, *get_default_public_key_algs()])
    return [algorithm.decode() for algorithm in ordered]


def _alive(task: asyncio.Task[Connection]) -> bool:
    if task.cancelled() or task.exception() is not None:
        return False
    return not task.result().is_closed()


async def _end(link: _Link) -> None:
    if not link.task.done():
        link.task.cancel()
        await asyncio.wait([link.task])
    if not link.task.cancelled() and link.task.exception() is None:
        connection = link.task.result()
        connection.abort()
        await connection.wait_closed()
