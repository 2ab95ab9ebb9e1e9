"""What the scripts say of a node's RDMA devices: each kind as a small tree of /sys, and what comes of it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.helpers.network_help import cluster
from tests.helpers.rdma_tree import LOCAL, SIX, Tree, roce
from wizard_steps.engine.step import Known
from wizard_steps.facts.netstate import parse_rdma
from wizard_steps.facts.sections import FactSection
from wizard_steps.milestones import fabric_facts, fabric_rdma
from wizard_steps.milestones.fabric_facts import Links
from wizard_steps.model import Result
from wizard_steps.node.program import program


def links(tree: Tree, *addresses: str) -> Links:
    """``addresses``: ``eth0 10.0.0.1/24``."""
    lines = [f"2: {one.replace(' ', '    inet ')} scope global" for one in addresses]
    for name in ("bin", "dev/infiniband"):
        (tree.root / name).mkdir(parents=True, exist_ok=True)
    (tree.root / "dev/infiniband/uverbs0").touch()
    (tree.root / "bin/ip").write_text("#!/bin/sh\ncat <<'END'\n" + "\n".join(lines) + "\nEND\n")
    (tree.root / "bin/ip").chmod(0o755)
    text = program("facts_rdma.sh") + program("links.sh")
    for folder in ("/sys/", "/dev/infiniband"):
        text = text.replace(folder, f"{tree.root}{folder}")
    env = {"PATH": f"{tree.root}/bin:{os.environ['PATH']}", "HOME": str(tree.root)}
    done = subprocess.run(["sh", "-c", text], env=env, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    found = fabric_facts.links(Result(cluster("a").head, "links", done.stdout, 0))
    assert found is not None
    return found


def said(here: Links) -> tuple[dict[str, str], str]:
    """What is set on the node, and all that is said, where both nodes are alike."""
    known, found = Known(cluster("ab")), {"a": here, "b": here}
    made = fabric_rdma.settings(known, found, {"a": "2.14.0", "b": "2.14.0"})
    checks = fabric_rdma.checks(known, found, made)
    return made.get("a", {}), "\n".join(f"{one.state} {one.name}: {one.found}; {one.hint}" for one in checks)


def test_the_address_of_a_bond_is_that_of_its_card_and_its_rate_too(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    tree.net("bond0", 200000, bond=True)
    tree.net("ens1f0", 100000)
    tree.device("mlx5_bond_0", "ens1f0", gids=roce("bond0"))
    here = links(tree, "bond0 10.0.0.1/24")
    assert [(port.interfaces, port.rate) for port in here.usable] == [(("ens1f0", "bond0"), 200.0)]
    assert here.of(here.rdma[0]) == ("10.0.0.1/24",)


def test_virtual_functions_of_a_card_are_no_rails(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    tree.device("mlx5_0", "ens1", gids=roce("ens1"))
    tree.device("mlx5_2", "ens1v0", gids=roce("ens1v0", LOCAL), more="device/physfn/vendor")
    made, words = said(links(tree, "ens1 10.0.0.1/24"))
    assert made == {"NCCL_IB_HCA": "=mlx5_0"}
    assert "ok rails: 1 x 100 Gbit/s Ethernet on every node" in words
    assert "warning" not in words


def test_ports_of_one_card_are_told_apart(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    for number in (1, 2, 3):
        tree.device("mlx4_0", "ens1", gids=roce("ens1") if number < 3 else (), port=number)
    here = links(tree, "ens1 10.0.0.1/24")
    assert [(port.device, port.kind) for port in here.rdma] == [
        ("mlx4_0", "card"),
        ("mlx4_0:2", "card"),
        ("mlx4_0:3", "vf"),
    ]
    assert [here.gid(port.device) for port in here.usable] == [2, 2]


def test_software_is_no_fast_port(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    tree.device("rxe0", "eth0", gids=roce("eth0"), more="parent")
    here = links(tree, "eth0 10.0.0.1/24")
    assert (here.usable, here.able) == ((), ())
    assert "in software (Soft-RoCE, siw): no faster than TCP" in said(here)[1]


def test_a_card_in_iwarp_mode_has_its_own_advice(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    tree.device("irdma0", "ens3", node="4: RNIC", gids=[(LOCAL, "IB/RoCE v1", "ens3")])
    here = links(tree, "ens3 10.0.0.1/24")
    words = said(here)[1]
    assert "iWARP, which NCCL does not use" in words
    assert "roce_ena=1" in words
    assert here.able == ()


def test_efa_needs_a_plug_in_and_no_address(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    tree.device("rdmap0s6", layer="Unknown", node="7: unspecified")
    here = links(tree, "ens5 10.0.0.1/24")
    made, words = said(here)
    assert (made, here.usable, len(here.able)) == ({}, (), 1)
    assert "NCCL needs a plug-in for it" in words
    assert "warning" not in words


def test_ipv6_alone_and_no_address_at_all_are_told_apart(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    tree.device("mlx5_0", "ens1", gids=roce("ens1", SIX))
    tree.device("mlx5_1", "ens2", gids=roce("ens2", LOCAL))
    words = said(links(tree, "eth0 10.0.0.1/24"))[1]
    assert "mlx5_0: ens1, 100 Gbit/s Ethernet, with IPv6 addresses only" in words
    assert "mlx5_1: ens2, 100 Gbit/s Ethernet, without an IPv4 address" in words


def test_the_lines_of_before_are_still_read() -> None:
    old = "mlx5_0 port 1 state 4: ACTIVE rate 400 Gb/sec (4X NDR) layer InfiniBand net /sys/x/device/net/ib0"
    (port,) = parse_rdma(FactSection(f"{old}\n", 0))
    assert (port.active, port.rate, port.interfaces, port.kind, port.real) == (
        True,
        400.0,
        ("ib0",),
        "",
        True,
    )
