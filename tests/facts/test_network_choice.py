"""Which network is recommended, and the reason that is given."""

from __future__ import annotations

from wizard_steps.cluster.file import parse
from wizard_steps.engine.step import Known
from wizard_steps.facts.netstate import Rdma
from wizard_steps.facts.network import candidates, parse_ip_brief
from wizard_steps.facts.recommend import Measurement, environment, recommend
from wizard_steps.facts.usable import NodeNet
from wizard_steps.milestones.ip import Ip
from wizard_steps.milestones.raystart import environment as start_environment
from wizard_steps.model import Result, Results


def net(text: str, ssh_ip: str = "", rdma: str = "", **speeds: int) -> NodeNet:
    ports = (Rdma("mlx5_0", True, 400.0, "InfiniBand", (rdma,)),) if rdma else ()
    return NodeNet(tuple(parse_ip_brief(text)), speeds, ports, ssh_ip)


def two(a: str, b: str, **fields: int) -> dict[str, NodeNet]:
    return {"a": net(a, "", "", **fields), "b": net(b, "", "", **fields)}


ETHERNETS = two(
    "eth0 UP 10.0.0.1/24\neth1 UP 10.1.0.1/24\ndocker0 UP 172.17.0.1/16",
    "eth0 UP 10.0.0.2/24\neth1 UP 10.1.0.2/24\ndocker0 UP 172.17.0.1/16",
    eth0=1000, eth1=100000,
)  # fmt: skip


def test_the_faster_link_wins_and_says_so() -> None:
    choice = recommend(ETHERNETS)
    assert choice.best is not None
    assert choice.best.network == "10.1.0.0/24"
    assert "100 Gbit/s" in choice.reason
    assert "measure" in choice.reason
    assert choice.env["b"] == {
        "VLLM_HOST_IP": "10.1.0.2", "NCCL_SOCKET_IFNAME": "eth1", "GLOO_SOCKET_IFNAME": "eth1",
    }  # fmt: skip
    assert [one.network for one in choice.options] == ["10.1.0.0/24", "10.0.0.0/24"]
    assert "container" in choice.excluded["a"][0].why


def test_measurements_outrank_what_the_driver_claims() -> None:
    runs = [
        Measurement("a", "b", "10.0.0.2", True, 0.2, 9400),
        Measurement("b", "a", "10.0.0.1", True, 0.2, 9300),
        Measurement("a", "b", "10.1.0.2", True, 0.3, 900),
        Measurement("b", "a", "10.1.0.1", True, 0.3, 910),
    ]
    choice = recommend(ETHERNETS, runs)
    assert choice.best is not None
    assert (choice.best.network, choice.best.measured_mbit) == ("10.0.0.0/24", 9300)
    assert "fastest in the timed transfers" in choice.reason


def test_a_network_blocked_one_way_loses_and_names_the_pair() -> None:
    runs = [
        Measurement("a", "b", "10.1.0.2", False), Measurement("b", "a", "10.1.0.1", True, 0.1, 90000),
        Measurement("a", "b", "10.0.0.2", True), Measurement("b", "a", "10.0.0.1", True),
    ]  # fmt: skip
    choice = recommend(ETHERNETS, runs)
    assert choice.best is not None
    assert choice.best.network == "10.0.0.0/24"
    assert "reaches every other" in choice.reason
    assert choice.options[1].blocked == ("a -> b",)


def test_rdma_counts_only_when_every_node_has_it() -> None:
    nets = {
        "a": net("ib0 UP 10.1.0.1/24\neth0 UP 10.0.0.1/24", rdma="ib0", eth0=1000),
        "b": net("ib0 UP 10.1.0.2/24\neth0 UP 10.0.0.2/24", rdma="ib0", eth0=1000),
    }
    both = recommend(nets).best
    assert both is not None
    assert (both.network, both.rdma, both.speed) == ("10.1.0.0/24", True, 400000)
    one = recommend({**nets, "b": net("eth0 UP 10.1.0.2/24\neth1 UP 10.0.0.2/24", eth0=1000, eth1=1000)})
    assert all(not option.rdma for option in one.options)


def test_between_equals_the_network_of_ssh_is_the_management_one() -> None:
    nets = {
        "a": net("eth0 UP 10.0.0.1/24\neth1 UP 10.1.0.1/24", ssh_ip="10.0.0.1"),
        "b": net("eth0 UP 10.0.0.2/24\neth1 UP 10.1.0.2/24", ssh_ip="10.0.0.2"),
    }
    choice = recommend(nets)
    assert choice.best is not None
    assert choice.best.network == "10.1.0.0/24"
    assert "ssh uses another network" in choice.reason
    assert "management" in choice.options[1].why


def test_an_address_on_two_nodes_is_a_problem_and_no_candidate() -> None:
    choice = recommend(two("eth0 UP 10.0.0.1/24", "eth0 UP 10.0.0.1/24"))
    assert choice.best is None
    assert any("10.0.0.1 is on a and b" in problem for problem in choice.problems)


def test_wifi_is_never_taken_without_a_question() -> None:
    known = Known(parse('[[nodes]]\nhost = "a"\nrole = "head"\ngpus = 1\n[[nodes]]\nhost = "b"\ngpus = 1\n'))
    found = [Result(node, "addr", f"wlan0 UP 192.168.1.{n}/24\n", 0) for n, node in enumerate(known.nodes, 1)]
    wanted = Ip().rounds(known, Results(found))
    assert wanted is not None
    assert [question.id for question in wanted.questions] == ["ip-a", "ip-b"]
    assert "Only Wi-Fi joins the nodes" in wanted.questions[0].text
    assert not wanted.questions[0].unattended


def test_nothing_shared() -> None:
    choice = recommend(
        two("eth0 UP 10.0.0.1/24\neth1 UP 10.1.0.1/24", "ens3 UP 10.9.0.1/24\nens4 UP 10.8.0.1/24")
    )
    assert choice.best is None
    assert choice.undecided
    assert "neither a subnet nor an interface name" in choice.reason
    assert "b has 10.9.0.1 on ens3, 10.8.0.1 on ens4" in choice.reason
    none = recommend(two("lo UNKNOWN 127.0.0.1/8", "eth0 UP 10.0.0.1/24"))
    assert none.best is None
    assert "a has no usable address" in none.reason


def test_a_cloud_whose_nodes_name_their_only_card_differently() -> None:
    choice = recommend(two("ens4 UP 10.128.0.4/32\ndocker0 DOWN 172.17.0.1/16", "enp0s3 UP 10.164.3.9/32"))
    assert choice.best is not None
    assert {node: one.ip for node, one in choice.best.by_node.items()} == {
        "a": "10.128.0.4",
        "b": "10.164.3.9",
    }
    assert choice.env["b"]["NCCL_SOCKET_IFNAME"] == "enp0s3"
    assert "must be routed" in choice.problems[0]


def test_an_address_of_the_loopback_device_has_a_way_out() -> None:
    choice = recommend(two("lo UNKNOWN 127.0.0.1/8 10.77.0.1/32\nlan0 UP fe80::1/64", "lan0 UP 10.0.0.2/24"))
    assert choice.best is None
    assert "10.77.0.1" in choice.reason
    assert "dummy interface" in choice.reason


def test_the_walk_sets_what_the_report_shows() -> None:
    """Where another interface's name begins with the chosen one's, NCCL is asked for the exact name."""
    texts = ("bond0 UP 10.9.0.1/24\nbond0.20@bond0 UP 10.0.106.1/16", "bond0 UP 10.9.0.2/24")
    file = '[[nodes]]\nhost = "a"\nrole = "head"\ngpus = 1\nfabric_ip = "10.9.0.1"\n'
    known = Known(parse(file + '[[nodes]]\nhost = "b"\ngpus = 1\nfabric_ip = "10.9.0.2"\n'))
    done = Results([Result(node, "addr", text, 0) for node, text in zip(known.nodes, texts, strict=True)])
    out = [Result(known.workers[0], "out", "x -> 10.9.0.1: open, 0.1 ms\n", 0)]
    out += [Result(known.head, "back", "x -> 10.9.0.2: open, 0.1 ms\n", 0)]
    learnt = Ip().judge(known, done.plus(out, {}))
    assert learnt.passed
    walked = Known(known.cluster, learnt.facts)
    shown = recommend(two(*texts)).env
    for node in known.nodes:
        started = start_environment(walked, node)
        assert {name: started[name] for name in shown[node.name]} == shown[node.name]
    assert shown["a"]["NCCL_SOCKET_IFNAME"] == "=bond0"


def test_names_are_sorted_as_people_count() -> None:
    one = candidates(parse_ip_brief("eth10 UP 10.1.0.1/24\neth2 UP 10.2.0.1/24\nenp71s0 UP 10.3.0.1/24"))
    assert [c.interface for c in one] == ["enp71s0", "eth2", "eth10"]


def test_a_lab_on_loopback() -> None:
    nets = two("lo UNKNOWN 127.0.0.1/8 # SIMULATED", "lo UNKNOWN 127.0.0.2/8 # SIMULATED")
    assert recommend(nets).best is None
    best = recommend(nets, loopback=True).best
    assert best is not None
    assert best.network == "127.0.0.0/8"


def test_a_name_that_is_the_beginning_of_another_is_asked_for_exactly() -> None:
    interfaces = parse_ip_brief("eth1 UP 10.0.0.1/24\neth10 UP 10.1.0.1/24")
    choice = recommend(two("eth1 UP 10.0.0.1/24\neth10 DOWN 10.1.0.1/24", "eth1 UP 10.0.0.2/24"))
    assert choice.env["a"]["NCCL_SOCKET_IFNAME"] == "=eth1"
    assert choice.env["a"]["GLOO_SOCKET_IFNAME"] == "eth1"
    assert choice.env["b"]["NCCL_SOCKET_IFNAME"] == "eth1"
    assert len(interfaces) == 2
    nameless = recommend(two("", "")).options
    assert nameless == ()
    best = choice.best
    assert best is not None
    assert environment(best.by_node["b"])["VLLM_HOST_IP"] == "10.0.0.2"


def test_one_node_and_none() -> None:
    assert recommend({}).best is None
    assert recommend({"a": net("eth0 UP 10.0.0.1/24")}).best is not None
