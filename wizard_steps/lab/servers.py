"""The lab's SSH servers, one for each node, in a process of their own: a busy lab must not slow the screen.

    python -m wizard_steps.lab.servers LAYOUT.json

Prints one JSON line when all of them listen: {"ports": {node: port}}. Ends on SIGTERM.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import shutil
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import asyncssh
import msgspec

from wizard_steps.lab import hub, reaper, spaces
from wizard_steps.lab import layout as layouts
from wizard_steps.lab.layout import LabLayout, LabNode, build
from wizard_steps.lab.session import CommandSession

LISTEN = "127.0.0.1"


class NodeServer(asyncssh.SSHServer):
    """One login. Only the lab's own user and key get in; tunnels lead to loopback and its nodes only."""

    def __init__(
        self,
        user: str,
        key: asyncssh.SSHKey,
        env: Mapping[str, str],
        nodes: Sequence[str],
        before: Sequence[str],
    ) -> None:
        self._user, self._key, self._env, self._nodes, self._before = user, key, env, nodes, before
        self._tasks: set[asyncio.Task[None]] = set()

    def begin_auth(self, username: str) -> bool:
        return True

    def password_auth_supported(self) -> bool:
        return False

    def kbdint_auth_supported(self) -> bool:
        return False

    def public_key_auth_supported(self) -> bool:
        return True

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        return username == self._user and key == self._key

    def session_requested(self) -> CommandSession:
        return CommandSession(self._env, self._tasks, self._before)

    def connection_requested(self, dest_host: str, dest_port: int, orig_host: str, orig_port: int) -> bool:
        try:
            loopback = ipaddress.ip_address(dest_host).is_loopback
        except ValueError:
            loopback = dest_host == "localhost"
        if not loopback and dest_host not in self._nodes:
            raise asyncssh.ChannelOpenError(
                asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED, "the lab opens tunnels to its own nodes only"
            )
        return True


async def listen(
    layout: LabLayout, before: Mapping[str, Sequence[str]] = MappingProxyType({})
) -> dict[str, asyncssh.SSHAcceptor]:
    """Make the keys, start a server for each node, and write known_hosts. ``before``: node -> words before
    each of its commands."""
    key = asyncssh.generate_private_key("ssh-ed25519", comment=f"milepost {layout.id}")
    layout.identity.touch(mode=0o600)
    key.write_private_key(str(layout.identity))
    key.write_public_key(f"{layout.identity}.pub")
    servers, lines = {}, []
    for node in layout.nodes:
        host_key = asyncssh.generate_private_key("ssh-ed25519")
        server = await _server(layout, node, key.convert_to_public(), host_key, before.get(node.name, ()))
        servers[node.name] = server
        public = host_key.export_public_key().decode().strip()
        lines.append(f"[{LISTEN}]:{server.get_port()} {public}\n")
    layout.known_hosts.write_text("".join(lines))
    return servers


async def _server(
    layout: LabLayout,
    node: LabNode,
    user_key: asyncssh.SSHKey,
    host_key: asyncssh.SSHKey,
    before: Sequence[str],
) -> asyncssh.SSHAcceptor:
    env, nodes = layout.environment(node), [each.ip for each in layout.nodes]
    return await asyncssh.listen(
        LISTEN,
        0,
        server_factory=lambda: NodeServer(layout.user, user_key, env, nodes, before),
        server_host_keys=[host_key],
        encoding=None,
        line_editor=False,
        agent_forwarding=False,
        x11_forwarding=False,
        server_version="milepost_lab_SIMULATED_host",
        keepalive_interval=30,
    )


async def run(layout: LabLayout) -> None:
    build(layout)
    servers = await listen(layout, networks(layout))
    trouble = hub.Trouble(gated=layout.fault == "gated-model", rate=layouts.HUB_RATE)
    hub.Hub(layout.model, layouts.MODEL, layout.hub_port, trouble, layout.hub_host)
    ports = {name: server.get_port() for name, server in servers.items()}
    print(json.dumps({"ports": ports}), flush=True)
    stop: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    def end(told: bool) -> None:
        if not stop.done():
            stop.set_result(told)

    # Under nohup SIGHUP is ignored, and every command of the lab would inherit that.
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, end, True)
    # The reaper writes nothing and closes nothing: end of file means that it was killed.
    asyncio.get_running_loop().add_reader(0, end, False)
    if not await stop:
        orphaned(layout)


def networks(layout: LabLayout) -> dict[str, list[str]]:
    """A network for each node, where the fault is in it: node -> words before each of its commands."""
    if layout.needs != "network":
        return {}
    nodes = {node.name: node.ip for node in layout.nodes}
    enter = spaces.up(nodes)
    spaces.plant(layout.fault, nodes, enter)
    return enter


def orphaned(layout: LabLayout) -> None:
    """Somebody has killed the reaper: do its work by the mark, which every process of the lab carries."""
    for _ in range(20):
        left = reaper.marked(layout.id)
        if not left:
            break
        reaper.send(left, signal.SIGKILL)
        time.sleep(0.1)
    shutil.rmtree(layout.path, ignore_errors=True)


def main(argv: list[str]) -> int:
    asyncio.run(run(msgspec.json.decode(Path(argv[0]).read_bytes(), type=LabLayout)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
