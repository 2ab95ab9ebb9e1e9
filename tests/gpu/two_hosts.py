"""Two hosts on one machine with two GPUs, each sees its own: milepost walks them headless.

    python -m tests.gpu.two_hosts OUT NAME [NAME ...]      names: see WALKS

Needs root, two NVIDIA GPUs, network namespaces, sshd, ip; the environment of make_venv.sh at /opt/vllm-venv and a
model at /srv/model. Real: SSH, network namespaces, Ray, vLLM, NCCL and the GPUs. The model's weights are random.
NVLink multicast stays off: on shared hosts it can put GPUs out of service.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.real.hosts import Hosts

VENV, MODEL = "/opt/vllm-venv", "/srv/model"
#: Of an image with GPUs: where the interpreter and the driver's programs are.
KEPT = ("/opt/torch", VENV)
ENV = {
    "NCCL_NVLS_ENABLE": "0",
    "TORCH_SYMM_MEM_DISABLE_MULTICAST": "1",
    "NVSHMEM_DISABLE_NVLS": "1",
    "VLLM_USE_FLASHINFER_SAMPLER": "0",
}
#: Seconds a walk may take.
LIMIT = 330
#: Once a second on every host while a walk goes: shows whose GPU works when.
SMI = "nvidia-smi --query-gpu=timestamp,index,utilization.gpu,memory.used,power.draw --format=csv -l 1"


class GpuHosts(Hosts):
    """Hosts that see real GPUs. ``own``: indexes of the machine's GPUs by host."""

    def __init__(self, own: dict[str, tuple[int, ...]]) -> None:
        super().__init__(tuple(own), {name: len(gpus) for name, gpus in own.items()}, tmp_size="16g")
        self.own = own

    def mounts(self) -> list[tuple[str, str]]:
        return [(path, path) for path in KEPT if Path(path).exists()]

    def _prepare(self, name: str, authorized: str) -> str:
        key = super()._prepare(name, authorized)
        folder = self.folder / name
        (folder / "bin" / "nvidia-smi").unlink()
        (folder / "gpus").write_text("".join(f"{index}\n" for index in self.own[name]))
        (folder / "shm-size").write_text("8g")
        # A real sshd gives a bare environment; this machine's programs and driver libraries lie elsewhere.
        wanted = {key: os.environ[key] for key in ("PATH", "LD_LIBRARY_PATH") if os.environ.get(key)}
        line = "SetEnv " + " ".join(f"{key}={value}" for key, value in wanted.items()) + "\n"
        config = folder / "sshd_config"
        config.write_text(line + config.read_text())
        return key


@dataclass(frozen=True)
class Walk:
    """A walk over ``own``'s hosts.

    claimed      GPUs that the cluster file says of each host; None: those it has.
    management   the management network is written down as the one that carries GPU traffic.
    during       called with the bed and the walk's folder just before it starts.
    after        further walks of the same cluster while its server still runs: name and ``during`` of each.
    load         `milepost load` afterwards.
    """

    own: dict[str, tuple[int, ...]]
    tp: int = 1
    pp: int = 1
    serve: dict[str, Any] = field(default_factory=dict)
    claimed: int | None = None
    management: bool = False
    during: Callable[[GpuHosts, Path], None] | None = None
    after: tuple[tuple[str, Callable[[GpuHosts, Path], None]], ...] = ()
    load: str = ""


def fill_gpu(bed: GpuHosts, folder: Path) -> None:
    """Somebody's process takes 70 GiB of the worker's GPU until the bed is gone."""
    code = "import torch, time; x = torch.empty(70 << 30, dtype=torch.uint8, device='cuda'); time.sleep(600)"
    bed.run("b", f"setsid {VENV}/bin/python -c {json.dumps(code)} > /dev/null 2>&1 & sleep 15", timeout=60)


def when(fact: Callable[[], bool], then: Callable[[], object]) -> None:
    """``then`` as soon as ``fact`` holds; looks ten times a second, beside the walk."""

    def look() -> None:
        for _ in range(10 * LIMIT):
            if fact():
                print("fault:", then(), flush=True)
                return
            time.sleep(0.1)

    threading.Thread(target=look, daemon=True).start()


def kill_raylet(bed: GpuHosts, folder: Path) -> None:
    """The worker's raylet is killed when vLLM has begun to start its workers."""

    def loading() -> bool:
        log = folder / "out" / "gpu-a.serve.log.log"
        return log.exists() and b"oading" in log.read_bytes()

    when(loading, lambda: bed.kill("b", "raylet/raylet"))


def cut_fabric(bed: GpuHosts, folder: Path) -> None:
    """Nothing passes the worker's second network any more from the moment that the walk asks for a chat."""

    def asking() -> bool:
        events = folder / "events.jsonl"
        return events.exists() and b'"step":"curl"' in events.read_bytes()

    def cut() -> str:
        try:
            for hook, side in (("input", "iifname"), ("output", "oifname")):
                bed.network.drop("b", f"{side} eth1", hook)
        except RuntimeError as error:
            bed.network.link("b", "eth1", "down")
            return f"eth1 down, nft failed: {error}"
        return "eth1 drops"

    when(asking, cut)


def nccl_waits(bed: GpuHosts) -> list[int]:
    """Outside pids of the worker's ranks, once NCCL's RAS listens there: on port 28028 (6D7C) of ::1 or 127.0.0.1."""
    found = bed.processes("b")
    try:
        tables = [
            Path(f"/proc/{pid}/net/{name}").read_text() for pid in list(found)[:1] for name in ("tcp", "tcp6")
        ]
    except OSError:
        return []
    if not any(re.search(r":6D7C 0+:0000 0A", table) for table in tables):
        return []
    return [
        pid
        for pid, line in found.items()
        if line.startswith(("VLLM::Worker", "ray::RayWorker")) or _is_rank(line)
    ]


def _is_rank(line: str) -> bool:
    """A rank of milepost's own all_reduce; the process that starts it holds its text as well."""
    return "One rank of an all_reduce" in line and "The ranks of one node" not in line


def stop_worker(bed: GpuHosts, folder: Path) -> None:
    """The worker's rank of vLLM is stopped once it has the model: NCCL's RAS on the head has to name it."""

    def loading() -> bool:
        try:
            logs = [log.read_bytes() for log in folder.glob("out/*serve*.log")]
        except FileNotFoundError:  # packed meanwhile
            return False
        return any(b"Loading weights took" in log for log in logs) and bool(nccl_waits(bed))

    when(loading, lambda: [(pid, os.kill(pid, signal.SIGSTOP)) for pid in nccl_waits(bed)])


def stop_rank(bed: GpuHosts, folder: Path) -> None:
    """The worker's rank of the all_reduce over both hosts is stopped in the middle of it."""

    def reducing() -> bool:
        return any(map(_is_rank, bed.processes("b").values())) and bool(nccl_waits(bed))

    def stop() -> list[int]:
        time.sleep(0.5)  # NCCL's RAS is there before its communicator is
        found = nccl_waits(bed)
        for pid in found:
            os.kill(pid, signal.SIGSTOP)
        return found

    when(reducing, stop)


def only_ping(bed: GpuHosts, folder: Path) -> None:
    """The management network answers ping and SSH's port; everything else is dropped."""
    for host in bed.names:
        bed.network.drop(host, "iifname eth0 tcp dport != 22 ip saddr != " + bed.network.wizard_ip)


APART = {"a": (0,), "b": (1,)}
WALKS = {
    "h100x2-hosts-tp2": Walk(APART, tp=2, after=(("h100x2-fabric-cut", cut_fabric),)),
    "h100x2-hosts-pp2": Walk(APART, pp=2, load="h100x2-load"),
    "h100x2-hosts-mp": Walk(APART, tp=2, serve={"executor": "mp"}),
    "h100x2-fabric-stopped": Walk(APART, tp=2, during=stop_rank),
    "h100x2-mp-stopped": Walk(APART, tp=2, serve={"executor": "mp"}, during=stop_worker),
    "h100x2-ray-stopped": Walk(APART, tp=2, during=stop_worker),
    "h100x2-hosts-dp": Walk(APART, serve={"data_parallel": 2}),
    "h100x2-nvlink": Walk({"a": (0, 1)}, tp=2),
    "h100x2-gpu-full": Walk(APART, tp=2, during=fill_gpu),
    "h100x2-raylet-killed": Walk(APART, tp=2, during=kill_raylet),
    "h100x2-tp4": Walk(APART, tp=4, claimed=2),
    "h100x2-wrong-interface": Walk(APART, tp=2, management=True, during=only_ping),
    "h100x2-rehearsal": Walk(
        APART,
        tp=2,
        serve={"model": "/srv/shapes/model", "rehearse": "yes", "extra_flags": ["--max-model-len=32768"]},
    ),
}


def cluster_file(bed: GpuHosts, walk: Walk) -> str:
    ray = ["--object-store-memory=1000000000", "--disable-usage-stats"]
    serve = {
        "model": MODEL,
        "served_model_name": "tiny-random-llama",
        "tensor_parallel": walk.tp,
        "pipeline_parallel": walk.pp,
        "vllm_version": "0.23.0",
        "ready_timeout": LIMIT,
        "extra_flags": ["--max-model-len=512", "--gpu-memory-utilization=0.3"],
        **walk.serve,
    }
    tables: list[tuple[str, dict[str, Any]]] = [
        (
            "[[nodes]]",
            {
                "host": f"node-{name}",
                "name": f"gpu-{name}",
                "gpus": walk.claimed or len(gpus),
                "role": "head" if name == "a" else "worker",
                "fabric_ip": bed.network.management_ip(name)
                if walk.management
                else bed.network.fabric_ip(name),
            },
        )
        for name, gpus in walk.own.items()
    ]
    tables += [
        ("[serve]", serve),
        ("[ray]", {"version": "2.60.0", "settle": 10, "head_flags": ray, "worker_flags": ray}),
        ("[ssh]", {"config": str(bed.ssh_config()), "known_hosts": str(bed.home / "known_hosts")}),
        ("[env]", ENV),
    ]
    return f'name = "two-h100"\nvenv = "{VENV}"\n\n' + "\n".join(toml(*table) for table in tables)


def toml(title: str, table: dict[str, Any]) -> str:
    return "\n".join([title, *(f"{key} = {json.dumps(value)}" for key, value in table.items()), ""])


MILEPOST = [sys.executable, "-m", "tui.cli.main"]


def walked(bed: GpuHosts, words: Sequence[str], out: Path, name: str, limit: int = LIMIT) -> None:
    """One command of milepost that records /tmp/walks/NAME; each host's GPUs are sampled meanwhile."""
    for host in bed.names:
        bed.run(host, f"setsid {SMI} > /root/smi.csv 2>&1 &", check=False)
    with (out / f"{name}.log").open("wb") as log:
        began = time.monotonic()
        argv = [*MILEPOST, *words, "--walk", f"/tmp/walks/{name}"]
        process = subprocess.Popen(argv, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
        try:
            code: object = process.wait(timeout=limit)
        except subprocess.TimeoutExpired:
            process.terminate()
            process.wait(30)
            code = "no end"
    print(f"{name}: exit {code} after {time.monotonic() - began:.0f} s", flush=True)
    evidence = Path(f"/tmp/walks/{name}/evidence")
    evidence.mkdir(parents=True, exist_ok=True)
    for number, host in enumerate(bed.names, 1):
        bed.kill(host, "--query-gpu=timestamp")
        (evidence / f"nvidia-smi-node-{number}.csv").write_text(bed.run(host, "cat /root/smi.csv").stdout)


def run(out: Path, name: str) -> None:
    walk = WALKS[name]
    with GpuHosts(walk.own) as bed:
        for host in bed.names:
            print(host, bed.run(host, "nvidia-smi -L; ip -brief addr", check=False).stdout, flush=True)
        file = bed.folder / f"{name}.toml"
        file.write_text(cluster_file(bed, walk))
        for again, during in ((name, walk.during), *walk.after):
            if during is not None:
                during(bed, Path(f"/tmp/walks/{again}"))
            walked(bed, [str(file), "--headless"], out, again)
        if walk.load:
            walked(bed, ["load", str(file), "--concurrency", "1,16"], out, walk.load, 150)
        ended = subprocess.run([*MILEPOST, "down", str(file)], capture_output=True, text=True, timeout=120)
        (out / f"{name}.down.log").write_text(ended.stdout + ended.stderr)
        print("down:", ended.returncode, "left:", [bed.processes(host) for host in bed.names], flush=True)


def main(run: Callable[[Path, str], None] = run) -> None:
    out = Path(sys.argv[1])
    for name in sys.argv[2:]:
        run(out, name)


if __name__ == "__main__":
    main()
