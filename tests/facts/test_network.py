"""Interfaces and addresses: every source a host may have, and what is left out with a reason."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wizard_steps.facts.interface_kinds import kind_of
from wizard_steps.facts.network import (
    InterfaceAddress,
    candidates,
    excluded,
    parse_hostname_I,
    parse_interfaces,
    parse_ip_addr,
    parse_ip_brief,
    parse_proc_net_fib,
)

BRIEF = """\
lo               UNKNOWN        127.0.0.1/8 ::1/128
eno1             UP             93.184.216.34/24 metric 100 fe80::1/64
ib0              UP             10.1.0.1/24 fd00::1/64  # SIMULATED
docker0          DOWN           172.17.0.1/16
br-0a1b2c3d4e5f  UP             172.18.0.1/16
veth12@if6       UP             fe80::2/64
eth0@if6         UP             10.0.0.1/16
eth1             DOWN           10.2.0.1/16
wg0              UNKNOWN        10.8.0.1 peer 10.8.0.2/32
\x1b[32meth2\x1b[0m             UP             169.254.3.4/16
sh: 1: ip: not found
"""

FIB = """\
Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 10.0.0.7
        /32 host LOCAL
     |-- 10.0.0.255
        /32 link BROADCAST
     |-- 127.0.0.1
        /32 host LOCAL
Local:
     |-- 10.0.0.7
        /32 host LOCAL
"""
ROUTE = """\
Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT
ens3 00000000 0100000A 0003 0 0 0 00000000 0 0 0
ens3 0000000A 00000000 0001 0 0 0 00FFFFFF 0 0 0
"""


def test_brief_reads_names_states_and_prefixes() -> None:
    found = {i.name: i for i in parse_ip_brief(BRIEF)}
    assert set(found) >= {"lo", "eno1", "ib0", "eth0", "eth2", "veth12"}
    assert "sh:" not in found
    assert found["ib0"].v4 == (InterfaceAddress("10.1.0.1", 24),)
    assert InterfaceAddress("fd00::1", 64) in found["ib0"].addresses
    assert [a.ip for a in found["eno1"].addresses] == ["93.184.216.34", "fe80::1"]
    assert [a.ip for a in found["wg0"].addresses] == ["10.8.0.1"]
    assert found["eth1"].state == "DOWN"


def test_candidates_put_the_fabric_first_and_the_vpn_last() -> None:
    order = [c.interface for c in candidates(parse_ip_brief(BRIEF)) if ":" not in c.ip]
    assert order == ["ib0", "eth0", "eno1", "wg0"]


def test_everything_left_out_has_a_reason() -> None:
    reasons = {c.interface: c.why for c in excluded(parse_ip_brief(BRIEF))}
    assert "only this host" in reasons["lo"]
    assert "container" in reasons["docker0"]
    assert "container" in reasons["br-0a1b2c3d4e5f"]
    assert "link-local" in reasons["eth2"]
    assert "DOWN" in reasons["eth1"]


def test_loopback_is_a_candidate_only_when_asked_for() -> None:
    lab = parse_ip_brief("lo UNKNOWN 127.0.0.2/8 # SIMULATED")
    assert candidates(lab) == []
    assert [c.ip for c in candidates(lab, loopback=True)] == ["127.0.0.2"]


def test_long_form_of_busybox() -> None:
    text = (
        "2: eth0@if6: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500 qdisc noqueue state UP qlen 1000\n"
        "    link/ether 02:00:00:00:00:01 brd ff:ff:ff:ff:ff:ff\n"
        "    inet 10.0.0.3/24 brd 10.0.0.255 scope global eth0\n"
        "    inet6 fe80::1/64 scope link\n"
        "3: eth1: <BROADCAST,MULTICAST> mtu 1500 qdisc noop\n"
    )
    eth0, eth1 = parse_ip_addr(text)
    assert (eth0.name, eth0.state, eth0.v4) == ("eth0", "UP", (InterfaceAddress("10.0.0.3", 24),))
    assert (eth1.name, eth1.state) == ("eth1", "DOWN")
    assert parse_interfaces(text) == [eth0, eth1]


def test_hosts_without_iproute2() -> None:
    (nameless,) = candidates(parse_hostname_I("10.0.0.7 172.17.0.1 \n"))
    assert (nameless.interface, nameless.ip) == ("", "10.0.0.7")
    assert parse_interfaces("10.0.0.7 fd00::1") == parse_hostname_I("10.0.0.7 fd00::1")
    named = {i.name: i.addresses for i in parse_proc_net_fib(FIB, ROUTE)}
    assert named == {"ens3": (InterfaceAddress("10.0.0.7", 24),), "lo": (InterfaceAddress("127.0.0.1", 8),)}
    assert parse_proc_net_fib(FIB)[0].name == ""


@pytest.mark.parametrize(
    ("name", "kind"),
    [("ibp12s0", "infiniband"), ("enp1s0f0np0", "ethernet"), ("bond0", "bond"), ("br0", "bridge"),
     ("br-0123456789ab", "container"), ("tailscale0", "overlay"), ("virbr0", "virtual"), ("lo", "loopback"),
     ("weird7", "unknown")],
)  # fmt: skip
def test_kinds_by_name(name: str, kind: str) -> None:
    assert kind_of(name)[0] == kind


@given(st.text())
def test_no_text_breaks_a_parser(text: str) -> None:
    found = parse_interfaces(text)
    assert len(candidates(found)) + len(excluded(found)) == sum(len(i.addresses) for i in found)
