"""One rank of an all_reduce; scripts/all_reduce.py starts it and reads what it prints.

Run as ``python -c TEXT SPEC NUMBER PARENT``; SPEC is JSON, NUMBER counts the ranks of a node from 0, PARENT
is the pid of the process that started it.
"""

from __future__ import annotations

import ctypes
import datetime
import json
import os
import sys
import tempfile
import time
from typing import Any

SPEC: dict[str, Any] = json.loads(sys.argv[1])
WORLD, BACKEND = SPEC["world"], SPEC["backend"]
LOCAL = int(sys.argv[2])
RANK = SPEC["first"] + LOCAL
#: The larger size is reduced only where the smaller one was done this quickly (seconds).
QUICK = 0.05
#: Seconds after which rank 0 says for whom it waits.
WAITS = 15


def say(text: str) -> None:
    """In one write, on a line of its own: NCCL's threads write to the same pipe, also in mid-line."""
    os.write(1, f"\n{text}\n".encode())


class Stage:
    """What the rank does; its first process reads it and counts the seconds."""

    def __init__(self) -> None:
        self.name = ""

    def at(self, name: str) -> None:
        self.name = name
        say(f"@stage {RANK} {name}")


def main() -> None:
    """Ends the process, always."""
    ctypes.CDLL(None).prctl(1, 9)  # PR_SET_PDEATHSIG: killed when the first process is gone
    if os.getppid() != int(sys.argv[3]):  # which it was before the kernel knew
        os._exit(1)
    stage = Stage()
    try:
        # torch asks for it; Python would write a file there to try it, and a dry run writes none.
        tempfile.tempdir = os.environ.get("TMPDIR") or "/tmp"
        stage.at("import torch")
        reduce(stage)
        os._exit(0)
    except BaseException as error:
        text = (str(error).strip() or "no message").splitlines()[0][:300]
        kind = "" if isinstance(error, NotMet) else f"{type(error).__name__}: "
        say(f"rank {RANK}: failed at {stage.name}: {kind}{text}")
        os._exit(1)


class NotMet(Exception):
    """Ranks that did not come; its text names them."""


def meet(dist: Any, patience: float) -> Any:
    """A store at rank 0 that every rank has come to. Raises NotMet after ``patience`` seconds."""
    limit = datetime.timedelta(seconds=patience)
    host, port = SPEC["host"], SPEC["port"]
    try:
        store = dist.TCPStore(host, port, WORLD, RANK == 0, timeout=limit, wait_for_workers=False)
    except Exception as error:
        if RANK == 0:
            raise
        reason = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
        raise NotMet(f"rank 0 at {host} port {port} was not reached in {patience:.0f} s: {reason}") from error
    if RANK:
        store.set(f"came/{RANK}", "1")
        try:
            store.wait(["all"], limit + datetime.timedelta(seconds=5))
        except Exception as error:
            raise NotMet("rank 0 did not go on: it had failed, or waited for another rank") from error
        return store
    missing, began, told = set(range(1, WORLD)), time.monotonic(), WAITS
    while missing := {rank for rank in missing if not store.check([f"came/{rank}"])}:
        waited = time.monotonic() - began
        if waited > patience:
            raise NotMet(f"no sign of {numbers(missing)} of {WORLD} within {waited:.0f} s")
        if waited > told:
            say(f"rank 0: waits for {numbers(missing)} of {WORLD} ({waited:.0f} s)")
            told += WAITS
        time.sleep(0.1)
    store.set("all", "1")
    return store


def numbers(ranks: set[int]) -> str:
    """``rank 3``, ``ranks 1, 2, 8 ...``."""
    few = ", ".join(map(str, sorted(ranks)[:8]))
    return f"rank{'' if len(ranks) == 1 else 's'} {few}{' ...' if len(ranks) > 8 else ''}"


def reduce(stage: Stage) -> None:
    began = time.monotonic()
    import torch
    import torch.distributed as dist

    # Where torch comes from a slow disk here, it may come from one elsewhere too.
    patience = min(SPEC["start"], max(SPEC["patience"], 3 * (time.monotonic() - began)))
    device = "cpu"
    if BACKEND == "nccl":
        stage.at(f"take GPU {LOCAL}")
        torch.cuda.set_device(LOCAL)
        device = f"cuda:{LOCAL}"
    stage.at("meet the other ranks")
    store = meet(dist, patience)
    limit = datetime.timedelta(seconds=SPEC["start"])
    dist.init_process_group(BACKEND, store=store, rank=RANK, world_size=WORLD, timeout=limit)
    stage.at("all_reduce")
    x = torch.full((1,), float(RANK + 1), device=device)
    dist.all_reduce(x)
    if x.item() != WORLD * (WORLD + 1) / 2:
        raise ValueError(f"the sum is {x.item()}, not {WORLD * (WORLD + 1) / 2}")
    results = []
    for mib in SPEC["mib"]:
        seconds = timed(torch, dist, mib, device)
        results.append((mib, seconds))
        # Every rank must go on or stop alike: the slowest one's time is what all of them take.
        slowest = torch.tensor([seconds], device=device)
        dist.all_reduce(slowest, op=dist.ReduceOp.MAX)
        if slowest.item() > QUICK:
            break
    say(f"rank {RANK} of {WORLD}: the sum is right")
    if RANK == 0:
        mib, seconds = max(results, key=lambda one: one[0] / one[1])
        bus = 2 * (WORLD - 1) / WORLD * (mib << 20) / seconds / 1e9
        say(
            f"all_reduce: {BACKEND}, {WORLD} ranks, {mib} MiB in {seconds * 1e3:.1f} ms, "
            f"bus bandwidth {bus:.2f} GB/s"
        )
    dist.destroy_process_group()


def timed(torch: Any, dist: Any, mib: int, device: str) -> float:
    """Seconds of the best of three, after one that warms up."""
    x = torch.ones(mib << 18, device=device)
    dist.all_reduce(x)
    times = []
    for _ in range(3):
        x.fill_(1.0)
        if BACKEND == "nccl":
            torch.cuda.synchronize()
        began = time.monotonic()
        dist.all_reduce(x)
        if BACKEND == "nccl":
            torch.cuda.synchronize()
        times.append(time.monotonic() - began)
    if x[-1].item() != WORLD:
        raise ValueError(f"the sum is {x[-1].item()}, not {WORLD}")
    return min(times)


main()
