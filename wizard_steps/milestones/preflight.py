"""preflight: what `milepost check` finds, as a gate, before anything is installed or started."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from msgspec.structs import replace

from wizard_steps.advisor.config import object_of
from wizard_steps.cluster.file import Cluster
from wizard_steps.engine.step import ABOUT_FACTS, FACTS, Bundled, Known, Step
from wizard_steps.facts import script
from wizard_steps.facts.boxes import topology_of
from wizard_steps.facts.finding import Finding
from wizard_steps.facts.finding import Verdict as Judged
from wizard_steps.facts.judge import judge
from wizard_steps.facts.node import NodeAnswer, NodeFacts, parse_node
from wizard_steps.facts.rules_software import is_ours
from wizard_steps.facts.sections import split
from wizard_steps.milestones.common import check_of, everywhere
from wizard_steps.model import WIZARD, Check, Node, Result, Results, Round, Verdict, Work, counted
from wizard_steps.node.places import place_of

#: What the next gates set right or judge with more knowledge: here only a word of warning.
_LATER: dict[bool, dict[str, str]] = {
    False: dict.fromkeys(("vllm", "ray", "torch", "NCCL", "openai"), "the install step sets it right"),
    True: {"docker": "the Docker step looks closer"},
}
#: Values that are fine are told together up to this many; addresses differ on every node.
_SHOWN = 4


class Preflight(Step):
    id = "preflight"
    title = "Look before you start"
    short = "look first"
    keys = ("facts",)
    bundled = (Bundled(("facts",), FACTS, ABOUT_FACTS),)

    def rounds(self, known: Known, done: Results) -> Round | None:
        if not done.has("facts"):
            work: list[Work] = [(WIZARD, script.CLOCK)]
            for node in known.nodes:
                work += [(node, cmd) for cmd in script.commands(node, known.cluster)]
            return Round(work=tuple(work))
        cut = [n for n in known.nodes if (r := done.get("facts", n)) and r.ok and _cut(r)]
        again = len([r for r in done.items if r.key == "facts"]) > len(known.nodes)
        return everywhere(cut, script.facts_command(known.cluster)) if cut and not again else None

    def judge(self, known: Known, done: Results) -> Verdict:
        facts = {node.name: _facts(done, node) for node in known.nodes}
        report = judge(facts, known.cluster)
        findings = [_for_the_gate(one, known.cluster) for one in report.findings]
        count = len(known.nodes)
        failed = [one for one in findings if one.verdict == "fail"]
        warned = [one for one in findings if one.verdict == "warn"]
        quiet = (*_together(findings, "unknown", count), *_together(findings, "ok", count))
        checks = (*map(check_of, failed), *map(check_of, warned), *quiet)
        if failed:
            where = dict.fromkeys(f"{one.fact} ({one.node or 'nodes differ'})" for one in failed)
            things = "thing" if len(failed) == 1 else "things"
            summary = f"not ready: {len(failed)} {things} would fail later: {', '.join(where)}"
        else:
            summary = f"{counted(count, 'node')} checked: no blockers"
        return Verdict(
            not failed, summary, checks, {"machines": _learnt(known, facts), "serving": _serving(facts)}
        )


def _cut(result: Result) -> bool:
    return script.END not in split(result.text)


def _facts(done: Results, node: Node) -> NodeFacts:
    keys = ("facts", "clock", "access", "config")
    zero = _epoch(done.get("clock", WIZARD))
    results = {key: r for key in keys if (r := done.get(key, node))}
    answers = {key: _answer(r, zero) for key, r in results.items() if key != "clock" or zero is not None}
    return parse_node(answers)


def _answer(result: Result, zero: float | None) -> NodeAnswer:
    problem = ""
    if result.reason not in ("exit", "stopped"):
        last = next((line for line in reversed(result.lines) if line.strip()), "")
        problem = last or {"timeout": "no answer within its limit"}.get(result.reason, result.reason)
    base = zero or 0.0
    return NodeAnswer(result.text, problem, base + result.started, base + result.ended)


def _epoch(wizard: Result | None) -> float | None:
    """When the walk began, in seconds since 1970, by the wizard's own `date`: a recording has it too."""
    if wizard is None or not wizard.ok:
        return None
    first, _, rest = wizard.text.strip().partition(".")
    if not first.isdigit():
        return None
    whole = float(f"{first}.{rest}") if rest.isdigit() else float(first) + 0.5
    return whole - (wizard.started + wizard.ended) / 2


def _for_the_gate(one: Finding, cluster: Cluster) -> Finding:
    """Nothing is installed yet: unlike packages close no gate here; a later step looks again."""
    later = _LATER[place_of(cluster).contained].get(one.fact)
    if one.verdict != "fail" or later is None:
        return one
    return replace(one, verdict="warn", message=f"{one.message}; {later}" if one.message else later)


def _together(findings: list[Finding], verdict: Judged, count: int) -> Iterator[Check]:
    """One line for each fact that is fine, or that nobody could read (not fine); nodes are named where their
    values differ."""
    some, unknown = [one for one in findings if one.verdict == verdict], verdict == "unknown"
    for fact in dict.fromkeys(one.fact for one in some):
        values: dict[str, list[str]] = {}
        for one in some:
            if one.fact == fact:
                text = f"unknown: {one.message or one.found}" if unknown else one.found
                values.setdefault(text, []).append(one.node)
        parts = [_value(text, nodes, count) for text, nodes in list(values.items())[:_SHOWN]]
        more = f"; and {len(values) - _SHOWN} more" if len(values) > _SHOWN else ""
        yield Check(fact, True, "; ".join(parts) + more, warning=unknown)


def _value(text: str, nodes: list[str], count: int) -> str:
    if nodes == [""] or (len(nodes) == count and count == 1):
        return text
    if len(nodes) == count:
        return f"{text} on every node"
    return f"{', '.join(nodes[:4])}{' ...' if len(nodes) > 4 else ''}: {text}"


def _serving(facts: Mapping[str, NodeFacts]) -> bool:
    """A vLLM of this cluster runs already: the GPUs it holds are no stranger's."""
    return any(
        one.kind.lower().startswith("vllm") and is_ours(node, one.pid)
        for node in facts.values()
        for one in node.processes
    )


def _learnt(known: Known, facts: Mapping[str, NodeFacts]) -> dict[str, Any]:
    """What the TP x PP advisor needs, see ``advisor.effect``."""
    told = {name: one for name, one in facts.items() if not one.problem}
    topology = topology_of(known.cluster, told)
    head = facts[known.head.name]
    return {
        "gpu_bytes": topology.gpu_bytes,
        "gpu_name": topology.gpu_name,
        "nvlink": topology.nvlink,
        "drivers": {name: one.gpu.driver for name, one in told.items() if one.gpu.driver},
        "config": object_of(head.config),
        "weight_bytes": head.weight_bytes,
    }
