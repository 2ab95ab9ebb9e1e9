"""Case folders: pasted outputs of nodes -> expected findings. A new case costs no Python.

tests/cases/facts/<case>/ holds cluster.toml, expect.toml and <node>.txt: sections of the facts script as
a node printed them. Sections that a file lacks are taken from _base/<base>.txt; a node without a file
did not answer. A section "access" is the answer of the hub request. In expect.toml, ``only`` means that
no other warning or failure may come; ``clock`` sets a node's clock off by seconds.
"""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from wizard_steps.cluster.file import Cluster, load
from wizard_steps.facts.finding import Finding
from wizard_steps.facts.judge import Report, judge
from wizard_steps.facts.node import NodeAnswer, NodeFacts, parse_node
from wizard_steps.facts.render import as_json, as_text
from wizard_steps.facts.sections import FactSection, split

ROOT = Path(__file__).parents[1] / "cases" / "facts"
CASES = sorted(path.parent for path in ROOT.glob("*/expect.toml"))
NOW = 1_795_000_000.0


def join(found: dict[str, FactSection]) -> str:
    whole = found | {"end": FactSection("", 0)}
    return "".join(f"{one.text}\n\n@@fact {name} exit {one.code}\n" for name, one in whole.items())


def node_facts(folder: Path, node: str, expect: dict[str, Any]) -> NodeFacts:
    file = folder / f"{node}.txt"
    if not file.exists():
        return parse_node({"facts": NodeAnswer(problem=expect["problems"][node])})
    base = split((ROOT / "_base" / f"{expect['base']}.txt").read_text()) if "base" in expect else {}
    found = base | split(file.read_text())
    answers = {"facts": NodeAnswer(join({k: v for k, v in found.items() if k != "access"}))}
    if "access" in found:
        answers["access"] = NodeAnswer(found["access"].text)
    skew = expect.get("clock", {}).get(node, 0.0)
    answers["clock"] = NodeAnswer(f"{NOW + skew:.6f}\n", "", NOW - 0.05, NOW + 0.05)
    return parse_node(answers)


def read(folder: Path) -> tuple[dict[str, Any], Cluster, Report]:
    expect = tomllib.loads((folder / "expect.toml").read_text())
    cluster = load(folder / "cluster.toml")
    facts = {node.name: node_facts(folder, node.name, expect) for node in cluster.node_list}
    return expect, cluster, judge(facts, cluster, int(expect.get("weights_gib", 0) * (1 << 20)))


def matches(one: Finding, wanted: dict[str, str]) -> bool:
    return (
        one.fact == wanted["fact"]
        and one.node == wanted["node"]
        and one.verdict == wanted["verdict"]
        and wanted.get("says", "") in f"{one.message} {one.hint}"
        and wanted.get("found", "") in one.found
    )


@pytest.mark.parametrize("folder", CASES, ids=lambda path: path.name)
def test_case(folder: Path) -> None:
    expect, cluster, report = read(folder)
    told = "\n".join(map(str, report.findings))
    assert report.verdict == expect["verdict"], "\n".join(
        str(one) for one in report.findings if one.verdict != "ok"
    )
    for wanted in expect.get("findings", []):
        assert any(matches(one, wanted) for one in report.findings), f"{wanted}\nnot in\n{told}"
    if expect.get("only"):
        for one in report.findings:
            if one.verdict in ("warn", "fail"):
                assert any(matches(one, wanted) for wanted in expect["findings"]), one
    for hint in expect.get("hints", []):
        assert hint in " ".join(one.hint for one in report.findings)
    best = report.network.best
    if "network" in expect:
        assert best is not None
        assert best.network == expect["network"]
        assert expect.get("reason", "") in report.network.reason
    for name, value in expect.get("env", {}).items():
        assert report.env[cluster.head.name][name] == value
    lines = as_text(report)
    assert max(map(len, lines)) <= 76
    assert ("SIMULATED" in "\n".join(lines)) == cluster.simulated
    assert json.loads(json.dumps(as_json(report)))["verdict"] == expect["verdict"]


def test_there_are_cases() -> None:
    assert len(CASES) >= 30


@pytest.mark.parametrize("cut", [0, 1, 100, 1000, 2500, 4000])
def test_a_cut_connection_never_crashes(cut: int) -> None:
    text = (ROOT / "_base" / "h100x8.txt").read_text()[:cut]
    facts = parse_node({"facts": NodeAnswer(text, "connection lost")})
    cluster = load(ROOT / "healthy" / "cluster.toml")
    report = judge({"a": facts, "b": facts, "c": facts}, cluster)
    assert report.verdict == "fail"
    assert any(one.fact == "reach" and one.verdict == "fail" for one in report.findings)
    assert as_text(report)


def test_256_nodes_are_judged_and_shown_briefly() -> None:
    text = join(split((ROOT / "_base" / "h100x8.txt").read_text()))
    nodes = "".join(
        f'[[nodes]]\nhost = "n{i}"\ngpus = 8\nrole = "{"worker" if i else "head"}"\n' for i in range(256)
    )
    from wizard_steps.cluster.file import parse

    cluster = parse(nodes)
    facts = {
        f"n{i}": parse_node(
            {"facts": NodeAnswer(text.replace("10.10.0.1/24", f"10.10.{i // 200}.{i % 200 + 1}/16")
                             .replace("555501", f"5{i:05}"))}
        )
        for i in range(256)
    }  # fmt: skip
    report = judge(facts, cluster)
    assert report.network.best is not None
    assert report.network.best.network == "10.10.0.0/16"
    assert len(as_text(report)) < 150
