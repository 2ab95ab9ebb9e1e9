"""Networks measured and worded: which address is recommended, and why."""

from __future__ import annotations

from tests.helpers.network_help import cluster
from wizard_steps.engine.step import Known
from wizard_steps.milestones import ip_measure
from wizard_steps.milestones.ip import Ip
from wizard_steps.model import Node, Question, Result, Results

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
SLOW = "192.168.7.1 -> b 192.168.7.2:19998 open, 0.30 ms, 941 Mbit/s there, 930 Mbit/s back"
BACK = ("10.0.0.2 -> a 10.0.0.1:19998 open, 0.09 ms", "192.168.7.2 -> a 192.168.7.1:19998 open, 0.2 ms")


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
                a, "10.0.0.1 -> b 10.0.0.2:19998 open, 0.10 ms, 21000 Mbit/s there, 20000 Mbit/s back", SLOW
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
    assert (second.value, "SSH uses this network" in second.why) == ("192.168.7.2", True)
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
                SLOW,
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
