"""Replicas dealt out over machines: inside nodes, across nodes, on both executors."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wizard_steps.cluster.file import parse
from wizard_steps.cluster.replicas import deal
from wizard_steps.cluster.values import Cluster, NodeEntry, Serve
from wizard_steps.errors import UsageError


def cluster(gpus: list[int], tp: int, pp: int, dp: int, executor: str = "mp") -> Cluster:
    nodes = tuple(
        NodeEntry(host=f"n{i}", gpus=count, role="worker" if i else "head") for i, count in enumerate(gpus)
    )
    serve = Serve(tensor_parallel=tp, pipeline_parallel=pp, data_parallel=dp, executor=executor)  # type: ignore[arg-type]
    return Cluster(nodes=nodes, serve=serve)


@pytest.mark.parametrize(
    ("gpus", "split", "executor", "kind", "shares"),
    [
        ([8, 8], (4, 1, 4), "mp", "inside", {"n0": (0, 2), "n1": (2, 2)}),
        ([8, 8], (4, 1, 4), "ray", "inside", {"n0": (0, 2), "n1": (2, 2)}),
        ([1, 1], (1, 1, 2), "mp", "inside", {"n0": (0, 1), "n1": (1, 1)}),
        ([8, 4], (4, 1, 3), "mp", "inside", {"n0": (0, 2), "n1": (2, 1)}),
        ([8], (2, 1, 4), "mp", "inside", {"n0": (0, 4)}),
        # vLLM passes over the node that has no room for as many as the first.
        ([8, 8, 4], (4, 1, 4), "ray", "inside", {"n0": (0, 2), "n1": (2, 2)}),
        ([0, 8, 8], (8, 1, 2), "ray", "inside", {"n1": (0, 1), "n2": (1, 1)}),
        ([4, 4, 4, 4], (4, 2, 2), "mp", "across", {"n0": (0, 1), "n1": (0, 1), "n2": (1, 1), "n3": (1, 1)}),
        ([4, 4, 4, 4], (8, 1, 2), "ray", "across", {"n0": (0, 1), "n1": (0, 1), "n2": (1, 1), "n3": (1, 1)}),
        ([8, 8], (8, 2, 1), "mp", "one", {"n0": (0, 1), "n1": (0, 1)}),
    ],
)
def test_who_runs_what(
    gpus: list[int], split: tuple[int, int, int], executor: str, kind: str, shares: dict[str, tuple[int, int]]
) -> None:
    dealt = deal(cluster(gpus, *split, executor))
    assert (dealt.kind, dealt.problem) == (kind, "")
    assert {s.node.name: (s.first, s.count) for s in dealt.shares} == shares


@pytest.mark.parametrize(
    ("gpus", "split", "executor", "says"),
    [
        ([8, 8], (8, 1, 3), "mp", "3 replicas of 8 GPUs, but the nodes hold 2 (n0 1, n1 1)"),
        ([8, 8, 8], (8, 1, 2), "mp", "leave n2 without one"),
        ([8, 4], (4, 1, 3), "ray", "as Ray places them"),
        ([4, 4, 4], (8, 1, 2), "mp", "a replica is larger than a node"),
        ([4, 2, 4, 4], (8, 1, 2), "mp", "4 ranks a node, but n1 has gpus = 2"),
        ([8, 4, 8, 8], (10, 1, 2), "ray", "5 ranks a node"),
        ([0, 8], (1, 1, 2), "mp", "the head runs ranks too"),
    ],
)
def test_what_cannot_be_is_said(
    gpus: list[int], split: tuple[int, int, int], executor: str, says: str
) -> None:
    assert says in deal(cluster(gpus, *split, executor)).problem


@given(
    st.lists(st.integers(0, 16), min_size=1, max_size=6),
    st.integers(1, 8),
    st.integers(1, 4),
    st.integers(2, 12),
    st.sampled_from(["mp", "ray"]),
)
def test_no_node_gets_more_than_it_has_and_every_replica_is_there(
    gpus: list[int], tp: int, pp: int, dp: int, executor: str
) -> None:
    it = cluster(gpus, tp, pp, dp, executor)
    dealt = deal(it)
    if dealt.problem:
        assert not dealt.shares
        return
    if dealt.kind == "inside":
        assert sum(share.count for share in dealt.shares) == dp
        assert all(share.count * tp * pp <= share.node.gpus for share in dealt.shares)
        assert [s.first for s in dealt.shares] == [
            sum(s.count for s in dealt.shares[:i]) for i in range(len(dealt.shares))
        ]
    else:
        assert {share.first for share in dealt.shares} == set(range(dp))
        assert len(dealt.shares) * min(s.node.gpus for s in dealt.shares) >= dp * tp * pp


def test_the_file_is_refused_at_its_line() -> None:
    text = '[[nodes]]\nhost = "a"\nrole = "head"\ngpus = 8\n[serve]\ntensor_parallel = 8\ndata_parallel = 2\n'
    with pytest.raises(UsageError, match=r"toml:7: serve.data_parallel: 2 replicas of 8 GPUs, but .* 1"):
        parse(text)
    with pytest.raises(UsageError, match=r"serve.decode_context_parallel: 8 .* divisible by 3"):
        parse(text.replace("data_parallel = 2", "decode_context_parallel = 3"))
