"""The gate of the GPU network on hosts with SIMULATED RDMA cards: what is read of them over SSH, what is set for
NCCL on each node, and perftest's own tools, which find no device there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from tests.real.hosts import Hosts
from tests.real.rdma import VENV, card
from tests.real.test_gates import Walked, walk
from wizard_steps.cluster.file import Cluster, load
from wizard_steps.cluster.values import Fabric

pytestmark = [pytest.mark.real_hosts, pytest.mark.long, pytest.mark.timeout(300)]

#: A SIMULATED ib_write_bw and ib_send_lat: what perftest prints, by its own formats.
_TOOLS = {
    "ib_write_bw": (
        " #bytes     #iterations    BW peak[Gb/sec]    BW average[Gb/sec]   MsgRate[Mpps]\n"
        " 1048576    2000             98.20              97.90  \t\t     0.011700\n"
    ),
    "ib_send_lat": (
        " #bytes #iterations    t_min[usec]    t_max[usec]  t_typical[usec]    t_avg[usec]    t_stdev[usec]   "
        "99% percentile[usec]   99.9% percentile[usec] \n"
        " 2       1000          1.71           5.40         1.83     \t       1.84     \t0.10\t\t1.95 \t\t5.40\n"
    ),
}


@pytest.fixture(scope="module")
def bed() -> Iterator[Hosts]:
    with Hosts(names=("a", "b"), gpus={"a": 1, "b": 1}) as hosts:
        card(hosts, "a")
        card(hosts, "b", 2)
        yield hosts


def cluster(bed: Hosts) -> Cluster:
    file = bed.cluster_file()
    file.write_text(re.sub(r"(?m)^venv = .*$", f'venv = "{VENV}"', file.read_text()))
    return load(file)


def told(walked: Walked) -> str:
    checks = walked.verdicts["fabric"].checks
    return "\n".join(f"{one.state} {one.name}@{one.node}: {one.found} | {one.hint}" for one in checks)


def test_ports_are_read_and_perftest_without_a_device_shuts_nothing(
    bed: Hosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert Path("/usr/bin/ib_write_bw").exists(), "install perftest"
    walked = walk(bed, monkeypatch, cluster(bed), "ip", "fabric")
    words = told(walked)
    print(words)
    verdict = walked.verdicts["fabric"]
    assert verdict.passed
    ip = bed.network.fabric_ip("b")
    assert (
        f"RDMA ports@node-b: active, but RoCE cannot use it: mlx5_1. mlx5_0: eth1 {ip}/24, 100 Gbit/s"
        in words
    )
    assert "it differs: node-a: 2; node-b: 4" in words
    assert verdict.facts["nccl_env"]["node-b"] == {"NCCL_IB_HCA": "=mlx5_0"}
    assert "warning RDMA node-a - node-b@node-b: ib_write_bw did not run:" in words


def test_what_perftest_measures_is_set_beside_the_port(bed: Hosts, monkeypatch: pytest.MonkeyPatch) -> None:
    for tool, text in _TOOLS.items():
        file = bed.folder / tool
        file.write_text(f"#!/bin/sh\ncat <<'END'\n{text}END\n")
        file.chmod(0o755)
        for name in bed.names:
            bed.mount_over(name, file, f"/usr/bin/{tool}")
    words = told(walk(bed, monkeypatch, cluster(bed), "ip", "fabric"))
    print(words)
    assert (
        "ok RDMA node-a - node-b@node-b: mlx5_0: ib_write_bw 97.9 of 100 Gbit/s (0.98), ib_send_lat 1.83 us"
        in words
    )


def test_sockets_beside_rdma_shut_the_gate_unless_they_are_accepted(
    bed: Hosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in bed.names:
        bed.run(name, f"touch {VENV}/socket")
    shut = walk(bed, monkeypatch, cluster(bed), "ip", "fabric")
    words = told(shut)
    print(words)
    assert "transport@" in shut.failing("fabric")
    assert "Plain TCP, though every node has an active RDMA port (node-a: mlx5_0 100 Gbit/s Ethernet" in words
    agreed = msgspec.structs.replace(cluster(bed), fabric=Fabric(accept=("socket",)))
    verdict = walk(bed, monkeypatch, agreed, "ip", "fabric").verdicts["fabric"]
    assert verdict.passed
    assert "transport" in {check.name for check in verdict.warnings}
