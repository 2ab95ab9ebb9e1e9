"""The embedded lab: a whole two-node cluster on this machine, for the time of an ``async with``."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import shlex
import shutil
import signal
import sys
import tempfile
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Self

import msgspec

from wizard_steps.cluster import file as clusters
from wizard_steps.cluster.file import Cluster, NodeEntry, Ray, Serve, Ssh, Weights
from wizard_steps.errors import MilepostError
from wizard_steps.lab import faults, reaper
from wizard_steps.lab import layout as layouts
from wizard_steps.lab.layout import ROOT, Executor, LabLayout

#: Seconds for the servers to listen; generous, for a machine that is busy.
START_LIMIT = 60.0
#: Seconds a lab's node count must hold: both raylets are on this machine, nothing is lost in a network.
SETTLE = 8
_KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH")


class LabError(MilepostError):
    """The lab did not come up: exit status 1."""


class Lab:
    """A running lab. ``cluster`` is its cluster file; ``folder`` holds all its files and goes with it.

    Everything in it hangs below one reaper process, which ends it all when this process closes the lab or
    is gone, even by SIGKILL.
    """

    def __init__(self, layout: LabLayout, ports: dict[str, int]) -> None:
        self.layout = layout
        self.id = layout.id
        self.folder = layout.path
        self.cluster = make_cluster(layout, ports)
        if layout.fault:
            self.cluster = faults.find(layout.fault).change(self.cluster, layout)

    @classmethod
    @contextlib.asynccontextmanager
    async def start(
        cls,
        *,
        real_vllm: bool | None = None,
        fault: str = "",
        keep: Path | None = None,
        executor: Executor = "ray",
        replicas: int = 1,
        rehearse: bool = False,
    ) -> AsyncIterator[Self]:
        """``async with Lab.start() as lab``. Raises UsageError without Ray, LabError if it does not start.

        real_vllm: True or False to force it; None takes real vLLM when this Python has it.
        executor, replicas: as in the cluster file, replicas 1 (over both nodes) or 2 (one on each); a fault
        may set its own. fault: one of faults.FAULTS. keep: where to leave the cluster file, for commands
        beside the wizard.
        """
        needs = faults.possible(fault) if fault else ""
        layouts.require_ray()
        folder = private_folder()
        try:
            lab_id = f"lab-{secrets.token_hex(4)}"
            layout = layouts.plan(
                folder,
                lab_id,
                real_vllm=real_vllm,
                fault=fault,
                needs=needs,
                executor=executor,
                replicas=replicas,
                rehearse=rehearse,
            )
            process = await _spawn(layout)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        try:
            lab = cls(layout, await _ready(process, folder))
            if keep is not None:
                lab.write(keep)
            yield lab
        finally:
            # Closing the pipe is what ends the lab; a second Ctrl-C only stops the wait for its end.
            await asyncio.shield(_end(process, layout))

    def write(self, path: Path) -> Path:
        """Write the cluster file, readable for its owner only, and return its path."""
        head = "# SIMULATED: milepost's embedded lab. It lives only as long as the wizard that started it.\n"
        path.write_text(clusters.dump(self.cluster, head), encoding="utf-8")
        path.chmod(0o600)
        return path

    def ssh_command(self, name: str) -> str:
        """What a person types to look around on a node."""
        entry = next(n for n in self.cluster.nodes if n.name == name)
        words = ["ssh", "-F", self.cluster.ssh.config, "-i", self.cluster.ssh.identity[0]]
        words += ["-o", f"UserKnownHostsFile={self.cluster.ssh.known_hosts}", "-o", "IdentitiesOnly=yes"]
        return shlex.join([*words, "-p", str(entry.port), f"{entry.user}@{entry.host}"])


async def _end(process: Process, layout: LabLayout) -> None:
    assert process.stdin is not None
    process.stdin.close()
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(process.wait(), reaper.LIMIT + 5)
    # The reaper has done all this already, unless it could not start or was killed itself.
    reaper.send(reaper.marked(layout.id), signal.SIGKILL)
    shutil.rmtree(layout.path, ignore_errors=True)


def private_folder() -> Path:
    """A new 0700 folder with a path so short that Ray's sockets fit below it."""
    usual = tempfile.gettempdir()
    base = usual if len(usual) <= layouts.LONGEST - len("/ml-12345678") else "/tmp"
    return Path(tempfile.mkdtemp(prefix="ml-", dir=base))


async def _spawn(layout: LabLayout) -> Process:
    plan = layout.path / "layout.json"
    plan.write_bytes(msgspec.json.encode(layout))
    script = Path(__file__).with_name("reaper.py")
    servers = [sys.executable, "-P", "-m", "wizard_steps.lab.servers", str(plan)]
    # No secret and no agent of the wizard's environment is seen in the lab's.
    env = {name: os.environ[name] for name in _KEPT if name in os.environ}
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    with (layout.path / "lab.log").open("wb") as log:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-S", str(script), layout.id, layout.folder, *servers),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
            env={**env, "PYTHONPATH": path, reaper.MARKER: layout.id, "SPT_NOENV": "1"},
            cwd=layout.folder,
            start_new_session=True,
        )


async def _ready(process: Process, folder: Path) -> dict[str, int]:
    assert process.stdout is not None
    try:
        line = await asyncio.wait_for(process.stdout.readline(), START_LIMIT)
        found: dict[str, Any] = json.loads(line)
    except (TimeoutError, ValueError):
        log = folder / "lab.log"
        said = log.read_text(errors="replace").strip().splitlines() if log.exists() else []
        raise LabError(f"the embedded lab did not start: {said[-1] if said else 'no reason given'}") from None
    return {str(name): int(port) for name, port in found["ports"].items()}


def make_cluster(layout: LabLayout, ports: dict[str, int]) -> Cluster:
    """The cluster file of a lab whose servers listen on ``ports``."""
    head = layout.nodes[0]
    nodes = tuple(
        NodeEntry(
            host="127.0.0.1",
            gpus=layouts.GPUS,
            role="head" if node is head else "worker",
            name=node.name,
            user=layout.user,
            port=ports[node.name],
            fabric_ip=node.ip,
        )
        for node in layout.nodes
    )
    flags = (
        f"--num-gpus={layouts.GPUS}",
        # Fewer idle Ray workers; vLLM's bundles ask for GPUs only.
        "--num-cpus=1",
        f"--object-store-memory={layouts.OBJECT_STORE}",
        # Two raylets on one machine: no port may be fixed.
        "--min-worker-port=0",
        "--max-worker-port=0",
        "--dashboard-agent-listen-port=0",
    )
    return Cluster(
        nodes=nodes,
        name=layout.id,
        venv=str(layout.venv),
        serve=Serve(
            tensor_parallel=layouts.GPUS,
            pipeline_parallel=len(layout.nodes) // layout.replicas,
            data_parallel=layout.replicas,
            executor=layout.executor,
            rehearse="yes" if layout.rehearse else "no",
            master_port=layout.master_port,
            data_parallel_port=layout.data_parallel_port,
            host=head.ip,
            port=layout.serve_port,
            vllm_version=layout.vllm_version,
        ),
        weights=Weights(port=layout.copy_port),
        env={"HF_ENDPOINT": f"http://{layout.hub_host}:{layout.hub_port}"}
        if layouts.has_hub_client()
        else {},
        ray=Ray(
            port=layout.ray_port,
            dashboard_port=layout.dashboard_port,
            settle=SETTLE,
            head_flags=(*flags, f"--ray-client-server-port={layout.client_port}"),
            worker_flags=flags,
        ),
        ssh=Ssh(
            config=str(layout.ssh_config),
            known_hosts=str(layout.known_hosts),
            identity=(str(layout.identity),),
        ),
        simulated=True,
    )
