"""Facts on what machines print. A new output is an entry in tests/cases/firewall.toml or gpu_health.toml."""

from __future__ import annotations

import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wizard_steps.cluster.file import parse
from wizard_steps.facts import rules_gpu, rules_machine
from wizard_steps.facts.accelerators import parse_accelerators, sentence
from wizard_steps.facts.firewall import parse_firewall
from wizard_steps.facts.gpu_health import SCRIPT, XID_SCRIPT, XIDS, Health, parse_health, parse_xids
from wizard_steps.facts.host import Limits, parse_home
from wizard_steps.facts.netstate import Rdma
from wizard_steps.facts.network import NetDevice, parse_ip_brief, with_devices
from wizard_steps.facts.node import NodeFacts
from wizard_steps.facts.sections import FactSection
from wizard_steps.facts.software import parse_listeners
from wizard_steps.facts.usable import NodeNet, usable

CASES = Path(__file__).parents[1] / "cases"


def outputs(file: str, kind: str) -> Any:
    found = tomllib.loads((CASES / file).read_text(encoding="utf-8"))[kind]
    assert len({one["name"] for one in found}) == len(found)
    return pytest.mark.parametrize("one", found, ids=lambda one: one["name"])


def active(name: str, text: str) -> tuple[str, ...]:
    return parse_firewall({f"firewall-{name}": FactSection(text, 0)}).active


def on_the_node(script: str, tool: str, text: str) -> str:
    """What is left of a tool's output behind the script's own pipe."""
    shell = script.replace(tool, "cat", 1)
    return subprocess.run(["sh", "-c", shell], input=text, capture_output=True, text=True, check=False).stdout


@outputs("firewall.toml", "iptables")
def test_iptables(one: dict[str, Any]) -> None:
    assert active("iptables", one["text"]) == (("iptables",) if one["wanted"] else ())


@outputs("firewall.toml", "nft")
def test_nft(one: dict[str, Any]) -> None:
    assert active("nft", one["text"]) == (("nft",) if one["wanted"] else ())


@outputs("gpu_health.toml", "health")
def test_health(one: dict[str, Any]) -> None:
    found = parse_health(on_the_node(SCRIPT, "nvidia-smi -q", one["text"]))
    assert [state(gpu) for gpu in found] == one["wanted"], found


def state(gpu: Health) -> str:
    return "FAULT" if gpu.faults else "WORRY" if gpu.worries else "well"


@outputs("gpu_health.toml", "xids")
def test_xids(one: dict[str, Any]) -> None:
    kept = on_the_node(XID_SCRIPT, "dmesg", one["text"])
    assert sorted({xid.number for xid in parse_xids(kept) if xid.number in XIDS}) == one["wanted"]


@outputs("gpu_health.toml", "fabric")
def test_fabric(one: dict[str, Any]) -> None:
    facts = NodeFacts(gpu_fabric=tuple(one["text"].splitlines()))
    assert [finding.verdict for finding in rules_gpu._fabric("a", facts)] == one["wanted"]


PIECES = st.sampled_from(
    ["table ip t {", "table ip6 t {", "chain a {", "chain b {", "type filter hook input priority 0; policy drop;",
     "policy accept;", "jump a", "jump b", "goto c", "accept", "drop", "reject", "return", "tcp dport { 1-9999 }",
     "ip saddr 10.0.0.0/8", "ct state invalid", "}", "{", "-P INPUT DROP", "-A INPUT -j a", "-A a -j b",
     "-A b -j a", "-A a -j RETURN", "-A b -s 10.0.0.0/8 -j DROP", "comment \"x", "\n", "\n", " "]
)  # fmt: skip


@given(st.lists(PIECES, max_size=60).map(" ".join))
def test_no_ruleset_raises_or_turns_in_a_circle(text: str) -> None:
    for name in ("nft", "iptables"):
        assert active(name, text) in ((), (name,))


@given(st.integers(1, 40))
def test_chains_that_lead_to_each_other_twice_are_followed_once(count: int) -> None:
    rules = [f"-A {'INPUT' if n == 0 else f'c{n}'} -j c{n + 1}" for n in range(count) for _ in range(2)]
    text = "\n".join([*rules, f"-A c{count} -j DROP"])
    assert active("iptables", text) == (("iptables",) if count <= 16 else ())


@pytest.mark.parametrize(
    ("line", "remote"),
    [
        ("ceph-fuse fuse.ceph-fuse 8482560410 62914560 8419645850 7% /mnt/cephfs", True),
        # GoogleCloudPlatform/cluster-toolkit#3827: a bucket as /home.
        ("home-cont-msbucket39901 fuse.gcsfuse 1125899906842624 0 1125899906842624 0% /home", True),
        ("beegfs_nodev beegfs 1 0 1 0% /home", True),
        ("1:2:3 fuse.mergerfs 1 0 1 0% /home", False),
        ("/dev/sda1 fuseblk 1 0 1 0% /home", False),
        ("rpool/home zfs 1 0 1 0% /home", False),
    ],
)
def test_whose_disk_a_home_is_on(line: str, remote: bool) -> None:
    assert parse_home(FactSection(f"device 53 inode 7\nFilesystem Type ...\n{line}", 0)).remote is remote


@pytest.mark.parametrize(
    ("kib", "path", "verdict", "found"),
    [
        (8192, "bare-metal", "fail", "8192 KiB"),  # NVIDIA/nccl-tests#206: ibv_reg_mr cannot allocate memory
        (33009433, "bare-metal", "warn", "31.5 GiB"),  # Ubuntu's own: an eighth of 256 GB
        (264176236, "bare-metal", "warn", "251.9 GiB"),
        (8192, "docker", "ok", "8192 KiB on the host"),  # docker.ulimits has memlock=-1
    ],
)
def test_memory_that_rdma_may_pin(kib: int, path: str, verdict: str, found: str) -> None:
    cluster = parse(f'path = "{path}"\n[[nodes]]\nname = "a"\nhost = "a"\nrole = "head"\ngpus = 8\n')
    card = Rdma("mlx5_0", True, 400.0, "InfiniBand", ("ib0",), "card", "mlx5_core", "ACTIVE")
    facts = NodeFacts(limits=Limits(kib << 10, 1024), rdma=(card,))
    named = {one.fact: one for one in rules_machine.judge(cluster.head, facts, cluster)}
    assert named["memlock"].verdict == verdict
    assert named["memlock"].found.startswith(found)
    assert named["open files"].verdict == ("ok" if path == "docker" else "warn")


def test_the_link_to_a_bluefield_card_is_no_network_of_the_nodes() -> None:
    """Its driver gives each host 192.168.100.1, on a virtio device."""
    devices = {"tmfifo_net0": NetDevice(0, 1500, "virtio", "virtio_net")}

    def host(last: int) -> NodeNet:
        text = f"eno1 UP 10.0.0.{last}/24\ntmfifo_net0 UP 192.168.100.1/24"
        return NodeNet(with_devices(parse_ip_brief(text), devices))

    found = usable({"a": host(1), "b": host(2)})
    assert {node: [one.ip for one in all_] for node, all_ in found.by_node.items()} == {
        "a": ["10.0.0.1"],
        "b": ["10.0.0.2"],
    }
    assert not found.repeated
    assert "BlueField" in found.left_out["a"][0].why


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        # The console of every EC2 instance; Trainium and Inferentia are no display (class 0880).
        ("pci 0000:00:03.0 0x1d0f 0x1111 0x030000", "no accelerator was found"),
        ("pci 0000:00:03.0 0x1d0f 0x1111 0x030000\nfile /dev/neuron0", "1 AWS Neuron device found"),
        # Hi171x Series [iBMC Intelligent Management system chip w/VGA support]
        ("pci 0000:05:00.0 0x19e5 0x1711 0x030000", "no accelerator was found"),
        ("pci 0000:c1:00.0 0x19e5 0xd802 0x120000", "1 Huawei Ascend NPU found"),
        ("pci 0000:05:00.0 0x1002 0x164e 0x030000", "no accelerator was found"),
        ("pci 0000:c1:00.0 0x1002 0x74a1 0x120000", "1 AMD GPU found"),
        ("pci 0000:03:00.0 0x8086 0xe20b 0x030000", "1 Intel GPU found"),
        (
            "pci 0000:00:03.0 0x1d0f 0x1111 0x030000\npci 0000:00:1e.0 0x10de 0x2237 0x030200",
            "1 NVIDIA GPU on",
        ),
    ],
)
def test_a_display_of_the_mainboard_is_no_accelerator(lines: str, said: str) -> None:
    assert said in sentence(parse_accelerators(lines))


def test_two_programs_may_have_one_port_on_two_addresses() -> None:
    text = (
        'LISTEN 0 511 127.0.0.1:8265 0.0.0.0:* users:(("node",pid=11,fd=20))\n'
        'LISTEN 0 4096 10.0.0.1:8265 0.0.0.0:* users:(("raylet",pid=22,fd=9))\n'
    )
    found = parse_listeners(FactSection("", 1), FactSection(text, 0))
    assert {one.ip: (one.program, one.pid) for one in found} == {
        "127.0.0.1": ("node", 11),
        "10.0.0.1": ("raylet", 22),
    }
    # 0100007F is 127.0.0.1: /proc has the sockets, ss their programs.
    proc = (
        "   0: 0100007F:2049 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 777 1 0"
    )
    (one,) = parse_listeners(FactSection(proc, 0), FactSection(text, 0))
    assert (one.program, one.pid, one.inode) == ("node", 11, 777)
