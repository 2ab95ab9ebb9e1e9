"""Machines that are not alike: 8 GPUs beside 4, some of a node's GPUs, a head without any; on hosts and in
containers, over Ray and without."""

from __future__ import annotations

import json
import shlex
from typing import Any

import pytest

from wizard_steps.cluster.file import Cluster, parse
from wizard_steps.engine.step import Known
from wizard_steps.errors import UsageError
from wizard_steps.milestones import fabric, head, raystart, vllm, workers
from wizard_steps.milestones.common import placed
from wizard_steps.model import Result, Results
from wizard_steps.node.place import Service

PLACES = [("bare-metal", "ray"), ("bare-metal", "mp"), ("docker", "ray"), ("docker", "mp")]


def cluster(gpus: tuple[int, ...], tp: int, pp: int, path: str, executor: str) -> Cluster:
    nodes = "".join(
        f'[[nodes]]\nname = "{name}"\nhost = "{name}"\ngpus = {n}\nfabric_ip = "10.0.0.{i}"\n'
        + ('role = "head"\n' if i == 1 else "")
        for i, (name, n) in enumerate(zip("abc", gpus, strict=False), 1)
    )
    serve = f'[serve]\ntensor_parallel = {tp}\npipeline_parallel = {pp}\nexecutor = "{executor}"\n'
    return parse(f'path = "{path}"\n{nodes}{serve}')


def started(known: Known) -> dict[str, tuple[str, ...]]:
    """What holds vLLM on each node: Ray, or a container; empty where nothing does."""
    place = placed(known)
    found = {}
    for service in (*head.services(known), *workers.services(known)):
        shown = place.launch(service).show if not place.idle else ""
        found[service.node.name] = tuple(shlex.split(shown or ""))
    return found


@pytest.mark.parametrize(("path", "executor"), PLACES)
def test_eight_and_four_share_what_each_executor_can_share(path: str, executor: str) -> None:
    if executor == "mp":
        with pytest.raises(UsageError, match="is 6 a node, but b has gpus = 4"):
            cluster((8, 4), 4, 3, path, executor)
        known = Known(cluster((8, 4), 4, 2, path, executor))
        for node in known.nodes:
            assert {"--nnodes=2", "--tensor-parallel-size=4"} <= set(vllm.argv(known, node))
        return
    known = Known(cluster((8, 4), 4, 3, path, executor))
    assert "--pipeline-parallel-size=3" in vllm.argv(known, known.server)
    # All of each are used: Ray counts them by itself.
    assert not any("--num-gpus" in word for words in started(known).values() for word in words)


@pytest.mark.parametrize(("path", "executor"), PLACES)
def test_four_of_eight_are_named_to_cuda_and_counted_to_ray(path: str, executor: str) -> None:
    facts = {"devices": {"a": "0,1,2,5"}}
    known = Known(cluster((4, 4), 4, 2, path, executor), facts)
    for node, chosen in zip(known.nodes, ("0,1,2,5", None), strict=True):
        assert vllm.environment(known, node).get("CUDA_VISIBLE_DEVICES") == chosen
    holds = started(known)
    if path == "docker":
        assert "CUDA_VISIBLE_DEVICES=0,1,2,5" in holds["a"]
        assert not any(word.startswith("CUDA_VISIBLE_DEVICES=") for word in holds["b"])
    if executor == "ray":
        assert ("--num-gpus=4" in holds["a"], "--num-gpus=4" in holds["b"]) == (True, False)


@pytest.mark.parametrize("path", ["bare-metal", "docker"])
def test_a_head_without_gpus_holds_ray_alone(path: str) -> None:
    known = Known(cluster((0, 8, 4), 4, 3, path, "ray"))
    holds = started(known)
    assert known.server.name == "b"
    assert "--num-gpus=0" in holds["a"]
    # Docker refuses to start a container that asks for GPUs where there are none.
    assert [("--gpus" in words) for words in holds.values()] == [False] + [path == "docker"] * 2
    assert vllm.service(known, known.server).node.name == "b"


@pytest.mark.parametrize("path", ["bare-metal", "docker"])
def test_without_ray_every_node_has_ranks(path: str) -> None:
    with pytest.raises(UsageError, match="a has gpus = 0"):
        cluster((0, 8, 4), 4, 3, path, "mp")


def spec_of(text: str) -> dict[str, Any]:
    """What the all_reduce of a node is told: the last word of its command."""
    words = shlex.split(text)
    found = next(word for word in reversed(words) if '"world"' in word)
    start = found.index('{"world"')
    return dict(json.JSONDecoder().raw_decode(found[start:])[0])


def test_the_all_reduce_meets_at_the_node_of_rank_0() -> None:
    known = Known(cluster((0, 8, 4), 4, 3, "bare-metal", "ray"))
    torch = [Result(n, "torch", f"torch: 2.14.0\ncuda: {n.gpus}\n", 0) for n in known.nodes]
    work = fabric._all(known, Results(torch))
    told = {node.name: spec_of(cmd.text) for node, cmd in work}
    assert {name: (one["first"], one["procs"], one["world"]) for name, one in told.items()} == {
        "b": (0, 8, 12),
        "c": (8, 4, 12),
    }
    assert {one["host"] for one in told.values()} == {"10.0.0.2"}


def test_on_cpus_the_head_takes_part() -> None:
    known = Known(cluster((0, 8, 4), 4, 3, "bare-metal", "ray"))
    torch = [Result(n, "torch", "torch: 2.14.0\ncuda: 0\n", 0) for n in known.nodes]
    told = {node.name: spec_of(cmd.text) for node, cmd in fabric._all(known, Results(torch))}
    assert [one["first"] for one in told.values()] == [0, 1, 2]
    assert {one["host"] for one in told.values()} == {"10.0.0.1"}


def test_what_runs_is_compared_with_the_nodes_own_number() -> None:
    known = Known(cluster((4, 8), 4, 3, "bare-metal", "ray"), {"devices": {"a": "0,1,2,3"}})
    service = Service(
        known.head, "ray", 6379, tuple(head.argv(known)), raystart.environment(known, known.head)
    )
    assert "--num-gpus=4" in placed(known).spec(service).argv
