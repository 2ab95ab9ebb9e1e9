"""`milepost dashboard`: Ray's dashboard of the head, on this machine, through an SSH tunnel."""

from __future__ import annotations

import argparse
import asyncio
import signal
from pathlib import Path
from typing import Any

from wizard_steps.cluster.file import Cluster, load
from wizard_steps.errors import MilepostError
from wizard_steps.node import ray_token
from wizard_steps.transport.over_ssh import bare

#: Seconds the dashboard may take to answer its first request.
ANSWER = 20.0
ANY = ("0.0.0.0", "::", "localhost", "")


def add(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "dashboard",
        help="open a tunnel to the head's Ray dashboard, until Ctrl-C",
        description="Opens an SSH tunnel to the Ray dashboard of the head and prints the address to open "
        "here. The dashboard itself stays on the head's localhost: whoever reaches it can run commands. "
        "The tunnel ends with Ctrl-C.",
    )
    parser.add_argument("cluster", nargs="?", type=Path, default=Path("milepost.toml"))
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    return asyncio.run(_until_told(load(args.cluster)))


async def _until_told(cluster: Cluster) -> int:
    told = asyncio.Event()
    for sign in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(sign, told.set)
    await dashboard(cluster, told)
    return 0


async def dashboard(cluster: Cluster, told: asyncio.Event) -> None:
    """Hold the tunnel until ``told``. Raises MilepostError when the head or its dashboard does not answer."""
    transport = bare(cluster)
    there = cluster.ray.dashboard_host
    host = "127.0.0.1" if there in ANY else there
    try:
        async with transport.forward(cluster.head, host, cluster.ray.dashboard_port) as port:
            if not await _answers(port):
                raise MilepostError(
                    f"nothing answers at {host}:{cluster.ray.dashboard_port} on {cluster.head.name}. "
                    "Is the head started (milestone head), with ray[default] in its venv?"
                )
            print(f"Ray dashboard of {cluster.head.name}: http://127.0.0.1:{port}", flush=True)
            if ray_token.wanted(cluster):
                print(f"It asks for the token: ~/.milepost/{cluster.name}/ray_token on the head.", flush=True)
            print("Ctrl-C closes the tunnel.", flush=True)
            await told.wait()
    finally:
        await transport.close()


async def _answers(port: int) -> bool:
    """Whether something speaks HTTP behind the tunnel; a tunnel accepts whatever is at its other end."""
    try:
        async with asyncio.timeout(ANSWER):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET / HTTP/1.0\r\nHost: localhost\r\n\r\n")
            first = await reader.read(5)
            writer.close()
    except (OSError, TimeoutError):
        return False
    return first.startswith(b"HTTP")
