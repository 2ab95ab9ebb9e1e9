"""Networks measured and worded; the scripts that the network gates send, run here on loopback."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from wizard_steps.cluster import Cluster, parse
from wizard_steps.milestones import collective, ip_measure, mesh
from wizard_steps.milestones.fabric import _pairs, _peers
from wizard_steps.milestones.ip import Ip
from wizard_steps.model import Cmd, Node, Question, Result, Results
from wizard_steps.step import Known

ADDRESSES = """\
lo               UNKNOWN        127.0.0.1/8
eno1             UP             192.168.7.{n}/24
ens1             UP             10.0.0.{n}/24
ens2             UP             10.9.{n}.1/24
"""
LINKS = """\
eno1 speed 1000 mtu 1500
ens1 speed 100000 mtu 9000
ens2 speed 100000 mtu 9000

@@fact links exit 0
mlx5_0 port 1 state 4: ACTIVE rate 100 Gb/sec (4X EDR) layer Ethernet net /x/net/ens1

@@fact rdma exit 0
192.168.7.{n}

@@fact ssh exit 0
"""


BACK = ("10.0.0.2 -> a 10.0.0.1:19998 open, 0.09 ms", "192.168.7.2 -> a 192.168.7.1:19998 open, 0.2 ms")


def cluster(names: str = "ab", more: str = "") -> Cluster:
    nodes = "".join(
        f'[[nodes]]\nname = "{name}"\nhost = "gpu-{name}"\ngpus = 8\nrole = "{"worker" if i else "head"}"\n'
        for i, name in enumerate(names)
    )
    return parse(f"{more}\n{nodes}")


def looked(known: Known) -> list[Result]:
    found = []
    for n, node in enumerate(known.nodes, 1):
        found.append(Result(node, "addr", ADDRESSES.format(n=n), 0))
        found.append(Result(node, "speed", LINKS.format(n=n), 0))
    return found


def questions(known: Known, done: Results) -> dict[str, Question]:
    wanted = Ip().rounds(known, done)
    assert wanted is not None
    return {question.id: question for question in wanted.questions}


def measured(node: Node, *lines: str) -> Result:
    return Result(node, "measure", "".join(f"{line}\n" for line in lines), 0)


def test_the_recommended_address_comes_first_and_says_why() -> None:
    known = Known(cluster())
    a, b = known.nodes
    found = looked(known)
    wanted = Ip().rounds(known, Results(found))
    assert wanted is not None
    assert [(node.name, cmd.key) for node, cmd in wanted.work] == [("a", "measure"), ("b", "measure")]
    done = Results(
        [
            *found,
            measured(
                a,
                "10.0.0.1 -> b 10.0.0.2:19998 open, 0.10 ms, 21000 Mbit/s there, 20000 Mbit/s back",
                "192.168.7.1 -> b 192.168.7.2:19998 open, 0.30 ms, 941 Mbit/s there, 930 Mbit/s back",
            ),
            measured(b, *BACK),
        ]
    )
    first, second, third = questions(known, done)["ip-b"].options
    assert questions(known, done)["ip-b"].default == first.value == "10.0.0.2"
    assert first.why.startswith("recommended: 10.0.0.0/24: it was the fastest in the timed transfers")
    assert "RDMA device on every node" in first.why
    assert "measured 20.0 Gbit/s at worst; latency up to 0.10 ms" in first.why
    assert first.why.endswith("Sets VLLM_HOST_IP=10.0.0.2 NCCL_SOCKET_IFNAME=ens1 GLOO_SOCKET_IFNAME=ens1")
    assert (second.value, "ssh comes in here" in second.why) == ("192.168.7.2", True)
    assert (third.value, "not on a network that all nodes share" in third.why) == ("10.9.2.1", True)


def test_a_network_blocked_one_way_is_not_recommended() -> None:
    known = Known(cluster())
    a, b = known.nodes
    done = Results(
        [
            *looked(known),
            measured(
                a,
                "10.0.0.1 -> b 10.0.0.2:19998 closed: no answer (dropped by a firewall, or no such host)",
                "192.168.7.1 -> b 192.168.7.2:19998 open, 0.30 ms, 941 Mbit/s there, 930 Mbit/s back",
            ),
            measured(b, *BACK),
        ]
    )
    first, second, _ = questions(known, done)["ip-a"].options
    assert first.value == "192.168.7.1"
    assert "every node reaches every other there" in first.why
    assert "blocked: a -> b" in second.why


def test_the_files_own_env_is_what_will_be_set() -> None:
    known = Known(cluster(more='env = { NCCL_SOCKET_IFNAME = "^lo" }'))
    done = Results([*looked(known), *(measured(node) for node in known.nodes)])
    assert "NCCL_SOCKET_IFNAME=^lo GLOO_SOCKET_IFNAME=ens1" in questions(known, done)["ip-a"].options[0].why


def test_nothing_is_measured_where_there_is_no_choice() -> None:
    known = Known(cluster())
    lone = "lo UNKNOWN 127.0.0.1/8\neth0 UP 10.0.0.{n}/24\n"
    found = [Result(node, "addr", lone.format(n=n), 0) for n, node in enumerate(known.nodes, 1)]
    wanted = Ip().rounds(known, Results(found))
    assert wanted is not None
    assert {cmd.key for _, cmd in wanted.work} == {"listen", "out", "back"}


def test_one_node_with_two_networks_is_asked_at_once() -> None:
    known = Known(cluster("a"))
    assert ip_measure.measure(known, Results(looked(known))) is None
    assert list(questions(known, Results(looked(known)))) == ["ip-a"]


def run(cmd: Cmd) -> subprocess.Popen[str]:
    text = cmd.text.replace("command -v python3", f"echo {sys.executable}")
    return subprocess.Popen(["sh", "-c", text], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def free() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_mesh_over_loopback_measures_and_ends() -> None:
    port, other = free(), free()
    one = cluster()
    a = mesh.command(
        one, "mesh", [("127.0.0.1", port, 1)], [("b", "127.0.0.1", "127.0.0.2", port, 1 << 20)], ""
    )
    b = mesh.command(
        one,
        "mesh",
        [("127.0.0.2", port, 1)],
        [("a", "127.0.0.2", "127.0.0.1", port, 0), ("a", "127.0.0.2", "127.0.0.1", other, 0)],
        "",
    )
    began = time.monotonic()
    runs = [run(a), run(b)]
    said = [process.communicate(timeout=60)[0] for process in runs]
    # The closed port is given up soon, since the peer has answered on another.
    assert time.monotonic() - began < mesh.wait_for(2)
    (there,) = mesh.ways(Result(one.head, "mesh", said[0], 0))
    assert (there.name, there.ip, there.port, there.open) == ("b", "127.0.0.2", port, True)
    assert there.mbit > 0
    back = {way.port: way for way in mesh.ways(Result(one.head, "mesh", said[1], 0))}
    assert back[port].open
    assert (back[other].open, back[other].why) == (False, "Connection refused")


def test_an_address_that_is_not_here_is_said() -> None:
    one = cluster()
    cmd = mesh.command(one, "mesh", [("192.0.2.7", free(), 0)], [], "")
    said, _ = run(cmd).communicate(timeout=60)
    assert "cannot listen on 192.0.2.7" in said
    assert mesh.ways(Result(one.head, "mesh", said, 0)) == []


def test_neighbours_are_the_same_from_both_ends() -> None:
    nodes = tuple(Node(f"n{i}", "h") for i in range(40))
    peers = [{node.name for node in _peers(nodes, i)} for i in range(40)]
    for i, mine in enumerate(peers):
        assert f"n{i}" not in mine
        assert all(f"n{i}" in peers[int(name[1:])] for name in mine)
    assert len(peers[0]) == 39
    assert len(peers[20]) == 17


def test_pairs_begin_with_the_head_and_have_an_end() -> None:
    assert _pairs(Known(cluster("abcd"))) == [(0, 1), (0, 2), (0, 3), (1, 2), (2, 3), (1, 3)]
    many = Known(parse("".join(
        f'[[nodes]]\nhost = "n{i}"\ngpus = 8\nrole = "{"worker" if i else "head"}"\n' for i in range(200)
    )))  # fmt: skip
    assert len(_pairs(many)) == 64


#: Stands in for torch, whose ranks it makes believe to meet; FAKE says what goes wrong.
FAKE_TORCH = """
class Tensor:
    def __init__(self, value): self.value = value
    def item(self): return self.value
    def fill_(self, value): self.value = value
    def __getitem__(self, place): return self
def full(shape, value, device=None): return Tensor(value)
def ones(count, device=None): return Tensor(1.0)
"""
FAKE_DIST = """
import os, time
fake, uses = os.environ.get("FAKE"), 0
def init_process_group(backend, init_method, rank, world_size, timeout):
    global world, me
    world, me = world_size, rank
    if fake == "absent": time.sleep(600)
    if fake == "raise": raise RuntimeError("Connection refused\\nand more")
def all_reduce(x):
    global uses
    if fake == "hang" and me: time.sleep(600)
    x.value, uses = (world if uses else world * (world + 1) / 2), uses + 1
def destroy_process_group(): pass
"""


@pytest.fixture
def venv(tmp_path: Path) -> Path:
    """An environment whose torch is a stand-in: what is tested is the script around it."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "lib/torch/distributed").mkdir(parents=True)
    (tmp_path / "lib/torch/__init__.py").write_text(FAKE_TORCH)
    (tmp_path / "lib/torch/distributed/__init__.py").write_text(FAKE_DIST)
    python = tmp_path / "bin/python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH={tmp_path}/lib exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    return tmp_path


async def reduce(venv: Path, fake: str, limit: int = 2) -> Result:
    one = parse(f'venv = "{venv}"\n[[nodes]]\nhost = "a"\nrole = "head"\ngpus = 3\n')
    rank = collective.Rank(one.head, 0, 3)
    cmd = collective.command(one, rank, 3, "127.0.0.1", "gloo", {"FAKE": fake}, "allreduce")
    text = cmd.text.replace('"start":90', f'"start":{limit}').replace('"limit":20', f'"limit":{limit}')
    process = await asyncio.create_subprocess_exec(
        "sh", "-c", text, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    out, _ = await asyncio.wait_for(process.communicate(), 60)
    assert not [p for p in psutil.process_iter() if _mine(p, venv)], "a rank was left behind"
    return Result(one.head, "allreduce", out.decode(), process.returncode or 0)


def _mine(process: psutil.Process, venv: Path) -> bool:
    try:
        return str(venv) in process.environ().get("PYTHONPATH", "")
    except psutil.Error:
        return False


async def test_all_ranks_of_a_node_run_and_rank_0_tells_the_speed(venv: Path) -> None:
    result = await reduce(venv, "", limit=30)
    assert result.code == 0, result.text
    assert [f"rank {i} of 3: the sum is right" in result.text for i in range(3)] == [True] * 3
    told = collective.told(result)
    assert told.problem == ""
    assert told.speed.startswith("gloo, 3 ranks, 16 MiB in ")


@pytest.mark.parametrize(
    ("fake", "code", "words"),
    [
        ("hang", 3, "no end of all_reduce within 2 s"),
        ("absent", 3, "no end of meet the other ranks within 2 s"),
        ("raise", 1, "failed at meet the other ranks: RuntimeError: Connection refused"),
    ],
)
async def test_a_failure_is_named_and_nothing_is_left(venv: Path, fake: str, code: int, words: str) -> None:
    result = await reduce(venv, fake)
    assert result.code == code, result.text
    assert words in collective.told(result).problem
    assert "and more" not in result.text


async def test_the_ranks_end_with_a_killed_parent(venv: Path) -> None:
    one = parse(f'venv = "{venv}"\n[[nodes]]\nhost = "a"\nrole = "head"\ngpus = 2\n')
    cmd = collective.command(
        one, collective.Rank(one.head, 0, 2), 2, "127.0.0.1", "gloo", {"FAKE": "absent"}, "x"
    )
    process = await asyncio.create_subprocess_exec("sh", "-c", cmd.text, stdout=asyncio.subprocess.PIPE)
    parent = psutil.Process(process.pid)
    for _ in range(200):
        ranks = parent.children(recursive=True)
        if len(ranks) == 2:
            break
        await asyncio.sleep(0.05)
    # Until the kernel knows whose end is theirs.
    await asyncio.sleep(1)
    process.kill()
    await process.wait()
    _, alive = psutil.wait_procs(ranks, timeout=10)
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
    text = collective.command(cluster("abc"), rank, 24, "fd00::1", "nccl", {"NCCL_DEBUG": "WARN"}, "x").text
    assert "tcp://[fd00::1]:29512" in text
    assert "NCCL_DEBUG=WARN" in text
    assert json.dumps("nccl") in text
