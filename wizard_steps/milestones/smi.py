"""smi: nvidia-smi on each box: a driver, the promised number of sound GPUs, the same driver everywhere."""

from __future__ import annotations

from msgspec.structs import replace

from wizard_steps.engine.step import ABOUT_FACTS, FACTS, Bundled, Known, Step
from wizard_steps.facts import rules_cards, rules_gpu
from wizard_steps.facts.gpu import GpuFacts, parse_nvidia_smi, remedy
from wizard_steps.milestones.common import check_of, everywhere, same_everywhere
from wizard_steps.model import Check, Cmd, Node, Result, Results, Round, Verdict

#: WSL and some images have it where a login's PATH does not lead.
SMI = Cmd(
    key="smi",
    text="PATH=$PATH:/usr/lib/wsl/lib:/usr/local/cuda/bin; export PATH; exec nvidia-smi\n",
    timeout=60,
    show="nvidia-smi",
)


class Smi(Step):
    id = "smi"
    title = "nvidia-smi on each box"
    short = "nvidia-smi"
    keys = ("smi",)
    bundled = (Bundled(("smi",), FACTS, ABOUT_FACTS),)
    owns = (r"nodes\[\d+\]\.gpus", r"nodes\[\d+\]\.env\..*")

    def rounds(self, known: Known, done: Results) -> Round | None:
        return None if done.has("smi") else everywhere(_with_gpus(known), SMI)

    def judge(self, known: Known, done: Results) -> Verdict:
        nodes = _with_gpus(known)
        facts = {n.name: _facts(known, r) for n in nodes if (r := done.get("smi", n)) is not None}
        checks = [check for node in nodes for check in _one(known, node, done, facts)]
        checks += [Check("GPUs", True, "none: gpus = 0", node=n.name) for n in known.nodes if not n.gpus]
        drivers = {name: fact.driver for name, fact in facts.items() if fact.driver}
        hint = "install the same driver on every node and reboot the odd one out"
        checks += [same_everywhere("driver", drivers, hint)] if drivers else []
        ok = all(check.ok for check in checks)
        used = {n.name: rules_cards.chosen(n, facts[n.name], known.cluster) for n in nodes if n.name in facts}
        total, driver = sum(map(len, used.values())), next(iter(drivers.values()), "none")
        summary = f"{total} GPUs, driver {driver}" if ok else "the GPUs differ from the cluster file"
        choices = {
            n.name: rules_cards.choice(n, facts[n.name], known.cluster) for n in nodes if n.name in facts
        }
        devices = {name: chosen for name, chosen in choices.items() if chosen}
        learnt = {"driver": driver, "gpus_seen": total, **({"devices": devices} if devices else {})}
        return Verdict(ok, summary, tuple(checks), learnt)


def _with_gpus(known: Known) -> tuple[Node, ...]:
    """A head that only runs Ray needs no driver."""
    return tuple(node for node in known.nodes if node.gpus)


def _facts(known: Known, result: Result) -> GpuFacts:
    """A table of a form not known here may hide the driver's version, which the preflight has asked for."""
    fact = parse_nvidia_smi(result.text, result.code)
    asked = known.facts.get("machines", {}).get("drivers", {}).get(result.node.name, "")
    return fact if fact.driver or fact.problem != "ok" else replace(fact, driver=asked)


def _one(known: Known, node: Node, done: Results, facts: dict[str, GpuFacts]) -> list[Check]:
    result = done.get("smi", node)
    if result is None:
        return [Check("nvidia-smi", False, "was not run", node=node.name)]
    if result.reason == "timeout":
        found = f"nvidia-smi did not answer within {SMI.timeout:g} s: the driver hangs"
        return [Check("nvidia-smi", False, found, "an answer", node.name, remedy("lost"))]
    if result.reason != "exit":
        last = next((line for line in reversed(result.lines) if line.strip()), result.reason)
        return [Check("nvidia-smi", False, last, node=node.name)]
    fact = facts[node.name]
    if fact.problem != "ok":
        found = fact.message or f"exit {result.code}"
        return [Check("nvidia-smi", False, found, "a working driver", node.name, remedy(fact.problem))]
    checks = [check_of(one) for one in rules_cards.judge(node, fact, known.cluster)]
    if not fact.driver:
        checks.append(check_of(rules_gpu.no_version(node.name)))
    return [*checks, *_exit(node, result, fact)]


def _exit(node: Node, result: Result, fact: GpuFacts) -> list[Check]:
    """A table that is whole with an exit code beside it: 14 is a corrupted infoROM, which computes well."""
    if result.code == 0 or fact.lost or fact.remark or any(gpu.broken for gpu in fact.gpus):
        return []
    found = f"exit {result.code} although its table is complete"
    return [
        Check("nvidia-smi", True, found, "exit 0", node.name, "`nvidia-smi` there says why", warning=True)
    ]
