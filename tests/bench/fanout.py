"""The ways of running the same commands on many hosts that bench_fanout times. All verify known_hosts except the
parallel-ssh library, whose libssh2 client cannot.

Each takes the cluster, the commands' texts, a folder of its own, and how many hosts at a time; it returns how
many outputs came. Other people's tools are installed by name into a virtual environment of their own.
"""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.helpers import scale_hosts
from wizard_steps.cluster.file import Cluster
from wizard_steps.engine.clock import RealClock
from wizard_steps.engine.decide import FileDecider
from wizard_steps.engine.engine import Engine
from wizard_steps.milestones.install import versions_command
from wizard_steps.milestones.reach import WHOAMI
from wizard_steps.milestones.smi import SMI
from wizard_steps.plan import plan_for
from wizard_steps.recording.events import CommandEnded
from wizard_steps.recording.journal import WalkFolder, load, new_meta
from wizard_steps.recording.redact import Redactor
from wizard_steps.transport.cleaned import Cleaned
from wizard_steps.transport.ssh import SshTransport
from wizard_steps.transport.ssh_ask import NoAsker

Way = Callable[[Cluster, list[str], Path, int], int]

COMPARED = ("reach", "smi", "install")
PYINFRA_DEPLOY = """
from pyinfra.operations import server
for number in range({count}):
    server.shell(name=f"command {{number}}", commands=[open(f"{folder}/text-{{number}}").read()])
"""
LIBRARY = """
import json, sys
from pssh.clients import ParallelSSHClient
from pssh.config import HostConfig
ports, texts, user, key, limit = json.load(sys.stdin)
config = [HostConfig(port=port) for port in ports]
client = ParallelSSHClient(["127.0.0.1"] * len(ports), user=user, pkey=key, host_config=config,
                           pool_size=limit, allow_agent=False)
came = 0
for text in texts:
    for host in client.run_command(text, stop_on_errors=False):
        came += host.exception is None and len("\\n".join(host.stdout)) > 50
print(came)
"""


def texts(cluster: Cluster) -> list[str]:
    """The commands of the compared milestones."""
    return [WHOAMI.text, SMI.text, versions_command(cluster.venv).text]


def milepost(cluster: Cluster, commands: list[str], folder: Path, limit: int) -> int:
    """The compared milestones in the real engine: judged, cleaned and recorded as well."""
    plan = [step for step in plan_for(cluster) if step.id in COMPARED]

    async def go() -> str:
        transport = Cleaned(SshTransport(cluster, NoAsker()), Redactor())
        journal = WalkFolder(folder / "walk", new_meta())
        engine = Engine(plan, cluster, transport, FileDecider(), RealClock(), journal)
        try:
            return await engine.walk()
        finally:
            await transport.close()

    outcome = asyncio.run(go())
    assert outcome == "passed", outcome
    return sum(isinstance(e, CommandEnded) and e.code == 0 for e in load(folder / "walk").events)


@contextmanager
def _options(cluster: Cluster) -> Iterator[list[str]]:
    """ssh's options, with a ControlMaster a host that lives as long as the block."""
    sockets = Path(tempfile.mkdtemp(prefix="cm-", dir="/tmp"))
    pairs = {
        "UserKnownHostsFile": cluster.ssh.known_hosts,
        "IdentityFile": cluster.ssh.identity[0],
        "IdentitiesOnly": "yes",
        "BatchMode": "yes",
        "ControlMaster": "auto",
        "ControlPersist": "60",
        "ControlPath": f"{sockets}/%p",
        "LogLevel": "ERROR",
    }
    try:
        yield [f"{name}={value}" for name, value in pairs.items()]
    finally:
        for path in sockets.iterdir():
            words = ["ssh", "-S", str(path), "-O", "exit", "x"]
            subprocess.run(words, stderr=subprocess.DEVNULL, check=False)
        shutil.rmtree(sockets, ignore_errors=True)


def _came(folder: Path) -> int:
    return sum(path.stat().st_size > 50 for path in folder.iterdir())


def openssh(cluster: Cluster, commands: list[str], folder: Path, limit: int) -> int:
    """OpenSSH's ssh with ControlMaster, run by xargs -P."""
    script, out = folder / "one.sh", folder / "out"
    out.mkdir()
    ports = "\n".join(str(entry.port) for entry in cluster.nodes)
    with _options(cluster) as options:
        common = ["ssh", "-F", "none", *(word for option in options for word in ("-o", option))]
        for number, text in enumerate(commands):
            (folder / "text").write_text(text)
            ssh = f'{shlex.join(common)} -p "$1" {scale_hosts.USER}@127.0.0.1 "$(cat {folder}/text)"'
            script.write_text(f'{ssh} > {out}/{number}-"$1" 2>&1 < /dev/null\n')
            words = ["xargs", "-P", str(limit), "-n", "1", "sh", str(script)]
            subprocess.run(words, input=ports, text=True, check=False)
    return _came(out)


def pssh(cluster: Cluster, commands: list[str], folder: Path, limit: int) -> int:
    """pssh (Debian's `parallel-ssh`), with the same ControlMaster."""
    listed = folder / "hosts"
    listed.write_text("".join(f"{scale_hosts.USER}@127.0.0.1:{entry.port}\n" for entry in cluster.nodes))
    with _options(cluster) as options:
        common = ["parallel-ssh", "-h", str(listed), "-p", str(limit), "-t", "0"]
        common += [word for option in options for word in ("-O", option)]
        for number, text in enumerate(commands):
            words = [*common, "-o", str(folder / f"out-{number}"), text]
            subprocess.run(words, stdout=subprocess.DEVNULL, check=False)
    return sum(_came(folder / f"out-{number}") for number in range(len(commands)))


def pyinfra(python: Path) -> Way:
    """pyinfra: one operation a command, one connection a host."""

    def way(cluster: Cluster, commands: list[str], folder: Path, limit: int) -> int:
        data = {
            "ssh_hostname": "127.0.0.1",
            "ssh_user": scale_hosts.USER,
            "ssh_key": cluster.ssh.identity[0],
            "ssh_known_hosts_file": cluster.ssh.known_hosts,
            "ssh_strict_host_key_checking": "yes",
            "ssh_look_for_keys": False,
        }
        hosts = [(entry.name, {**data, "ssh_port": entry.port}) for entry in cluster.nodes]
        (folder / "inventory.py").write_text(f"hosts = {hosts!r}\n")
        (folder / "deploy.py").write_text(PYINFRA_DEPLOY.format(count=len(commands), folder=folder))
        for number, text in enumerate(commands):
            (folder / f"text-{number}").write_text(text)
        words = [str(python.with_name("pyinfra")), "--parallel", str(limit), "-y", "-vvv", "--no-wait"]
        words += ["inventory.py", "deploy.py"]
        done = subprocess.run(words, capture_output=True, text=True, cwd=folder, check=False)
        return sum(line.rstrip().endswith("Success") for line in (done.stdout + done.stderr).splitlines())

    return way


def library(python: Path) -> Way:
    """The parallel-ssh library (libssh2 and gevent)."""

    def way(cluster: Cluster, commands: list[str], folder: Path, limit: int) -> int:

        ports = [entry.port for entry in cluster.nodes]
        given = json.dumps([ports, commands, scale_hosts.USER, cluster.ssh.identity[0], limit])
        done = subprocess.run(
            [str(python), "-c", LIBRARY], input=given, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(done.stderr)
        return int(done.stdout)

    return way


def ways(folder: Path) -> dict[str, Way]:
    """Every way that this machine has or can install, ours first."""
    found: dict[str, Way] = {"milepost": milepost}
    if shutil.which("ssh"):
        found["ssh + ControlMaster, xargs -P"] = openssh
    if shutil.which("parallel-ssh"):
        found["pssh + ControlMaster"] = pssh
    else:
        print("pssh: not installed (apt install pssh)")
    python = folder / "others" / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", str(folder / "others")], check=True)
    env = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    words = [str(python), "-m", "pip", "install", "-q", "pyinfra", "parallel-ssh"]
    if subprocess.run(words, env=env, stderr=subprocess.DEVNULL, check=False).returncode:
        print("pyinfra, parallel-ssh: not installable here")
    else:
        found["parallel-ssh (libssh2)"] = library(python)
        found["pyinfra"] = pyinfra(python)
    return found
