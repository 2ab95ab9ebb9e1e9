"""Connections to nodes: one each, shared by all commands, through jump hosts where the ssh config says so."""

from __future__ import annotations

import asyncio
import re

import asyncssh

from wizard_steps.cluster.file import Ssh
from wizard_steps.model import Node
from wizard_steps.transport import ssh_errors as errors
from wizard_steps.transport.ssh_ask import Asker
from wizard_steps.transport.ssh_config import Settings, Target, read
from wizard_steps.transport.ssh_errors import HopPlace, Unreachable
from wizard_steps.transport.ssh_hosts import SSH_PORT, KnownHosts
from wizard_steps.transport.ssh_keys import KeyRing
from wizard_steps.transport.ssh_login import Limit, Login, OneAtATime
from wizard_steps.transport.ssh_options import known_hosts, login_options, parse_hop, wanted_keys
from wizard_steps.transport.ssh_unfollowed import KERBEROS, strict, unfollowed, uses_kerberos

#: Rounds of one login: a host key that gets accepted and a server that hung up meanwhile cost one each.
ROUNDS = 4

Connection = asyncssh.SSHClientConnection

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
        self._retired: list[_Link] = []
        self._agents: dict[str, asyncssh.SSHAgentClient] = {}
        self._notes: dict[Target, tuple[str, ...]] = {}

    async def connection(self, node: Node) -> Connection:
        """The node's connection; made when there is none that lives."""
        return await self._get(node, Target(node.host, node.user, node.port), ())

    def notes(self, node: Node) -> tuple[str, ...]:
        """What a person should know of how the ssh config was read for this node."""
        return self._notes.get(Target(node.host, node.user, node.port), ())

    def replace(self, node: Node, connection: Connection) -> None:
        """Have the next command make a new connection.

        This one is not closed: it may only be slow, and other commands may be running on it. One that is
        dead goes when its keepalives stay unanswered.
        """
        target = Target(node.host, node.user, node.port)
        link = self._links.get(target)
        if link is not None and link.task.done() and _alive(link.task) and link.task.result() is connection:
            self._retired.append(self._links.pop(target))

    async def close(self) -> None:
        links, self._links = [*self._links.values(), *self._retired], {}
        self._retired.clear()
        await asyncio.gather(*(_end(link) for link in reversed(links)))
        agents, self._agents = list(self._agents.values()), {}
        for agent in agents:
            agent.close()

    async def _get(self, node: Node, target: Target, route: Route) -> Connection:
        link = self._links.get(target)
        if link is None or (link.task.done() and not _alive(link.task)):
            link = _Link(asyncio.create_task(self._open(node, target, route)))
            link.task.add_done_callback(_alive)  # takes note of an error that nobody waits for any more
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
            settings = await read(target, self._ssh)
        except (ValueError, OSError) as error:
            place = HopPlace(target.host, target.host, target.port or SSH_PORT, target.user or "you")
            raise errors.explain(error, place, self._ssh) from None
        self._notes[target] = (*settings.notes, *unfollowed(settings, self._ssh))
        via = settings.one("ProxyJump") if target.via is None else target.via
        shown = re.sub(r"\[([^\]:[]{1,255})\]", r"\1", via)  # ssh -G puts every jump host into brackets
        place = HopPlace(target.host, settings.host, settings.port, settings.user, shown)
        tunnel = await self._jump(node, target, via, route) if via else None
        async with self._slots:
            return await self._login(node, target, settings, place, tunnel, jump=bool(route))

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
            raise Unreachable(f"ProxyJump of {target.host} forms a loop. Check {self._ssh.config}.")
        return await self._get(node, jump, route)

    async def _login(
        self,
        node: Node,
        target: Target,
        settings: Settings,
        place: HopPlace,
        tunnel: Connection | None,
        jump: bool,
    ) -> Connection:
        hosts = known_hosts(settings, self._ssh)
        wanted = wanted_keys(settings, self._ssh, jump)
        for _ in range(ROUNDS):
            notes: list[str] = []
            limit = Limit(self._ssh.connect_timeout)
            offers = await self._ring.offers(node, wanted, self._agent(wanted.agent), notes)
            who = f"{place.user}@{place.host}:{place.port}"
            login = Login(node, hosts, offers, self._asking, limit, self._passwords, who)
            try:
                options = login_options(settings, hosts, login, self._ssh)
                async with limit:
                    return await asyncssh.connect(settings.host, tunnel=tunnel, **options)
            except asyncssh.HostKeyNotVerifiable as error:
                if login.shown is None:
                    raise self._not_verifiable(error, place, hosts) from None
                await self._unknown_key(node, settings, place, hosts, login)
            except asyncssh.PermissionDenied:
                notes += [KERBEROS] if uses_kerberos(settings) else []
                raise errors.refused_login(
                    place, self._ssh, login.methods, login.tried, notes, login.empty_handed
                ) from None
            except Exception as error:  # whatever a hostile server makes asyncssh stumble over
                # The server may hang up while a person types; the password is remembered by now.
                if login.asked and isinstance(error, asyncssh.DisconnectError):
                    login.asked = False
                    continue
                if isinstance(error, TimeoutError) and login.accepted:
                    raise errors.unfinished(place, self._ssh, login.greeted) from None
                raise errors.explain(error, place, self._ssh) from None
        raise Unreachable(f"{place} closes the connection again and again during login. Its log says why.")

    def _not_verifiable(
        self, error: asyncssh.HostKeyNotVerifiable, place: HopPlace, hosts: KnownHosts
    ) -> Unreachable:
        if "revoked" in error.reason:
            return errors.revoked(place, hosts.files)
        return Unreachable(f"The host key of {place} cannot be verified: {errors.said(error.reason)}.")

    async def _unknown_key(
        self,
        node: Node,
        settings: Settings,
        place: HopPlace,
        hosts: KnownHosts,
        login: Login,
    ) -> None:
        """Ask about a key that is not on record and record it. Raises for a changed or refused one."""
        key = login.shown
        assert key is not None
        name, port = login.verified_name
        if settings.one("HostKeyAlias"):
            port = SSH_PORT  # OpenSSH records an alias without a port
        async with self._asking.turn() as asker:
            if key in hosts.look(name, port).trusted:
                return  # accepted for another node with the same address meanwhile
            records = hosts.records(name, port)
            if records:
                raise errors.changed(place, name, port, records, key)
            if strict(settings):
                raise errors.untrusted(place, self._ssh, key)
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

    def _agent(self, path: str) -> asyncssh.SSHAgentClient | None:
        if not path:
            return None
        if path not in self._agents:
            self._agents[path] = asyncssh.SSHAgentClient(path)
        return self._agents[path]

    async def _ask_passphrase(self, node: Node, path: str) -> str | None:
        async with self._asking.turn() as asker:
            return await asker.passphrase(node, path)


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
