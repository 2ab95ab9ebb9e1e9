"""Rails, addresses, flow control, and what NCCL is told on each node and why."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.network_help import cluster
from wizard_steps.cluster.file import parse
from wizard_steps.engine.step import Known
from wizard_steps.milestones import fabric_facts, fabric_rdma, fabric_tools, fabric_transport, raystart
from wizard_steps.milestones.fabric_facts import Links
from wizard_steps.model import Result, Results


def port(device: str, interface: str, rate: int = 200, layer: str = "Ethernet") -> str:
    net = f"/sys/class/infiniband/{device}/device/net/{interface}"
    return f"{device} port 1 state 4: ACTIVE rate {rate} Gb/sec (2X NDR) layer {layer} net {net}\n"


def gid(device: str, index: int = 3) -> str:
    return f"{device} port 1 gid {index} 0000:0000:0000:0000:0000:ffff:0a00:0001 RoCE v2\n"


def links(text: str) -> Links:
    found = fabric_facts.links(Result(cluster("a").head, "links", text, 0))
    assert found is not None
    return found


TWO = port("mlx5_0", "eth1") + port("mlx5_1", "eth2") + gid("mlx5_0") + "addr eth1 10.0.0.1/24\nverbs: 2\n"
TORCH = {"a": "2.14.0+cu130", "b": "2.14.0+cu130"}


def known(names: str = "ab") -> Known:
    return Known(cluster(names))


def said(of: Known, found: Mapping[str, Links]) -> dict[str, str]:
    made = fabric_rdma.settings(of, found, TORCH)
    return {f"{check.name}@{check.node}": check.found for check in fabric_rdma.checks(of, found, made)}


def test_a_card_without_an_address_is_left_out_on_its_node_alone_and_why() -> None:
    whole = links(TWO + gid("mlx5_1") + "addr eth2 10.0.1.1/24\n")
    found = {"a": links(TWO), "b": whole}
    assert fabric_rdma.settings(known(), found, TORCH) == {"a": {"NCCL_IB_HCA": "=mlx5_0"}}
    words = said(known(), found)
    assert words["NCCL settings@a"] == "NCCL_IB_HCA==mlx5_0: mlx5_1: without a RoCE v2 GID"
    assert "mlx5_0: eth1 10.0.0.1/24, 200 Gbit/s Ethernet, GID index 3; mlx5_1: eth2" in words["RDMA ports@a"]
    assert words["rails@"] == "a: 1 x 200 Gbit/s Ethernet; b: 2 x 200 Gbit/s Ethernet"


def test_what_the_cluster_file_sets_stays() -> None:
    one = parse(
        '[[nodes]]\nhost = "a"\nrole = "head"\ngpus = 1\nenv = {NCCL_IB_HCA = "mlx5"}\n'
        '[[nodes]]\nhost = "b"\ngpus = 1\n'
    )
    found = {"a": links(TWO), "b": links(TWO)}
    assert fabric_rdma.settings(Known(one), found, TORCH) == {"b": {"NCCL_IB_HCA": "=mlx5_0"}}


def test_where_all_cards_can_be_used_nothing_is_set() -> None:
    infiniband = links(port("mlx5_0", "ib0", 400, "InfiniBand"))
    assert fabric_rdma.settings(known(), {"a": infiniband, "b": infiniband}, TORCH) == {}


def test_an_old_nccl_is_told_the_gid_index_of_each_node() -> None:
    some = port("mlx5_0", "eth1")
    found = {"a": links(some + gid("mlx5_0", 3)), "b": links(some + gid("mlx5_0", 5))}
    old = {"a": "2.4.1+cu121", "b": "2.4.1+cu121"}
    assert fabric_rdma.settings(known(), found, old) == {
        "a": {"NCCL_IB_GID_INDEX": "3"},
        "b": {"NCCL_IB_GID_INDEX": "5"},
    }
    assert fabric_rdma.settings(known(), found, TORCH) == {}


def test_unequal_gid_indexes_are_told() -> None:
    some = port("mlx5_0", "eth1")
    three, five = links(some + gid("mlx5_0", 3)), links(some + gid("mlx5_0", 5))
    assert said(known(), {"a": three, "b": three})["RoCE GID index@"] == "3 on every node"
    assert said(known(), {"a": three, "b": five})["RoCE GID index@"] == "it differs: a: 3; b: 5"
    assert said(known(), {"a": three, "b": links(some)})["RoCE GID index@"] == "it differs: a: 3; b: none"


def test_the_kind_of_card_that_all_nodes_have_is_chosen() -> None:
    both = port("mlx5_0", "ib0", 400, "InfiniBand") + port("mlx5_1", "eth1") + gid("mlx5_1")
    down = both.replace("ACTIVE", "DOWN", 1)
    assert fabric_rdma.settings(known(), {"a": links(both), "b": links(both)}, TORCH) == {
        name: {"NCCL_IB_HCA": "=mlx5_0"} for name in "ab"
    }
    one_down = {"a": links(both), "b": links(down)}
    assert fabric_rdma.settings(known(), one_down, TORCH) == {"a": {"NCCL_IB_HCA": "=mlx5_1"}}
    words = said(known(), one_down)["NCCL settings@a"]
    assert words.endswith("mlx5_0: InfiniBand, which cannot talk to Ethernet")


@pytest.mark.parametrize(
    ("said_by_nccl", "left"),
    [
        ("[0]mlx5_0:1/RoCE [1]mlx5_1:1/RoCE [RO]; OOB eth0:10.0.0.1<0>", ""),
        ("[0]={[0] mlx5_0:1/RoCE, [1] mlx5_1:1/RoCE} [RO]; OOB eth0", ""),
        ("[0]mlx5_0:1:3:1/RoCE [RO]; OOB eth0", "NCCL has 1 port, not mlx5_1"),
        ("", ""),
    ],
)
def test_ports_that_nccl_passes_over_are_told(said_by_nccl: str, left: str) -> None:
    both = links(TWO + gid("mlx5_1") + "addr eth2 10.0.1.1/24\n")
    lists = {"a": said_by_nccl}
    checks = list(fabric_rdma.passed_over(known(), {"a": both, "b": both}, lists))
    assert [check.found for check in checks] == ([left] if left else [])


def test_nodes_of_unlike_cards_are_told_and_no_library_is_asked_for() -> None:
    text = port("mlx5_0", "ib0", 400, "InfiniBand")
    roce = port("mlx5_0", "eth1") + gid("mlx5_0") + "addr eth1 10.0.0.2/24\n"
    of, found = known(), {"a": links(text), "b": links(roce)}
    done = Results([Result(of.head, "allreduce", "NCCL network: Socket\nNCCL channels: 4 x NET/Socket\n", 0)])
    (check, *_) = fabric_transport.transport(of, done, found)
    assert check.state == "warning"
    assert "a has InfiniBand, b has Ethernet: none in common" in check.found


def test_rails_that_routers_join_are_paired_in_their_order() -> None:
    rail = port("mlx5_0", "eth1") + gid("mlx5_0") + port("mlx5_1", "eth2") + gid("mlx5_1")
    a = links(f"{rail}addr eth1 10.0.0.0/31\naddr eth2 10.1.0.0/31\n")
    b = links(f"{rail}addr eth1 10.0.0.2/31\naddr eth2 10.1.0.2/31\n")
    pairs = [(x.device, y.device) for x, y in fabric_facts.pairs_of(a, b)]
    assert pairs == [("mlx5_0", "mlx5_0"), ("mlx5_1", "mlx5_1")]


def spark(left: str, right: str) -> Links:
    text = port("rocep1s0f0", "enp1s0f0np0") + port("rocep1s0f1", "enp1s0f1np1")
    text += gid("rocep1s0f0") + gid("rocep1s0f1")
    return links(f"{text}addr enp1s0f0np0 {left}/24\naddr enp1s0f1np1 {right}/24\nverbs: 2\n")


def test_a_ring_of_machines_is_told_to_nccl() -> None:
    found = {
        "a": spark("10.0.1.1", "10.0.3.1"),
        "b": spark("10.0.1.2", "10.0.2.2"),
        "c": spark("10.0.2.3", "10.0.3.3"),
    }
    made = fabric_rdma.settings(known("abc"), found, TORCH)
    assert made["b"] == {"NCCL_IB_SUBNET_AWARE_ROUTING": "1", "NCCL_IB_MERGE_NICS": "0"}
    assert "each pair of nodes has a network of its own" in said(known("abc"), found)["NCCL settings@c"]
    one_switch = {name: spark("10.0.1.1", "10.0.1.9") for name in "abc"}
    assert fabric_rdma.settings(known("abc"), one_switch, TORCH) == {}


def test_ports_are_paired_by_their_network() -> None:
    a, b = spark("10.0.1.1", "10.0.3.1"), spark("10.0.2.2", "10.0.1.2")
    pairs = [(x.device, y.device) for x, y in fabric_facts.pairs_of(a, b)]
    assert pairs == [("rocep1s0f0", "rocep1s0f1")]


def test_a_dgx_spark_with_one_of_its_two_addresses_is_told_of_the_other() -> None:
    text = port("rocep1s0f1", "enp1s0f1np1") + port("roceP2p1s0f1", "enP2p1s0f1np1") + gid("rocep1s0f1")
    found = {"a": links(text), "b": links(text)}
    made = fabric_rdma.settings(known(), found, TORCH)
    hints = [check.hint for check in fabric_rdma.checks(known(), found, made) if check.name == "RDMA ports"]
    assert all("only both together carry 200 Gbit/s" in hint for hint in hints)


def test_each_device_of_a_dgx_spark_carries_half_of_its_port() -> None:
    (first, *_) = spark("10.0.1.1", "10.0.3.1").usable
    assert fabric_facts.rate_of(first) == 100.0


def test_flow_control_that_differs_is_a_warning() -> None:
    some = port("mlx5_0", "eth1") + gid("mlx5_0")
    on = links(f"{some}pfc eth1 prio-pfc 0:off 1:off 2:off 3:on 4:off\necn eth1 00010000\n")
    off = links(f"{some}pfc eth1 prio-pfc 0:off 1:off 2:off 3:off 4:off\n")
    assert (
        said(known(), {"a": on, "b": on})["PFC, ECN@"] == "PFC on priority 3, ECN on priority 3 on every node"
    )
    assert (
        said(known(), {"a": on, "b": off})["PFC, ECN@"]
        == "a: PFC on priority 3, ECN on priority 3; b: PFC off"
    )


def test_what_was_found_reaches_ray_and_vllm_unless_the_file_says_otherwise() -> None:
    of = Known(cluster("ab"), {"nccl_env": {"a": {"NCCL_IB_HCA": "=mlx5_0"}}})
    assert raystart.environment(of, of.head)["NCCL_IB_HCA"] == "=mlx5_0"
    assert "NCCL_IB_HCA" not in raystart.environment(of, of.workers[0])


def test_pairs_of_a_wave_share_no_node() -> None:
    for count in range(1, 9):
        waves = fabric_tools.waves(count)
        for wave in waves:
            flat = [place for pair in wave for place in pair]
            assert len(flat) == len(set(flat))
        assert count < 2 or {place for wave in waves for pair in wave for place in pair} == set(range(count))


def test_perftest_is_asked_only_where_it_is_and_is_judged_against_the_port() -> None:
    of = known()
    text = TWO + "tool ib_write_bw /usr/bin/ib_write_bw\n"
    found = {"a": links(text), "b": links(text)}
    work = fabric_tools.rounds(of, Results(), found)
    assert work is not None
    assert [(node.name, cmd.key) for node, cmd in work.work] == [("a", "perf-0-1"), ("b", "perf-0-1")]
    assert fabric_tools.rounds(of, Results(), {"a": links(text), "b": links(TWO)}) is None
    table = (
        "#bytes #iterations BW peak[Gb/sec] BW average[Gb/sec] MsgRate[Mpps]\n1048576 2000 30.00 {} 0.01\n"
    )
    for gbit, state in (("185.00", "ok"), ("100.00", "warning"), ("30.00", "failed")):
        done = Results([Result(of.workers[0], "perf-0-1", f"rail mlx5_0\n{table.format(gbit)}", 0)])
        (check,) = fabric_tools.checks(of, done, found)
        assert (check.name, check.state) == ("RDMA a - b", state)
        assert f"of 200 Gbit/s ({float(gbit) / 200:.2f})" in check.found


PIECES = [*TWO.splitlines(), "pfc eth1 prio-pfc 3:on", "ecn eth1 01", "nvlink gpu 0", "nvlink rate 26.562"]


@given(st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=60)), max_size=20))
def test_any_answer_ends_in_links_and_checks(lines: list[str]) -> None:
    here = links("\n".join(lines))
    found = {"a": here, "b": links(TWO)}
    made = fabric_rdma.settings(known(), found, {"a": "\n".join(lines), "b": ""})
    assert all(check.name for check in fabric_rdma.checks(known(), found, made))
    assert list(fabric_facts.pairs_of(here, links(TWO))) is not None
