"""A real all_reduce with the torch of the nodes' environment: one process per node on CPU (gloo), one per
GPU with CUDA (NCCL).

The script is sent as text and ends by itself: its first process starts the ranks of its node, keeps what
matters of their output, and ends them when a stage takes too long. They end with it even when it is killed.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping, Sequence

from msgspec import Struct

from wizard_steps.model import Cmd, Node, Result
from wizard_steps.node import remote

#: Where the ranks meet, on the head; pairs take the ports after it. Below Linux's ephemeral ports.
PORT = 29512
#: MiB that are reduced at a time: five times within REDUCE even over 1 Gbit/s.
SIZES = {"gloo": 16, "nccl": 64}
#: Seconds until all ranks have met (importing torch from a slow disk counts), and for the reduction itself
#: (NCCL joins the ranks of many nodes in its first one).
MEET, REDUCE = 90, {"gloo": 20, "nccl": 60}

#: Imports no torch, which takes ten seconds on a busy machine: the driver counts the GPUs it lets us see.
LOOK = """
import ctypes
from importlib import metadata
try: version = metadata.version("torch")
except metadata.PackageNotFoundError: version = "missing"
count = ctypes.c_int(0)
try:
    cuda = ctypes.CDLL("libcuda.so.1")
    if "+cpu" in version or cuda.cuInit(0) or cuda.cuDeviceGetCount(ctypes.byref(count)): count.value = 0
except OSError: pass
print("torch:", version)
print("cuda:", count.value)
"""
_SCRIPT = """
import collections, ctypes, json, os, re, subprocess, sys, threading, time
spec = json.loads(sys.argv[1])
world, first, backend = spec["world"], spec["first"], spec["backend"]
def child(local):
    ctypes.CDLL(None).prctl(1, 9)
    rank, stage = first + local, ["import torch"]
    def say(text): sys.stdout.write(text + "\\n"); sys.stdout.flush()
    def at(name): stage[0] = name; say(f"@stage {rank} {name}")
    try:
        at("import torch")
        import datetime, torch
        import torch.distributed as dist
        device = "cpu"
        if backend == "nccl":
            at(f"take GPU {local}"); torch.cuda.set_device(local); device = f"cuda:{local}"
        at("meet the other ranks")
        dist.init_process_group(backend, init_method=spec["meet"], rank=rank, world_size=world,
                                timeout=datetime.timedelta(seconds=spec["start"]))
        at("all_reduce")
        x = torch.full((1,), float(rank + 1), device=device)
        dist.all_reduce(x)
        want = world * (world + 1) / 2
        if x.item() != want: raise ValueError(f"the sum is {x.item()}, not {want}")
        count = spec["mib"] << 18
        x = torch.ones(count, device=device)
        dist.all_reduce(x)
        times = []
        for _ in range(3):
            x.fill_(1.0)
            if backend == "nccl": torch.cuda.synchronize()
            t = time.monotonic(); dist.all_reduce(x)
            if backend == "nccl": torch.cuda.synchronize()
            times.append(time.monotonic() - t)
        if x[-1].item() != world: raise ValueError(f"the sum is {x[-1].item()}, not {world}")
        say(f"rank {rank} of {world}: the sum is right")
        if rank == 0:
            best, size = min(times), count * 4
            say(f"all_reduce: {backend}, {world} ranks, {spec['mib']} MiB in {best * 1e3:.1f} ms, "
                f"bus bandwidth {2 * (world - 1) / world * size / best / 1e9:.2f} GB/s")
        dist.destroy_process_group()
        os._exit(0)
    except BaseException as e:
        text = (str(e).strip() or "no message").splitlines()[0][:300]
        say(f"rank {rank}: failed at {stage[0]}: {type(e).__name__}: {text}"); os._exit(1)
if len(sys.argv) > 2: child(int(sys.argv[2]))
stages, lock = {}, threading.Lock()
vias, nets, shown = collections.Counter(), set(), collections.Counter()
def read(p):
    for raw in p.stdout:
        line = raw.decode("utf-8", "replace").rstrip()
        with lock:
            s = re.match(r"@stage (\\d+) (.*)", line)
            if s: stages[int(s[1])] = (s[2], time.monotonic()); continue
            if "NCCL INFO" in line:
                v = re.search(r"via (NET/[A-Za-z]+|P2P|SHM)", line)
                n = re.search(r"Using network (\\S+)", line)
                d = re.search(r"NET/(IB|Socket) : Using (\\[\\d.*)", line)
                if v: vias[v[1]] += 1
                if n: nets.add(n[1])
                if not d: continue
                line = f"NCCL: NET/{d[1]} uses {d[2][:160]}"
            shown[line] += 1
            if shown[line] == 1 and len(shown) <= 100: print(line, flush=True)
argv = [sys.executable, "-c", sys.orig_argv[2], sys.argv[1]]
ps = [subprocess.Popen(argv + [str(i)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                       stdin=subprocess.DEVNULL) for i in range(spec["procs"])]
ts = [threading.Thread(target=read, args=(p,), daemon=True) for p in ps]
for t in ts: t.start()
began, late = time.monotonic(), ""
while not late and any(p.poll() is None for p in ps):
    time.sleep(0.1)
    now = time.monotonic()
    # One rank that failed is enough: the others would only wait for it.
    if any(p.poll() for p in ps): time.sleep(1); break
    with lock:
        for rank, (name, since) in stages.items():
            if name == "all_reduce" and now - since > spec["limit"]:
                late = f"rank {rank}: no end of {name} within {spec['limit']} s"
        if not late and now - began > spec["start"] and any(n != "all_reduce" for n, _ in stages.values()):
            late = f"rank {first}: no end of {stages.get(first, ('start', 0))[0]} within {spec['start']} s"
for p in ps:
    if p.poll() is None: p.kill()
for p in ps: p.wait()
for t in ts: t.join(2)
if nets: print("NCCL network:", ", ".join(sorted(nets)))
if vias: print("NCCL channels:", ", ".join(f"{n} x {v}" for v, n in sorted(vias.items())))
if late: print(late)
sys.exit(3 if late else max(abs(p.returncode) for p in ps))
"""


class Rank(Struct, frozen=True):
    """The ranks of one node in a run."""

    node: Node
    first: int
    procs: int


class Told(Struct, frozen=True):
    """What a run said: ``speed`` and the bandwidth in GB/s come from rank 0."""

    speed: str = ""
    gbytes: float = 0.0
    network: str = ""
    channels: str = ""
    problem: str = ""


def ranks(nodes: Sequence[Node], backend: str) -> list[Rank]:
    """Consecutive ranks: all GPUs of each node with NCCL (as vLLM will use them), one process with gloo."""
    found, first = [], 0
    for node in nodes:
        procs = node.gpus if backend == "nccl" else 1
        found.append(Rank(node, first, procs))
        first += procs
    return found


def look(python: str, kind: str) -> Cmd:
    """``python``: an sh word; ``kind``: what it belongs to, for a reader."""
    there = f"command -v {python} >/dev/null"
    text = f"{there} || {{ echo 'torch: missing'; exit 0; }}\nexec {python} -c {shlex.quote(LOOK)}\n"
    shown = f"(which torch is in the {kind}, and does it see GPUs?)"
    return Cmd("torch", text, timeout=30, quiet=True, show=shown)


def command(
    python: str,
    rank: Rank,
    world: int,
    master: str,
    backend: str,
    env: Mapping[str, str],
    key: str,
    port: int = PORT,
) -> Cmd:
    """The ranks of one node. ``python``: an sh word; ``master``: the address of rank 0's node; ``env``: what
    Ray is started with."""
    where = f"[{master}]" if ":" in master else master
    spec = {
        "world": world,
        "first": rank.first,
        "procs": rank.procs,
        "backend": backend,
        "meet": f"tcp://{where}:{port}",
        "mib": SIZES[backend],
        "start": MEET,
        "limit": REDUCE[backend],
    }
    own = {"NCCL_DEBUG": "INFO", "NCCL_DEBUG_SUBSYS": "INIT,NET", **env, "PYTHONUNBUFFERED": "1"}
    words = f"{shlex.quote(_SCRIPT)} {shlex.quote(json.dumps(spec, separators=(',', ':')))}"
    span = f"ranks {rank.first} to {rank.first + rank.procs - 1} of {world}"
    shown = f"(torch.distributed all_reduce: {backend}, {span})"
    text = f"exec env {remote.environment(own)} {python} -c {words}\n"
    return Cmd(key, text, timeout=MEET + REDUCE[backend] + 30, show=shown)


def told(result: Result | None) -> Told:
    if result is None:
        return Told(problem="was not run")
    lines = [line.strip() for line in result.lines if line.strip()]
    speed = next((line.removeprefix("all_reduce: ") for line in lines if line.startswith("all_reduce: ")), "")
    number = re.search(r"bus bandwidth ([\d.]+) GB/s", speed)
    problem = ""
    if not result.ok:
        named = [x for x in lines if re.match(r"rank \d+: (failed|no end)", x)]
        problem = (named or lines or [result.reason])[-1]
    return Told(
        speed,
        float(number[1]) if number else 0.0,
        _after(lines, "NCCL network: "),
        _after(lines, "NCCL channels: "),
        problem,
    )


def _after(lines: Sequence[str], start: str) -> str:
    return next((line.removeprefix(start) for line in lines if line.startswith(start)), "")
