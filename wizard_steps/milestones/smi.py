"""smi: nvidia-smi on each box: a driver, the promised number of GPUs, the same driver everywhere."""

from __future__ import annotations

from wizard_steps.engine.step import ABOUT_FACTS, FACTS, Bundled, Known, Step
from wizard_steps.facts.gpu import parse_nvidia_smi, remedy
from wizard_steps.milestones.common import everywhere, same_everywhere
from wizard_steps.model import Check, Cmd, Node, Result, Results, Round, Verdict

SMI = Cmd(key="smi", text="nvidia-smi", timeout=60)


class Smi(Step):
    id = "smi"
    title = "nvidia-smi on each box"
    short = "nvidia-smi"
    bundled = (Bundled(("smi",), FACTS, ABOUT_FACTS),)
    owns = (r"nodes\[\d+\]\.gpus",)

    def rounds(self, known: Known, done: Results) -> Round | None:
        return None if done.has("smi") else everywhere(known.nodes, SMI)

    def judge(self, known: Known, done: Results) -> Verdict:
        checks = [check for node in known.nodes for check in _one(node, done.get("smi", node))]
        facts = {n.name: parse_nvidia_smi(r.text) for n in known.nodes if (r := done.get("smi", n))}
        drivers = {name: fact.driver for name, fact in facts.items() if fact.driver}
        hint = "install the same driver on every node and reboot the odd one out"
        checks.append(same_everywhere("driver", drivers, hint))
        ok = all(check.ok for check in checks)
        total = sum(len(fact.gpus) for fact in facts.values())
        driver = next(iter(drivers.values()), "none")
        summary = f"{total} GPUs, driver {driver}" if ok else "the GPUs are not what was promised"
        return Verdict(ok, summary, tuple(checks), {"driver": driver, "gpus_seen": total})


def _one(node: Node, result: Result | None) -> list[Check]:
    if result is None:
        return [Check("nvidia-smi", False, "was not run", node=node.name)]
    if result.reason != "exit":
        return [
            Check("nvidia-smi", False, result.lines[-1] if result.lines else result.reason, node=node.name)
        ]
    fact = parse_nvidia_smi(result.text)
    if fact.problem != "ok" or not result.ok:
        found = fact.message or f"exit {result.code}"
        return [Check("nvidia-smi", False, found, "a working driver", node.name, remedy(fact.problem))]
    found = f"{len(fact.gpus)} GPUs, driver {fact.driver}, CUDA {fact.cuda}"
    count_ok = node.gpus == 0 or len(fact.gpus) == node.gpus
    hint = "a GPU has fallen off the bus (dmesg | grep -i xid), or the cluster file's gpus is wrong"
    return [Check("GPU count", count_ok, found, f"{node.gpus} GPUs", node.name, "" if count_ok else hint)]
