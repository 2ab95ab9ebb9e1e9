"""What a lab's folder holds: each node's home, environment and commands, and the venv all nodes share."""

from __future__ import annotations

import getpass
import importlib.metadata
import importlib.util
import os
import random
import secrets
import shlex
import socket
import sys
from pathlib import Path
from typing import Literal

from msgspec import Struct

from wizard_steps.cluster import versions
from wizard_steps.errors import UsageError
from wizard_steps.lab import containers, hub, spaces, tiny
from wizard_steps.lab.reaper import MARKER

GPUS = 8
Executor = Literal["ray", "mp"]
#: What a lab is made of beside this machine's loopback, see spaces.py and containers.py; both need root.
Needs = Literal["", "network", "containers"]
#: Below the ephemeral ports, above Ray's worker ports (10002-19999), so that nothing takes them meanwhile.
PORTS = range(20000, 32768)
#: Ray's least; twice this is what the lab needs of /dev/shm.
OBJECT_STORE = 78643200
#: What the lab's hub has, and the bytes per second that one of its answers gives: a fetch can be watched.
MODEL, HUB_RATE = "meta-llama/Llama-3.2-1B-Instruct", 2_000_000
#: Another release of vLLM that the nodes have: an upgrade of the lab is from or to this one.
OLDER = "0.32.0"
#: Unix sockets have at most 107 characters, and Ray needs about 80 of them below its folder.
LONGEST = 30

ROOT = Path(__file__).resolve().parents[2]
_SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class LabNode(Struct, frozen=True):
    name: str
    ip: str


class LabLayout(Struct, frozen=True):
    """Plain values: the servers' process gets it as JSON."""

    id: str
    folder: str
    user: str
    nodes: tuple[LabNode, ...]
    ray_port: int
    dashboard_port: int
    client_port: int
    serve_port: int
    vllm_version: str
    real_vllm: bool
    hub_port: int = 0
    copy_port: int = 0
    #: What is wrong with the lab's machines, see faults.py; empty: nothing.
    fault: str = ""
    needs: Needs = ""
    #: serve.executor, and how many replicas: one over both nodes, or one on each.
    executor: Executor = "ray"
    replicas: int = 1
    rehearse: bool = False
    #: Where the ranks, and the replicas, meet.
    master_port: int = 0
    data_parallel_port: int = 0

    @property
    def path(self) -> Path:
        return Path(self.folder)

    @property
    def venv(self) -> Path:
        return self.path / "venv"

    @property
    def older(self) -> Path:
        """The environment of an older release, named as `milepost upgrade` names it: SIMULATED as well."""
        return self.path / f"venv-{OLDER}"

    @property
    def model(self) -> Path:
        """The files of the lab's hub."""
        return self.path / "model"

    @property
    def hub_host(self) -> str:
        """Where the nodes reach the lab's hub."""
        return spaces.this_machine(self.nodes[0].ip) if self.needs == "network" else hub.LISTEN

    @property
    def identity(self) -> Path:
        return self.path / "id_ed25519"

    @property
    def known_hosts(self) -> Path:
        return self.path / "known_hosts"

    @property
    def ssh_config(self) -> Path:
        return self.path / "ssh_config"

    def home(self, node: LabNode) -> Path:
        return self.path / "nodes" / node.name / "home"

    def environment(self, node: LabNode) -> dict[str, str]:
        """All of a node's environment: nothing of the wizard's own RAY_*, proxies or secrets gets in.

        The token lock is on because Ray's ports listen on every interface of this machine, and an open
        Ray is a remote shell. SPT_NOENV keeps setproctitle from writing over the lab's marker in /proc.
        """
        base = self.path / "nodes" / node.name
        kept = ("LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH")
        return {
            **{name: os.environ[name] for name in kept if name in os.environ},
            MARKER: self.id,
            "HOME": str(base / "home"),
            "TMPDIR": str(base / "tmp"),
            "PATH": f"{base / 'bin'}:{_SYSTEM_PATH}",
            "SHELL": "/bin/sh",
            "USER": self.user,
            "LOGNAME": self.user,
            "LAB_NODE": node.name,
            "MILEPOST_UNITS": str(base / "units"),
            "LAB_IP": node.ip,
            "LAB_GPUS": str(GPUS),
            "LAB_FAULT": self.fault,
            "LAB_SERVE": f"{self.nodes[0].ip}:{self.serve_port}",
            "RAY_TMPDIR": str(self.path / "t"),
            "RAY_AUTH_MODE": "token",
            "RAY_USAGE_STATS_ENABLED": "0",
            # Ray gives a node 30 seconds to start, which is too few on a machine that is very busy.
            "RAY_raylet_start_wait_time_s": "90",
            "SPT_NOENV": "1",
        }


def plan(
    folder: Path,
    lab_id: str,
    *,
    real_vllm: bool | None = None,
    fault: str = "",
    needs: Needs = "",
    executor: Executor = "ray",
    replicas: int = 1,
    rehearse: bool = False,
) -> LabLayout:
    """Choose addresses and ports nobody uses. ``real_vllm`` None: real vLLM if this Python has it, but
    for a fault the stand-in: some of them are in it.

    ``needs`` "network": an address in a network of its own for each node, and the usual ports.
    Else each lab has its own 127.x.y.0/24. (127.0.0.1 itself will not do: Ray replaces it by the address of
    the machine's default route.) Raises UsageError without Ray.
    """
    require_ray()
    found = _version("vllm")
    real = bool(found and not fault) if real_vllm is None else real_vllm
    alone = needs == "network"
    net = (
        f"10.{spaces.free_octet()}.0" if alone else f"127.{random.randint(16, 250)}.{random.randint(1, 250)}"
    )
    ports = free_ports(8)
    if alone:
        ports[:4] = [6379, 8265, 10001, 8000]
    return LabLayout(
        id=lab_id,
        folder=str(folder),
        user=_user(),
        nodes=(LabNode("lab-head", f"{net}.1"), LabNode("lab-worker", f"{net}.2")),
        ray_port=ports[0],
        dashboard_port=ports[1],
        client_port=ports[2],
        serve_port=ports[3],
        vllm_version=found if real else versions.VLLM,
        real_vllm=real,
        hub_port=ports[4],
        copy_port=ports[5],
        fault=fault,
        needs=needs,
        executor=executor,
        replicas=replicas,
        rehearse=rehearse,
        master_port=ports[6],
        data_parallel_port=ports[7],
    )


def require_ray() -> Path:
    """The wizard's own ``ray`` command. Raises UsageError when it is not there or not the pinned one."""
    ray = Path(sys.prefix, "bin", "ray")
    version = _version("ray")
    how = f"Install it with `pip install 'ray[default]=={versions.RAY}'` (or milepost's `lab` extra)"
    if not sys.platform.startswith("linux"):
        raise UsageError(f"the embedded lab needs Linux; this is {sys.platform}")
    if not version or not ray.is_file():
        raise UsageError(f"the embedded lab needs Ray {versions.RAY} in {sys.prefix}. {how}")
    if version != versions.RAY:
        raise UsageError(f"the embedded lab needs Ray {versions.RAY}, but {sys.prefix} has {version}. {how}")
    return ray


def has_hub_client() -> bool:
    """Whether the Python of the lab's nodes can fetch a model."""
    return importlib.util.find_spec("huggingface_hub") is not None


def free_ports(count: int) -> list[int]:
    """Ports of PORTS that nothing on this machine listens on."""
    found: list[int] = []
    for port in random.sample(PORTS, 400):
        with socket.socket() as probe:
            try:
                probe.bind(("", port))
            except OSError:
                continue
        found.append(port)
        if len(found) == count:
            return found
    raise UsageError(f"the embedded lab finds no {count} free ports in {PORTS.start}-{PORTS.stop - 1}")


#: Command of a lab node -> its stand-in, and what that is given before the command's own words.
_STANDINS = {
    "nvidia-smi": ("smi.py",),
    "ip": ("ip.py",),
    **{name: ("systemd.py", name) for name in ("systemctl", "loginctl", "systemd-analyze")},
}


def build(layout: LabLayout) -> None:
    """Write all but the SSH files into the lab's (private) folder."""
    path = layout.path
    (path / "lab-id").write_text(layout.id)
    (path / "t").mkdir()
    layout.ssh_config.write_text("# The lab's own, so that yours is not used.\n")
    for folder in (layout.venv, layout.older):
        _venv(layout, folder)
    tiny.write(layout.model)
    token = secrets.token_hex(32)
    for node in layout.nodes:
        home = layout.home(node)
        for folder in (home, home.parent / "tmp", home.parent / "bin", home / ".ray"):
            folder.mkdir(parents=True, exist_ok=True)
        other = layout.fault == "token-mismatch" and node is layout.nodes[-1]
        _secret(home / ".ray" / "auth_token", secrets.token_hex(32) if other else token)
        for name, words in _STANDINS.items():
            if name == "ip" and layout.needs == "network":
                continue
            source = Path(__file__).parent / "standins" / words[0]
            _command(home.parent / "bin" / name, [sys.executable, "-I", str(source), *words[1:]])
        _command(home.parent / "bin" / "python3", [sys.executable])
        if layout.needs == "containers":
            odd = layout.fault == "digest-differs" and node is layout.nodes[-1]
            command = home.parent / "bin" / "docker"
            day = "friday" if odd else "monday"
            containers.build(home.parent / "podman", command, layout.venv, layout.vllm_version, day)
        if layout.fault == "disk-full" and node is layout.nodes[-1]:
            source = Path(__file__).parent / "standins" / "df.py"
            _command(home.parent / "bin" / "df", [sys.executable, "-I", str(source)])


def _venv(layout: LabLayout, folder: Path) -> None:
    bin_ = folder / "bin"
    bin_.mkdir(parents=True)
    for name in ("python", "python3"):
        _command(bin_ / name, [sys.executable])
    sabotage = [sys.executable, "-I", str(Path(__file__).parent / "standins" / "sabotage.py")]
    _command(bin_ / "ray", [*(sabotage if layout.fault else []), str(require_ray())])
    if layout.real_vllm:
        _command(bin_ / "vllm", [str(Path(sys.prefix, "bin", "vllm"))])
    else:
        words = [sys.executable, "-P", "-m", "wizard_steps.lab.standins.vllm"]
        says = {"LAB_VLLM": OLDER} if folder == layout.older else {}
        _command(bin_ / "vllm", words, {"PYTHONPATH": str(ROOT), **says})


def _command(path: Path, words: list[str], env: dict[str, str] | None = None) -> None:
    """A command that runs another one: a link would make Python look for its packages in the wrong place."""
    exports = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in (env or {}).items())
    path.write_text(f'#!/bin/sh\n{exports}exec {shlex.join(words)} "$@"\n')
    path.chmod(0o755)


def _secret(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text)


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "lab"
