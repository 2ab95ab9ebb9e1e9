"""Every parser of node output: no text raises, and none costs more than its length.

The second is measured as a ratio: four times the text may not cost ten times the time, where that is enough
time to be measured at all. The texts are what backtracks worst: one character, or one pair, again and again.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from tests.helpers.mutated import outputs
from wizard_steps.cluster.file import load
from wizard_steps.facts import accelerators, firewall, gpu, gpu_health, host, netstate, network, software
from wizard_steps.facts.judge import judge
from wizard_steps.facts.node import NodeAnswer, parse_node
from wizard_steps.facts.render import as_json, as_text
from wizard_steps.facts.sections import FactSection, split
from wizard_steps.milestones import vllm
from wizard_steps.milestones.ray_totals import Totals, nodes_of
from wizard_steps.milestones.replies import HttpAnswer as Chat
from wizard_steps.milestones.replies import Reply, models_of
from wizard_steps.model import WIZARD, Result
from wizard_steps.node.lines import fields
from wizard_steps.node.remote import Look

ROOT = Path(__file__).parents[1] / "cases" / "facts"
TEXTS = [path.read_text() for path in sorted(ROOT.rglob("*.txt"))]


def section(parse: Callable[[FactSection], object]) -> Callable[[str], object]:
    return lambda text: parse(FactSection(text, 0))


PARSERS: dict[str, Callable[[str], object]] = {
    "nvidia-smi": gpu.parse_nvidia_smi,
    "compute apps": gpu.parse_compute_apps,
    "gpu health": gpu_health.parse_health,
    "xids": lambda text: list(gpu_health.parse_xids(text)),
    "accelerators": lambda text: accelerators.sentence(accelerators.parse_accelerators(text)),
    "interfaces": network.parse_interfaces,
    "fib_trie": lambda text: network.parse_proc_net_fib(text, text),
    "hostname -I": network.parse_hostname_I,
    "ip addr": network.parse_ip_addr,
    "speeds": section(netstate.parse_speeds),
    "mtus": section(netstate.parse_mtus),
    "devices": lambda text: network.candidates(
        network.with_devices(network.parse_interfaces(text), netstate.parse_devices(FactSection(text, 0)))
    ),
    "home": section(host.parse_home),
    "rdma": section(netstate.parse_rdma),
    "topology": section(netstate.parse_topology),
    "proxies": section(netstate.parse_proxies),
    "firewall": lambda text: firewall.parse_firewall(
        {f"firewall-{name}": FactSection(text, 0) for name in ("ufw", "firewalld", "nft", "iptables")}
    ),
    "host": lambda text: host.parse_host(FactSection(text, 0), FactSection(text, 0), FactSection(text, 0)),
    "limits": section(host.parse_limits),
    "df": section(host.parse_df),
    "clock": lambda text: host.parse_clock(text, 0.0, 1.0),
    "software": lambda text: software.parse_software(FactSection(text, 0), FactSection(text, 0)),
    "docker": section(software.parse_docker),
    "ours": section(software.parse_ours),
    "processes": section(software.parse_processes),
    "listeners": lambda text: software.parse_listeners(FactSection(text, 0), FactSection(text, 0)),
    "sockets": lambda text: software.parse_listeners(FactSection("", 0), FactSection(text, 0)),
    "token": section(software.parse_token),
    "model": section(software.parse_model),
    "access": software.parse_access,
    "sections": split,
    "fields": fields,
    "look": Look,
    "ray status": Totals,
    "ray list nodes": nodes_of,
    "http": lambda text: (
        Reply(text).said,
        Reply(text).proxy,
        models_of(Reply(text)),
        Chat(Reply(text)).broken,
    ),
    "vllm log": lambda text: [(vllm.phase_of(line), vllm.over(line)) for line in text.splitlines()],
    "first error": lambda text: vllm.first_error(Result(WIZARD, "log", text, 0)),
}


@pytest.mark.parametrize("name", sorted(PARSERS))
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(text=outputs(TEXTS))
def test_no_text_breaks_a_parser(name: str, text: str) -> None:
    PARSERS[name](text)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(main=outputs(TEXTS), other=outputs(["1795000000.5\n", "status 200\n"]))
def test_no_answer_of_a_node_breaks_the_report(main: str, other: str) -> None:
    cluster = load(ROOT / "healthy" / "cluster.toml")
    answers = {"facts": NodeAnswer(main), **{key: NodeAnswer(other) for key in ("clock", "access", "config")}}
    report = judge({node.name: parse_node(answers) for node in cluster.node_list}, cluster)
    assert as_text(report)
    assert as_json(report)


#: One character or pair again and again; some after the words that lead a parser on.
WORST = (
    "\n", " ", "1", ".", ":", "|", "[", "{", "a", "-", "/", "\x1b[", "\x9d", "\r", ", ", "|\n", "[\n", "0 ", "1\n",
    "HTTP/", "\n\n", "GPU ", "a b ", "| 0 ", "1 node_", "HTTP/1.1 200 \n", "|--", "#", "#\n", "Error:", "\t",
)  # fmt: skip
LEAD = ("", "Active:\n", "HTTP/1.1 200 OK\n\n", "MemTotal: ", "hook input ", "Driver Version:", "LISTEN 0 0 ")
KIB = 1024


def spent(parse: Callable[[str], object], text: str) -> float:
    start = time.process_time()
    parse(text)
    return time.process_time() - start


@pytest.mark.parametrize("name", sorted(PARSERS))
def test_time_grows_with_the_text_and_no_faster(name: str) -> None:
    parse = PARSERS[name]
    alone: dict[tuple[str, int], float] = {}
    for lead in LEAD:
        for worst in WORST:
            before = 0.0
            for size in (2 * KIB, 8 * KIB, 32 * KIB):
                text = lead + worst * (size // len(worst))
                took = spent(parse, text)
                if took > 0.1:  # the collector of a long run can fall into it
                    took = min(took, spent(parse, text), spent(parse, text))
                assert took < 0.25 or took < 10 * max(before, 0.02), f"{lead!r} and {worst!r}: {took:.2f} s"
                if not lead:
                    alone[worst, size] = took
                if took < 0.002 and size > 2 * KIB:
                    break  # even a cubic parser would stay below the limit at the next size
                if lead and size > 2 * KIB and took < 1.5 * alone.get((worst, size), 0.0):
                    break  # what the lead leads to costs no more than the text alone, which was tried at every size
                before = took
