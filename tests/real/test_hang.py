"""Real vLLM whose start hangs, on CPU over two hosts: a worker is stopped or killed, or the ranks cannot meet. Who
it is has to be told long before vLLM's own limits of minutes. There is no NCCL here, and so no RAS.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.real.faults import Told, gate_shut
from tests.real.hosts import Hosts
from tests.real.test_vllm import vllm_processes
from tests.real.walks import HeadlessWalk, down

pytestmark = [pytest.mark.real_vllm, pytest.mark.long, pytest.mark.timeout(900)]

WITHOUT_RAY = {"tensor_parallel": 1, "pipeline_parallel": 2, "executor": "mp"}
PORT_RANGE = "/proc/sys/net/ipv4/ip_local_port_range"
OVER_RAY = {"tensor_parallel": 1, "pipeline_parallel": 2, "executor": "ray"}


@pytest.fixture(scope="module")
def pair(possible: None) -> Iterator[Hosts]:
    """A GPU on each host: a rank on each."""
    with Hosts(names=("a", "b"), gpus={"a": 1, "b": 1}) as hosts:
        yield hosts


def planted(
    pair: Hosts, folder: Path, serve: dict, fault: str, plant: Callable[[HeadlessWalk], object]
) -> Told:
    file = pair.cluster_file(settle=2, serve=serve)
    with HeadlessWalk(file, folder, pair.home) as walk:
        walk.until_started("serve", 400)
        plant(walk)
        outcome = gate_shut(walk, fault, 300, walk.now())
        print(walk.output[-3000:])
    down(file, pair.home)
    assert vllm_processes(pair) == []
    for name in pair.names:
        pair.run(name, "find /root/.milepost -name 'serve.log*' -delete")
    return outcome


def signalled(pair: Hosts, name: str, words: str, number: int) -> None:
    """As soon as such a process is there."""
    deadline = time.monotonic() + 240
    # By its title: commands of ours hold the same words further on.
    while not (hit := [pid for pid, line in pair.processes(name).items() if line.startswith(words)]):
        assert time.monotonic() < deadline, f"no {words} on {name}: {pair.processes(name)}"
        time.sleep(0.2)
    for pid in hit:
        os.kill(pid, number)
    print(f"{name}: {signal.Signals(number).name} to {hit}")


def logged(pair: Hosts, walk: HeadlessWalk, name: str, words: str) -> None:
    deadline = time.monotonic() + 240
    log = "/root/.milepost/real-hosts/*serve.log /root/.milepost/real-hosts/*/serve.log"
    while not pair.run(name, f"grep -ls '{words}' {log}", check=False).stdout:
        assert time.monotonic() < deadline, f"{words!r} never came on {name}:\n{walk.output[-4000:]}"
        time.sleep(0.2)


@pytest.mark.parametrize(("serve", "process"), [(WITHOUT_RAY, "VLLM::Worker"), (OVER_RAY, "ray::RayWorker")])
def test_a_stopped_worker_is_named_with_its_node_and_what_waits_for_it(
    pair: Hosts, tmp_path: Path, serve: dict, process: str
) -> None:
    def stop(walk: HeadlessWalk) -> None:
        # Over Ray the log is the head's, with all ranks.
        logged(pair, walk, "b" if serve is WITHOUT_RAY else "a", "in world size 2")
        signalled(pair, "b", process, signal.SIGSTOP)

    outcome = planted(pair, tmp_path / "walk", serve, f"{process} stopped", stop)
    assert (outcome.gate, outcome.code) == ("serve", 1)
    assert "is stopped; the start of vLLM waits for it" in outcome.words
    assert "node-b rank 1" in outcome.words


def test_a_killed_worker_is_named_by_its_node(pair: Hosts, tmp_path: Path) -> None:
    def kill(walk: HeadlessWalk) -> None:
        logged(pair, walk, "b", "in world size 2")
        signalled(pair, "b", "VLLM::Worker", signal.SIGKILL)

    outcome = planted(pair, tmp_path / "walk", WITHOUT_RAY, "VLLM::Worker killed", kill)
    assert (outcome.gate, outcome.code) == ("serve", 1)
    assert "node-b failed first" in outcome.words


def test_ranks_over_ray_that_never_meet_are_told_with_the_address(pair: Hosts, tmp_path: Path) -> None:
    def cut(walk: HeadlessWalk) -> None:
        # Ray listens already. What binds a random port on node-a from now on gets one of these: the meeting of
        # the ranks (TCPStore with port 0). Only a first packet is dropped: answers to node-a have an ACK too.
        pair.run("a", f"echo 61000 61999 > {PORT_RANGE}")
        new = "tcp dport 61000-61999 tcp flags & (syn | ack) == syn"
        pair.network.drop("a", f"ip saddr {pair.network.fabric_ip('b')} {new}")
        # From here on they wait: what is measured begins.
        logged(pair, walk, "a", "distributed_init_method=")

    before = pair.run("a", f"cat {PORT_RANGE}").stdout.strip()
    try:
        outcome = planted(pair, tmp_path / "walk", OVER_RAY, "ranks over Ray never meet", cut)
    finally:
        pair.network.heal("a")
        pair.run("a", f"echo {before} > {PORT_RANGE}")
    assert (outcome.gate, outcome.code) == ("serve", 1)
    assert "as every rank does" in outcome.words
    assert "node-b rank: its worker" in outcome.words
    assert ", rank 1) waits for the others at tcp://" in outcome.words
