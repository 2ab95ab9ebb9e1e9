"""The script that runs an all-reduce, run here with a stand-in for torch; what it tells."""

from __future__ import annotations

import asyncio
import json
import venv as environment
from pathlib import Path

import psutil
import pytest

from tests.helpers.network_help import cluster
from tests.helpers.waiting import soon
from wizard_steps.cluster.file import parse
from wizard_steps.engine.step import Known
from wizard_steps.milestones import hang
from wizard_steps.model import Result
from wizard_steps.node import collective

#: Stands in for torch, whose ranks it makes believe to meet; FAKE says what goes wrong.
FAKE_TORCH = """
class Tensor:
    def __init__(self, value): self.value = value
    def item(self): return self.value
    def fill_(self, value): self.value = value
    def __getitem__(self, place): return self
def full(shape, value, device=None): return Tensor(value)
def ones(count, device=None): return Tensor(1.0)
def tensor(values, device=None): return Tensor(values[0])
"""
FAKE_DIST = """
import os, time
NCCL = '''a:1:1 [0] NCCL INFO NET/IB : Using [0]mlx5_0:1/RoCE [1]mlx5_1:1/RoCE [RO]; OOB eth0:10.0.0.1<0>
a:1:1 [0] NCCL INFO NET/IB : GPU Direct RDMA Disabled for HCA 0 'mlx5_0'
a:1:1 [0] NCCL INFO Using network IB
a:1:1 [0] NCCL INFO Channel 00/0 : 0[0] -> 1[0] [send] via NET/IB/0/GDRDMA
a:1:1 [0] NCCL INFO Channel 01/0 : 0[0] -> 1[0] [send] via NET/IB/1(0)/GDRDMA/Shared
a:1:1 [0] NCCL INFO Channel 02/0 : 0[0] -> 1[0] [receive] via NET/IB/1
a:1:1 [0] NCCL INFO Channel 03/0 : 0[0] -> 1[0] [receive] via NET/I
a:1:1 [0] NCCL INFO Channel 00/0 : 0[0] -> 1[1] via P2P/CUMEM
a:1:1 [0] NCCL INFO Channel 00 : 0[0] -> 1[1] via SHM/direct/direct'''
fake, uses = os.environ.get("FAKE"), 0
class TCPStore:
    # The last of three ranks does not come where FAKE is "absent"; none reaches rank 0 where it is "far".
    def __init__(self, host, port, world, master, timeout, wait_for_workers):
        if fake == "far" and not master: raise RuntimeError("connect timed out\\nand more")
    def set(self, key, value): pass
    def check(self, keys):
        if fake == "far": time.sleep(600)
        return fake != "absent" or keys != ["came/2"]
    def wait(self, keys, timeout):
        if fake in ("far", "absent"): time.sleep(600)
def init_process_group(backend, store, rank, world_size, timeout):
    global world, me
    world, me = world_size, rank
    if fake == "nccl" and rank == 0: print(NCCL + "\\na:1:1 [0] NCCL INFO cut in mid-line ", end="", flush=True)
    if fake == "slow": time.sleep(600)
    if fake == "raise": raise RuntimeError("Connection refused\\nand more")
class ReduceOp: MAX = "max"
def all_reduce(x, op=None):
    global uses
    if op: return
    if fake == "hang" and me: time.sleep(600)
    if fake == "stop" and me == 1: os.kill(os.getpid(), 19)
    if fake == "stop" and not me: time.sleep(600)
    x.value, uses = (world if uses else world * (world + 1) / 2), uses + 1
def destroy_process_group(): pass
"""


@pytest.fixture
def venv(tmp_path: Path) -> Path:
    """An environment whose torch is a stand-in: what is tested is the script around it."""
    environment.create(tmp_path, with_pip=False, symlinks=True)
    torch = next((tmp_path / "lib").glob("python*")) / "site-packages" / "torch"
    (torch / "distributed").mkdir(parents=True)
    (torch / "__init__.py").write_text(FAKE_TORCH)
    (torch / "distributed" / "__init__.py").write_text(FAKE_DIST)
    return tmp_path


async def reduce(venv: Path, fake: str, limit: int = 2, ask: int = 10) -> Result:
    one = parse(f'venv = "{venv}"\n[[nodes]]\nhost = "a"\nrole = "head"\ngpus = 3\n')
    rank = collective.Rank(one.head, 0, 3)
    cmd = collective.command(
        str(venv / "bin/python"), rank, 3, "127.0.0.1", "gloo", {"FAKE": fake}, "allreduce"
    )
    text = cmd.text.replace('"start":90', f'"start":{limit}').replace('"limit":20', f'"limit":{limit}')
    text = text.replace('"ask":10', f'"ask":{ask}').replace('"patience":45', '"patience":0.5')
    process = await asyncio.create_subprocess_exec(
        "sh", "-c", text, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    out, _ = await asyncio.wait_for(process.communicate(), 60)
    assert not [p for p in psutil.process_iter() if _mine(p, venv)], "a rank was left behind"
    return Result(one.head, "allreduce", out.decode(), process.returncode or 0)


def _mine(process: psutil.Process, venv: Path) -> bool:
    try:
        return any(str(venv) in word for word in process.cmdline())
    except psutil.Error:
        return False


async def test_all_ranks_of_a_node_run_and_rank_0_tells_the_speed(venv: Path) -> None:
    result = await reduce(venv, "", limit=30)
    assert result.code == 0, result.text
    assert [f"rank {i} of 3: the sum is right" in result.text for i in range(3)] == [True] * 3
    told = collective.told(result)
    assert told.problem == ""
    assert told.speed.startswith("gloo, 3 ranks, 16 MiB in ")


async def test_the_ways_nccl_names_are_counted_by_kind(venv: Path) -> None:
    result = await reduce(venv, "nccl", limit=30)
    told = collective.told(result)
    assert told.network == "IB"
    assert told.channels == "1 x NET/IB, 2 x NET/IB/GDRDMA, 1 x P2P, 1 x SHM"
    assert told.direct == "Disabled"
    assert "rank 0 of 3: the sum is right" in result.text
    assert told.devices.startswith("NET/IB uses [0]mlx5_0:1/RoCE [1]mlx5_1:1/RoCE")


@pytest.mark.parametrize(
    ("fake", "code", "words"),
    [
        ("hang", 3, "no end of all_reduce within 2 s"),
        ("slow", 3, "no end of meet the other ranks within 2 s"),
        ("far", 9, "meet the other ranks: rank 0 at 127.0.0.1 port 29512 was not reached in 0"),
        ("raise", 1, "failed at meet the other ranks: RuntimeError: Connection refused"),
    ],
)
async def test_a_failure_is_named_and_nothing_is_left(venv: Path, fake: str, code: int, words: str) -> None:
    result = await reduce(venv, fake)
    assert result.code == code, result.text
    assert words in collective.told(result).problem
    assert "and more" not in result.text


async def test_a_rank_that_never_comes_is_named_by_rank_0(venv: Path) -> None:
    result = await reduce(venv, "absent", limit=60)
    assert result.code, result.text
    known = Known(cluster("ab"))
    said = {"a": result.text, "b": "\nrank 2: no end of import torch within 50 s\n"}
    (check,) = hang.absent(known, said, {0: "a", 1: "a", 2: "b"}, "the all_reduce")
    assert (check.name, check.node, check.ok) == ("rank 2", "b", False)
    assert "rank 2 on b never came to rank 0 on a" in check.found
    assert "no end of import torch within 50 s" in check.found
    (silent,) = hang.absent(known, {**said, "b": ""}, {2: "b"}, "the all_reduce")
    assert "b reported nothing" in silent.found
    assert hang.absent(known, {"a": "rank 0: waits for rank 2 of 3 (15 s)"}, {2: "b"}, "x") == []


async def test_a_stopped_rank_is_named_long_before_the_limit(venv: Path) -> None:
    result = await reduce(venv, "stop", limit=300, ask=1)
    assert result.code == 3, result.text
    of = Known(cluster("a"))
    (check, *_) = hang.checks(of, {"a": result.text}, "the all_reduce")
    assert (check.name, check.node, check.ok) == ("rank 1", "a", False)
    assert "is stopped; the all_reduce waits for it" in check.found


async def test_the_ranks_end_with_a_killed_parent(venv: Path) -> None:
    one = parse(f'venv = "{venv}"\n[[nodes]]\nhost = "a"\nrole = "head"\ngpus = 2\n')
    cmd = collective.command(
        str(venv / "bin/python"),
        collective.Rank(one.head, 0, 2),
        2,
        "127.0.0.1",
        "gloo",
        {"FAKE": "slow"},
        "x",
    )
    process = await asyncio.create_subprocess_exec("sh", "-c", cmd.text, stdout=asyncio.subprocess.PIPE)
    parent = psutil.Process(process.pid)
    await soon(lambda: len(parent.children(recursive=True)) == 2, "two ranks", 60)
    ranks = parent.children(recursive=True)
    process.kill()
    await process.wait()
    _, alive = psutil.wait_procs(ranks, timeout=60)
    assert alive == []


def test_what_nccl_chose_is_read() -> None:
    one = cluster()
    speed = "nccl, 16 ranks, 64 MiB in 0.9 ms, bus bandwidth 139.81 GB/s"
    text = f"NCCL network: IB\nNCCL channels: 16 x NET/IB, 56 x P2P\nall_reduce: {speed}\n"
    told = collective.told(Result(one.head, "allreduce", text, 0))
    assert (told.network, told.channels, told.gbytes) == ("IB", "16 x NET/IB, 56 x P2P", 139.81)
    assert collective.told(None).problem == "was not run"
    late = collective.told(Result(one.head, "allreduce", "", -1, "timeout"))
    assert late.problem == "timeout"


def test_every_gpu_of_a_node_is_a_rank_with_nccl_one_with_gloo() -> None:
    nodes = cluster("abc").node_list
    assert [(r.first, r.procs) for r in collective.ranks(nodes, "nccl")] == [(0, 8), (8, 8), (16, 8)]
    assert [(r.first, r.procs) for r in collective.ranks(nodes, "gloo")] == [(0, 1), (1, 1), (2, 1)]
    rank = collective.ranks(nodes, "nccl")[1]
    text = collective.command("python3", rank, 24, "fd00::1", "nccl", {"NCCL_DEBUG": "WARN"}, "x").text
    assert '"host":"fd00::1","port":29512' in text
    assert "NCCL_DEBUG=WARN" in text
    assert json.dumps("nccl") in text
