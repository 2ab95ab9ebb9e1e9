"""What differs from node to node: GPUs in use, environment, flags; and counts that no start could keep to."""

from __future__ import annotations

from typing import Any

import pytest

from wizard_steps.cluster import devices
from wizard_steps.cluster.file import Cluster, dump, parse
from wizard_steps.cluster.values import NodeEntry
from wizard_steps.engine.step import Known
from wizard_steps.errors import UsageError
from wizard_steps.milestones import head, raystart, workers


def cluster(head_: str = "", worker: str = "", more: str = "") -> Cluster:
    return parse(
        f'[[nodes]]\nname = "a"\nhost = "a"\nrole = "head"\n{head_ or "gpus = 8"}\n'
        f'[[nodes]]\nname = "b"\nhost = "b"\n{worker or "gpus = 8"}\n{more}'
    )


def test_all_gpus_need_no_words() -> None:
    it = cluster()
    assert devices.settings(it, it.head) == {}
    assert devices.ray_flags(it, it.head) == []


def test_some_gpus_are_named_to_cuda_and_counted_to_ray() -> None:
    it = cluster("gpus = 4")
    assert devices.settings(it, it.head, "0,1,2,3") == {
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        "CUDA_VISIBLE_DEVICES": "0,1,2,3",
    }
    assert devices.ray_flags(it, it.head, "0,1,2,3") == ["--num-gpus=4"]


def test_the_file_chooses_before_milepost_does() -> None:
    it = cluster(
        'gpus = 2\nenv = {CUDA_VISIBLE_DEVICES = "6,7", NCCL_IB_HCA = "mlx5_1"}', more="[env]\nX = '1'\n"
    )
    assert devices.visible(it, it.head, "0,1") == "6,7"
    assert devices.settings(it, it.head, "0,1")["NCCL_IB_HCA"] == "mlx5_1"
    assert devices.environment(it, it.workers[0]) == {"X": "1"}


def test_a_number_that_the_flags_give_is_not_given_twice() -> None:
    it = cluster('gpus = 2\nray_flags = ["--num-gpus=2", "--temp-dir=/x"]')
    assert devices.ray_flags(it, it.head, "0,1") == ["--num-gpus=2", "--temp-dir=/x"]


def test_ray_is_started_with_them() -> None:
    it = cluster("gpus = 0", 'gpus = 4\nray_flags = ["--temp-dir=/big"]')
    known = Known(it, {"devices": {"b": "0,1,2,4"}})
    assert "--num-gpus=0" in head.argv(known)
    assert {"--num-gpus=4", "--temp-dir=/big"} <= set(workers.argv(known, it.workers[0]))
    assert raystart.environment(known, it.workers[0])["CUDA_VISIBLE_DEVICES"] == "0,1,2,4"
    assert "CUDA_VISIBLE_DEVICES" not in raystart.environment(known, it.head)


def test_vllm_starts_where_there_are_gpus() -> None:
    assert cluster().server.name == "a"
    assert cluster("gpus = 0").server.name == "b"


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"head_": "gpus = 0", "worker": "gpus = 0"}, "no node has a GPU"),
        ({"worker": "gpus = 0"}, "only the head may have 0"),
        (
            {"head_": 'gpus = 4\nenv = {CUDA_VISIBLE_DEVICES = "0,1"}'},
            "names 2 devices, but gpus = 4 on node a",
        ),
        ({"head_": 'gpus = 2\nenv = {CUDA_VISIBLE_DEVICES = "1,1"}'}, "one of them twice"),
        ({"head_": 'gpus = 1\nenv = {MY_TOKEN = "x"}'}, "looks like a secret"),
        (
            {
                "worker": "gpus = 4",
                "more": 'path = "docker"\n[serve]\ntensor_parallel = 4\npipeline_parallel = 3\n[docker]\nray = "none"\n',
            },
            "is 6 a node, but b has gpus = 4",
        ),
    ],
)
def test_what_cannot_be_kept_is_refused(parts: dict[str, str], words: str) -> None:
    more = parts.pop("more", "")
    text = f"{more.partition('[')[0]}" if more else ""
    tables = more[len(text) :]
    with pytest.raises(UsageError, match=words):
        parse(
            text + f'[[nodes]]\nname = "a"\nhost = "a"\nrole = "head"\n{parts.get("head_", "gpus = 8")}\n'
            f'[[nodes]]\nname = "b"\nhost = "b"\n{parts.get("worker", "gpus = 8")}\n{tables}'
        )


def test_it_is_written_and_read_again() -> None:
    it = cluster('gpus = 4\nenv = {CUDA_VISIBLE_DEVICES = "0,1,2,3"}\nray_flags = ["--temp-dir=/x"]')
    assert parse(dump(it)) == it
    plain: dict[str, Any] = {"host": "b", "gpus": 1}
    assert "ray_flags" not in dump(
        Cluster(nodes=(NodeEntry(host="a", gpus=1, role="head"), NodeEntry(**plain)))
    )


@pytest.mark.parametrize(
    ("chosen", "found"),
    [("", [0, 1, 2]), ("2,0", [2, 0]), ("GPU-b", [1]), ("7", []), ("GPU-x, 1", [1]), ("9" * 5000, [])],
)
def test_names_of_gpus(chosen: str, found: list[int]) -> None:
    assert devices.places(chosen, ["GPU-a1", "GPU-b2", "GPU-c3"]) == found
