"""What is proposed at a failed gate, from the checks that the judges themselves make."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.helpers.case_runner import CLUSTER
from wizard_steps.cluster.edit import with_values
from wizard_steps.cluster.file import Cluster, parse
from wizard_steps.facts import rules_cards, rules_software
from wizard_steps.facts.gpu import parse_nvidia_smi
from wizard_steps.facts.node import NodeFacts
from wizard_steps.facts.sections import FactSection
from wizard_steps.facts.software import Listener, Ours, parse_listeners
from wizard_steps.milestones.common import check_of
from wizard_steps.milestones.ray_status import _hidden_by
from wizard_steps.milestones.remedies import Remedy, remedies
from wizard_steps.model import Check, Result, Results, Verdict
from wizard_steps.node.place import ALIVE

EIGHT = "Driver Version: 580.65.06  CUDA Version: 13.0\n" + "".join(
    f"|   {n}  NVIDIA H100 80GB HBM3          On  |   00000000:1{n}:00.0 Off |                    0 |\n"
    "| N/A   30C    P0             70W /  700W |       0MiB /  81559MiB |      0%      Default |\n"
    for n in range(8)
)


def of(cluster: Cluster, *checks: Check, started: dict[str, str] | None = None) -> list[Remedy]:
    return remedies(cluster, Verdict(False, "no", checks), started or {})


def promising(gpus: int) -> Cluster:
    cluster = parse(CLUSTER)
    return replace(cluster, nodes=tuple(replace(node, gpus=gpus) for node in cluster.nodes))


def test_gpus_that_are_not_there_are_taken_from_the_file() -> None:
    cluster = promising(16)
    node = cluster.node_list[1]
    check = check_of(next(iter(rules_cards.judge(node, parse_nvidia_smi(EIGHT, 0), cluster))))
    assert not check.ok
    [found] = of(cluster, check)
    assert found.text == f"set gpus of {node.name} to 8 and retry"
    assert with_values(cluster, found.edits).nodes[1].gpus == 8


def test_fewer_gpus_than_tp_x_pp_bring_a_pair_that_fits() -> None:
    cluster = parse(CLUSTER)
    assert cluster.serve.world_size == 16
    found = of(
        cluster,
        Check(
            "GPUs",
            False,
            "8 x H100: the cluster file says 8; 4 of 8 are usable",
            node=cluster.node_list[1].name,
        ),
    )
    assert found[0].text.endswith("TP to 4 and PP to 3, and retry")
    assert with_values(cluster, found[0].edits).serve.world_size == 12


def test_taken_ports_are_replaced_by_free_numbers() -> None:
    cluster = parse(CLUSTER)
    taken = (Listener("0.0.0.0", 8000, "python3"), Listener("0.0.0.0", 6379))
    facts = NodeFacts(listeners_known=True, listeners=taken)
    check = check_of(rules_software._ports(cluster.head, facts, cluster))
    [found] = of(cluster, check)
    assert found.edits == (("ray.port", "6380"), ("serve.port", "8001"))
    [found] = of(
        cluster, Check("port", False, "port 8000 is taken by a process milepost did not start (nginx)")
    )
    assert (found.text, found.edits) == ("use port 8001 and retry", (("serve.port", "8001"),))


def test_a_listener_is_ours_by_its_pid_and_another_clusters_only_by_its_own() -> None:
    cluster = parse(CLUSTER)
    ss = 'LISTEN 0 5 0.0.0.0:8000 0.0.0.0:* users:(("python",pid=41,fd=3))'
    facts = NodeFacts(
        listeners_known=True, listeners=tuple(parse_listeners(FactSection("", 0), FactSection(ss, 0)))
    )
    for ours, state, words in (
        (Ours(frozenset({41}), clusters={7: "dev"}), "ok", "free, or ours"),
        (Ours(clusters={7: "dev"}), "fail", "ss -ltnp"),
        (Ours(clusters={41: "dev"}), "fail", "milepost runs 'dev' here"),
    ):
        found = rules_software._ports(cluster.head, replace(facts, ours=ours), cluster)
        assert found.verdict == state
        assert words in f"{found.found} {found.message} {found.hint}"


@pytest.mark.parametrize(
    "check",
    [
        Check("own Ray", False, "its raylet is gone", "running", "gpu-b"),
        Check("address", False, "10.0.0.2 0x", "10.0.0.2 once", "gpu-b"),
    ],
)
def test_what_has_ended_is_started_again(check: Check) -> None:
    [found] = of(parse(CLUSTER), check, started={"gpu-b": "Ray worker"})
    assert (found.text, found.restart) == ("restart Ray worker on gpu-b", "gpu-b")
    assert of(parse(CLUSTER), check) == []


def test_a_worker_that_counts_double_is_not_ours_to_restart() -> None:
    check = Check("address", False, "10.0.0.2 2x", "10.0.0.2 once", "gpu-b")
    assert of(parse(CLUSTER), check, started={"gpu-b": "Ray worker"}) == []


CHECKS = st.builds(
    Check,
    st.sampled_from(["GPUs", "port", "ports", "Ray", "address", "x"]),
    st.just(False),
    st.text(max_size=80) | st.from_regex(r"\d{1,6} \(vLLM\)|; \d{1,6} of \d{1,6} are usable"),
    st.just("running"),
    st.sampled_from(["", "gpu-a", "gpu-b", "else"]),
)


@given(st.lists(CHECKS, max_size=6))
def test_it_never_raises_and_what_it_proposes_fits(checks: list[Check]) -> None:
    cluster = parse(CLUSTER)
    for remedy in of(cluster, *checks):
        assert bool(remedy.edits) != bool(remedy.restart)
        if remedy.edits:
            assert with_values(cluster, remedy.edits) != cluster


def test_a_flag_that_hides_gpus_is_named_and_set_right() -> None:
    cluster = promising(8)
    cluster = replace(cluster, ray=replace(cluster.ray, worker_flags=("--num-gpus=4", "--num-cpus=1")))
    node = next(n for n in cluster.node_list if n.role == "worker")
    spec = '{"argv":["ray","start","--num-gpus=4"],"env":{}}'
    look = Result(node, ALIVE, f"ours: 7\nleader: 7\nspec: {spec}\n", 0)
    assert _hidden_by(Results([look]), node, 8) == ""
    found = f"Ray counts 4 on this node{_hidden_by(Results([look]), node, 4)}"
    assert found.endswith(": it was started with --num-gpus=4")
    flag, fewer = of(cluster, Check("GPUs", False, found, "8", node.name))
    assert flag.text == f"start Ray on {node.name} with --num-gpus=8 and retry"
    assert flag.edits == (("ray.worker_flags", "--num-gpus=8 --num-cpus=1"),)
    assert (f"nodes[{cluster.node_list.index(node)}].gpus", "4") in fewer.edits
    # Nothing in the file hides them: only the number can be changed there.
    assert [one.edits[0][0][:5] for one in of(promising(8), Check("GPUs", False, found, "8", node.name))] == [
        "nodes"
    ]
