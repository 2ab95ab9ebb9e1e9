"""Every rule against its cases, and the order of findings over several outputs. The cases are data files."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from wizard_steps.diagnose import FAMILIES, Source, diagnose
from wizard_steps.diagnose.rule_file import Rule
from wizard_steps.diagnose.rules import default_rules, load

ROOT = Path(__file__).parents[1] / "cases" / "diagnose"
RULES = {rule.id: rule for rule in default_rules().rules}


def _read(path: Path) -> dict[str, Any]:
    return tomllib.loads(path.read_text(encoding="utf-8"))


CASES: dict[str, dict[str, list[str]]] = {
    rule: case
    for path in sorted(ROOT.glob("*.toml"))
    if path.stem != "nothing"
    for rule, case in _read(path).items()
}
HITS = [(rule, text) for rule, case in CASES.items() for text in case["hits"]]
MISSES = [(rule, text) for rule, case in CASES.items() for text in case["misses"]]


@pytest.mark.parametrize(("rule", "text"), HITS)
def test_rule_finds(rule: str, text: str) -> None:
    found = diagnose([Source("x.log", text)])
    assert [f.rule for f in found][:1] == [rule]
    assert found[0].evidence[0].text
    assert found[0].try_
    assert "{" not in found[0].cause


@pytest.mark.parametrize(("rule", "text"), MISSES)
def test_rule_does_not_find(rule: str, text: str) -> None:
    assert rule not in [f.rule for f in diagnose([Source("x.log", text)])]


@pytest.mark.parametrize("text", _read(ROOT / "nothing.toml")["texts"])
def test_healthy_output_has_no_finding(text: str) -> None:
    assert diagnose([Source("x.log", text)]) == []


@pytest.mark.parametrize("rule", sorted(RULES))
def test_every_rule_has_both_kinds_of_case(rule: str) -> None:
    assert CASES[rule]["hits"]
    assert CASES[rule]["misses"]


def test_every_case_belongs_to_a_rule() -> None:
    assert set(CASES) <= set(RULES)


def test_every_family_has_a_rule() -> None:
    assert {rule.family for rule in RULES.values()} == set(FAMILIES)


@pytest.mark.parametrize("rule", RULES.values(), ids=lambda rule: rule.id)
def test_rule_is_complete(rule: Rule) -> None:
    assert 0 < rule.confidence <= 1
    assert rule.source.startswith("https://")
    assert rule.cause.endswith(".")
    assert rule.try_
    assert (rule.kind in ("wrapper", "unknown")) == (rule.family == "wrapper")


@pytest.mark.parametrize("path", sorted((ROOT / "order").glob("*.toml")), ids=lambda p: p.stem)
def test_first_failure_wins(path: Path) -> None:
    case = _read(path)
    found = diagnose([Source(**source) for source in case["source"]])
    assert found[0].rule == case["first"], case["why"]
    assert found[0].node == case.get("node", found[0].node)
    for words in case.get("says", []):
        assert words in found[0].cause
    assert [f.confidence for f in found] == sorted((f.confidence for f in found), reverse=True)


def test_a_new_rule_is_a_file_only(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(
        '[[rule]]\nid = "mine"\nfamily = "config"\npatterns = ["flux capacitor (?P<what>\\\\w+)"]\n'
        'cause = "It is {what}."\nsource = "https://example.org"\ntry = [{ text = "Charge it." }]\n'
    )
    found = diagnose([Source("x", "boom: Flux Capacitor empty")], load(tmp_path))
    assert [(f.rule, f.cause) for f in found] == [("mine", "It is empty.")]
