"""Two hosts on one machine with two GPUs, each sees its own: milepost walks them headless.

    python -m tests.gpu.two_hosts OUT NAME [NAME ...]      names: see WALKS

Needs root, two NVIDIA GPUs, network namespaces, sshd, ip; the environment of make_venv.sh at /opt/vllm-venv and a
model at /srv/model. Real: SSH, network namespaces, Ray, vLLM, NCCL and the GPUs. The model's weights are random.
NVLink multicast stays off: on shared hosts it can put GPUs out of service.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
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
SMI = [
    "nvidia-smi",
    "--query-gpu=timestamp,index,utilization.gpu,memory.used",
    "--format=csv,noheader",
    "-l",
    "1",
]


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
    """``during``: called with the bed beside the walk. ``flags``: more flags of vllm serve."""

    own: dict[str, tuple[int, ...]]
    tp: int = 1
    pp: int = 1
    serve: dict[str, Any] = field(default_factory=dict)
    during: Callable[[GpuHosts, Path], None] | None = None


def fill_gpu(bed: GpuHosts, folder: Path) -> None:
    """Somebody's process takes 70 GiB of the worker's GPU until the bed is gone."""
    code = "import torch, time; x = torch.empty(70 << 30, dtype=torch.uint8, device='cuda'); time.sleep(600)"
    bed.run("b", f"setsid {VENV}/bin/python -c {json.dumps(code)} > /dev/null 2>&1 & sleep 15", timeout=60)


def kill_raylet(bed: GpuHosts, folder: Path) -> None:
    """The worker's raylet is killed when vLLM has begun to start its workers."""

    def later() -> None:
        for _ in range(LIMIT):
            if bed.run(
                "a",
                "cat /root/.milepost/*/*/serve.log 2>/dev/null | grep -c 'Loading\\|loading'",
                check=False,
            ).stdout.strip() not in ("", "0"):
                bed.kill("b", "raylet/raylet")
                return
            time.sleep(1)

    threading.Thread(target=later, daemon=True).start()


APART = {"a": (0,), "b": (1,)}
WALKS = {
    "h100x2-hosts-tp2": Walk(APART, tp=2),
    "h100x2-hosts-pp2": Walk(APART, pp=2),
    "h100x2-hosts-mp": Walk(APART, tp=2, serve={"executor": "mp"}),
    "h100x2-nvlink": Walk({"a": (0, 1)}, tp=2),
    "h100x2-gpu-full": Walk(APART, tp=2, during=fill_gpu),
    "h100x2-raylet-killed": Walk(APART, tp=2, during=kill_raylet),
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
                "gpus": len(gpus),
                "role": "head" if name == "a" else "worker",
                "fabric_ip": bed.network.fabric_ip(name),
            },
        )
        for name, gpus in walk.own.items()
    ]
    tables += [
        ("[serve]", serve),
        ("[ray]", {"version": "2.60.0", "settle": 25, "head_flags": ray, "worker_flags": ray}),
        ("[ssh]", {"config": str(bed.ssh_config()), "known_hosts": str(bed.home / "known_hosts")}),
        ("[env]", ENV),
    ]
    lines = ['name = "two-h100"', f'venv = "{VENV}"', ""]
    for title, table in tables:
        lines += [title, *(f"{key} = {json.dumps(value)}" for key, value in table.items()), ""]
    return "\n".join(lines)


def run(out: Path, name: str) -> None:
    walk = WALKS[name]
    with GpuHosts(walk.own) as bed:
        for host in bed.names:
            print(host, bed.run(host, "nvidia-smi -L; ip -brief addr", check=False).stdout, flush=True)
        file = bed.folder / f"{name}.toml"
        file.write_text(cluster_file(bed, walk))
        if walk.during is not None:
            walk.during(bed, file)
        with (out / f"{name}.log").open("wb") as log, (out / f"{name}.smi.csv").open("wb") as smi:
            watch = subprocess.Popen(SMI, stdout=smi)
            began = time.monotonic()
            words = [sys.executable, "-m", "tui.cli.main"]
            walked = [*words, str(file), "--headless", "--walk", f"/tmp/walks/{name}"]
            process = subprocess.Popen(walked, stdout=log, stderr=subprocess.STDOUT)
            try:
                code: object = process.wait(timeout=LIMIT)
            except subprocess.TimeoutExpired:
                process.terminate()
                code = "no end"
            print(f"{name}: exit {code} after {time.monotonic() - began:.0f} s", flush=True)
            subprocess.run([*words, "down", str(file)], stdout=log, stderr=subprocess.STDOUT, timeout=120)
            watch.terminate()
        for host in bed.names:
            text = bed.run(host, "cat /root/.milepost/*/*/serve.log 2>/dev/null", check=False).stdout
            (out / f"{name}-{host}.serve.log").write_text(text[-300_000:])
        print("left:", [bed.processes(host) for host in bed.names], flush=True)


def main() -> None:
    out = Path(sys.argv[1])
    for name in sys.argv[2:]:
        run(out, name)


if __name__ == "__main__":
    main()
