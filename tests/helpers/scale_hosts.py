"""SIMULATED hosts for scale: real SSH servers on loopback, a home each, stand-ins for everything with a GPU.

    python -m tests.helpers.scale_hosts FOLDER FIRST COUNT

Prints {"ports": [...]} when all of them listen; ends when its standard input does.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

import asyncssh

from wizard_steps.cluster import versions
from wizard_steps.cluster.file import Cluster, NodeEntry, Ray, Serve, Ssh
from wizard_steps.lab.servers import NodeServer

USER = "sim"
MARK = "MILEPOST_SCALE"
SMI = (
    "+---+\n| NVIDIA-SMI 580.159.04   Driver Version: 580.159.04   CUDA Version: 13.0 |\n+---+\n"
    "| GPU  Name                 Persistence-M | Bus-Id          Disp.A | Volatile Uncorr. ECC |\n"
    + "".join(
        f"|   {n}  NVIDIA H100 80GB HBM3          On  |   00000000:{n + 1}1:00.0 Off |                    0 |\n"
        "| N/A   30C    P0             70W /  700W |       0MiB /  81559MiB |      0%      Default |\n"
        for n in range(8)
    )
    + "# SIMULATED: these GPUs do not exist\n"
)
STANDINS = {
    "nvidia-smi": 'case $# in 0) cat "$SIM/smi";; *) echo SIMULATED; exit 2;; esac',
    "ip": 'echo "lo UNKNOWN 127.0.0.1/8"; echo "eth0 UP $SIM_IP/16"',
    "python3": f'exec {sys.executable} -I -S "$@"',
}
VENV = {
    "python": 'case "$*" in *metadata*) cat "$SIM/versions";; *) exec python3 "$@";; esac',
    "vllm": "echo SIMULATED; exit 1",
    "ray": """case $1 in
start) for w; do case $w in --node-ip-address=*) echo "Local node IP: ${w#*=}";; esac; done
  echo "Ray runtime started. (SIMULATED)"; echo "Ray runtime started."; exec sleep 100000;;
status) cat "$SIM/status";;
list) cat "$SIM/nodes";;
esac""",
}


def ip(number: int) -> str:
    return f"127.99.{number // 250}.{number % 250 + 1}"


def prepare(folder: Path, total: int) -> None:
    """What all hosts share: commands, answers, the user's key."""
    for place, scripts in ((folder / "bin", STANDINS), (folder / "venv" / "bin", VENV)):
        place.mkdir(parents=True)
        for name, text in scripts.items():
            (place / name).write_text(f"#!/bin/sh\n{text}\n")
            (place / name).chmod(0o755)
    (folder / "smi").write_text(SMI)
    python = ".".join(map(str, sys.version_info[:3]))
    found = f"python: {python}\nvllm: {versions.VLLM}\nray: {versions.RAY}\ntorch: missing\n"
    (folder / "versions").write_text(found)
    active = "".join(f" 1 node_{n:056x}\n" for n in range(total))
    status = f"Active:\n{active}Pending:\n (no pending nodes)\nTotal Usage:\n 0.0/{8 * total}.0 GPU\n"
    (folder / "status").write_text(status)
    alive = [{"node_ip": ip(n), "state": "ALIVE"} for n in range(total)]
    (folder / "nodes").write_text(json.dumps(alive, indent=1) + "\n")
    key = asyncssh.generate_private_key("ssh-ed25519")
    (folder / "key").touch(mode=0o600)
    key.write_private_key(str(folder / "key"))
    key.write_public_key(str(folder / "key.pub"))
    host = asyncssh.generate_private_key("ssh-ed25519")
    host.write_private_key(str(folder / "host_key"))
    (folder / "config").touch()


def cluster(folder: Path, ports: list[int], **ssh: object) -> Cluster:
    public = asyncssh.read_private_key(str(folder / "host_key")).export_public_key().decode().strip()
    (folder / "known_hosts").write_text("".join(f"[127.0.0.1]:{port} {public}\n" for port in ports))
    nodes = tuple(
        NodeEntry("127.0.0.1", 8, "worker" if n else "head", f"n{n:03}", USER, port, ip(n))
        for n, port in enumerate(ports)
    )
    fields = {"config": str(folder / "config"), "known_hosts": str(folder / "known_hosts"), **ssh}
    return Cluster(
        nodes=nodes,
        name="scale",
        venv=str(folder / "venv"),
        ray=Ray(port=26379, dashboard_port=28265, settle=0),
        serve=Serve(port=28000, tensor_parallel=8, pipeline_parallel=len(ports)),
        ssh=Ssh(identity=(str(folder / "key"),), **fields),  # type: ignore[arg-type]
        simulated=True,
    )


async def serve(folder: Path, first: int, count: int) -> list[asyncssh.SSHAcceptor]:
    public = asyncssh.read_public_key(str(folder / "key.pub"))
    host = asyncssh.read_private_key(str(folder / "host_key"))
    servers = []
    for number in range(first, first + count):
        home = folder / "homes" / f"{number:03}"
        home.mkdir(parents=True)
        env = {
            "HOME": str(home),
            "PATH": f"{folder / 'bin'}:/usr/bin:/bin",
            "SIM": str(folder),
            "SIM_IP": ip(number),
            MARK: str(folder),
        }

        def server(env: dict[str, str] = env) -> NodeServer:
            return NodeServer(USER, public, env)

        servers.append(
            await asyncssh.listen(
                "127.0.0.1",
                0,
                server_factory=server,
                server_host_keys=[host],
                encoding=None,
                line_editor=False,
                agent_forwarding=False,
            )
        )
    return servers


async def main(folder: Path, first: int, count: int) -> None:
    servers = await serve(folder, first, count)
    print(json.dumps({"ports": [server.get_port() for server in servers]}), flush=True)
    done = asyncio.Event()
    asyncio.get_running_loop().add_reader(0, done.set)
    await done.wait()
    os._exit(0)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
