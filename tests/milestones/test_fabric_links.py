"""What the links can do: read from any text, judged against what NCCL did, full packets tried end to end."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.network_help import cluster
from wizard_steps.engine.step import Known
from wizard_steps.milestones import fabric_facts, fabric_links, fabric_pairs
from wizard_steps.milestones.fabric import FabricStep
from wizard_steps.model import Result, Results

LINKS = """eth0 speed 100000 mtu 9000
mlx5_0 port 1 state 4: ACTIVE rate 100 Gb/sec (4X EDR) layer Ethernet net /sys/class/infiniband/mlx5_0/device/net/eth0
mlx5_0 port 1 gid 3 0000:0000:0000:0000:0000:ffff:0a00:0001 RoCE v2
mlx5_0 port 1 gid 1 fe80:0000:0000:0000:0e42:a1ff:fe00:0001 RoCE v2
verbs: 1
peermem: loaded
"""


def known(names: str = "ab") -> Known:
    one = cluster(names)
    return Known(one, {"interfaces": {node.name: "eth0" for node in one.node_list}})


def results(of: Known, **texts: str) -> Results:
    return Results([Result(node, key, text, 0) for key, text in texts.items() for node in of.nodes])


def test_a_port_its_gids_and_what_may_be_opened_are_read() -> None:
    found = fabric_facts.links(Result(known().head, "links", LINKS, 0))
    assert found is not None
    assert [(port.device, port.rate, port.active) for port in found.rdma] == [("mlx5_0", 100.0, True)]
    assert found.gids == (("mlx5_0", 3),)
    assert (found.verbs, found.peermem, found.mtus["eth0"]) == (1, True, 9000)


def test_full_packets_are_tried_where_the_network_has_jumbo_frames() -> None:
    of = known()
    done = results(of, links=LINKS)
    cmd = fabric_links.jumbo(of, done, of.workers[0])
    assert cmd is not None
    assert cmd.show.startswith("ping -M do -c 3 -i 0.3 -W 2 -s 8972 ")
    assert fabric_links.jumbo(of, done, of.head) is None
    usual = results(of, links=LINKS.replace("mtu 9000", "mtu 1500"))
    assert fabric_links.jumbo(of, usual, of.workers[0]) is None


def test_lost_full_packets_fail_the_gate_and_name_the_node() -> None:
    of = known()
    done = results(of, links=LINKS)
    text = (
        "ping: local error: message too long, mtu=1500\n3 packets transmitted, 0 received, 100% packet loss\n"
    )
    done = done.plus([Result(of.workers[0], "jumbo", text, 1)], {})
    (check,) = fabric_links.jumbo_checks(of, done)
    assert not check.ok
    assert check.node == of.workers[0].name
    assert "packets of 9000 bytes do not reach the head" in check.found


def test_a_head_with_a_smaller_mtu_is_a_warning() -> None:
    """TCP's maximum segment size is agreed on; only something on the way that has less loses packets."""
    of = known()
    done = results(of, links=LINKS)
    smaller = Result(of.head, "links", LINKS.replace("mtu 9000", "mtu 1500"), 0)
    lost = Result(of.workers[0], "jumbo", "3 packets transmitted, 0 received, 100% packet loss\n", 1)
    (check,) = fabric_links.jumbo_checks(of, done.plus([smaller, lost], {}))
    assert check.ok
    assert check.warning
    assert "MTU 9000 here, 1500 on the head" in check.found


def test_without_ping_nothing_is_claimed() -> None:
    of = known()
    done = results(of, links=LINKS, jumbo="ping: not installed\n")
    checks = list(fabric_links.jumbo_checks(of, done))
    assert {(check.name, check.state) for check in checks} == {("jumbo frames", "warning")}
    assert all("not proved" in check.found for check in checks)


def test_full_packets_that_pass_are_said_and_unequal_mtus_warned_of() -> None:
    of = known()
    done = results(of, links=LINKS, jumbo="3 packets transmitted, 3 received, 0% packet loss\n")
    checks = list(fabric_links.jumbo_checks(of, done))
    assert [(check.found, check.state) for check in checks if check.node == of.workers[0].name] == [
        ("9000 bytes pass to the head and back", "ok")
    ]
    usual = Result(of.workers[0], "links", LINKS.replace("mtu 9000", "mtu 1500"), 0)
    (mtu,) = fabric_links.jumbo_checks(of, results(of, links=LINKS).plus([usual], {}))
    assert (mtu.name, mtu.state) == ("MTU", "warning")
    assert f"{of.head.name}: 9000 (eth0); {of.workers[0].name}: 1500 (eth0)" in mtu.found


def test_tcp_is_measured_against_the_interface() -> None:
    of = known()
    done = results(of, links=LINKS, allreduce="NCCL network: Socket\nNCCL channels: 2 x NET/Socket\n")
    found = fabric_facts.all_links(of, done)
    assert fabric_links.rate(of, done, found) == (12.5, "eth0 100 Gbit/s / 8")
    check = fabric_links.speed(of, done, found, 5.0)
    assert check is not None
    assert check.state == "warning"


def test_what_the_links_do_not_say_is_not_judged() -> None:
    of = known()
    done = results(of, allreduce="NCCL network: IB\n")
    assert fabric_links.speed(of, done, fabric_facts.all_links(of, done), 1.0) is None


@pytest.mark.parametrize(
    ("speeds", "slow"),
    [
        ({}, []),
        ({"ab": 1.0}, []),
        ({"ab": 9.0, "ac": 8.0, "bc": 8.5}, []),
        ({"ab": 9.0, "ac": 8.0, "bc": 1.0}, ["bc"]),
        ({"ab": 1.0, "ac": 8.0, "bc": 1.1}, ["ab", "bc"]),
        # Slow, slower and slowest: nobody stands out.
        ({"ab": 9.0, "ac": 6.0, "bc": 4.0}, []),
        ({"ab": 9.0, "ac": 5.0, "bc": 3.0}, ["ac", "bc"]),
        # Two pairs without a node in common.
        ({"ab": 1.0, "cd": 1.0, "ac": 9.0, "bd": 9.0}, []),
    ],
)
def test_only_what_stands_out_is_called_slow(speeds: dict[str, float], slow: list[str]) -> None:
    found, _ = fabric_pairs.slow_ones({(a, b): value for (a, b), value in speeds.items()}, 0.6)
    assert ["".join(pair) for pair in found] == slow


def test_how_slow_a_pair_may_be_is_the_cluster_files_word() -> None:
    speeds = {("a", "b"): 9.0, ("a", "c"): 8.0, ("b", "c"): 4.5}
    assert fabric_pairs.slow_ones(speeds, 0.6)[0] == [("b", "c")]
    assert fabric_pairs.slow_ones(speeds, 0.5)[0] == []


@given(
    st.text(max_size=400),
    st.text(max_size=400),
    st.sampled_from(["look", "torch", "mesh", "links", "allreduce", "jumbo"]),
)
def test_whatever_a_node_prints_ends_in_a_verdict(text: str, other: str, key: str) -> None:
    of = known("abc")
    done = results(
        of, look="ours:\n", torch="torch: 2\ncuda: 8\n", mesh=other, links=LINKS, allreduce=other, jumbo=other
    )
    done = done.plus([Result(node, key, text, 0) for node in of.nodes], {})
    assert FabricStep().judge(of, done).summary
