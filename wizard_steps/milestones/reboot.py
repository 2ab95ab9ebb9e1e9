"""reboot: one node is rebooted for real, and the server has to come back by itself.

Optional: `milepost enable --reboot-test NODE` walks it after `units`.
"""

from __future__ import annotations

from collections.abc import Mapping

from wizard_steps.engine.step import Known, Step
from wizard_steps.milestones.common import failure, placed
from wizard_steps.milestones.units import SERVED_BY, ready
from wizard_steps.model import Check, Cmd, Node, Option, Question, Result, Results, Round, Verdict
from wizard_steps.node.lines import fields
from wizard_steps.node.place import SERVE

#: Seconds a machine gets to be reachable again; servers with much memory test it for minutes.
_BOOT = 1800.0
#: The question that names the node, and the answer that names none.
WHICH, _NONE = "reboot-node", "none"
NO_LAB = "a node of the lab is this very machine, and is not rebooted"
#: The kernel's own id of a boot, and since when the first process runs: a container has its host's kernel.
_BOOT_ID = 'echo "boot: $(cat /proc/sys/kernel/random/boot_id) $(stat -c %Y /proc/1)" 2>/dev/null\n'
#: In its own session and a moment later, so that the login ends first.
_REBOOT = (
    "command -v systemctl >/dev/null || { echo 'no systemctl'; exit 1; }\n"
    "setsid nohup sh -c 'sleep 2; systemctl reboot || sudo -n systemctl reboot' </dev/null >/dev/null 2>&1 &"
    "\n"
    "echo rebooting\n"
)


class Reboot(Step):
    id = "reboot"
    title = "Reboot one node"
    short = "reboot"
    keys = ("reboot", "back", "ready")
    effects: Mapping[str, str] = {"reboot": "reboots the machine"}

    def rounds(self, known: Known, done: Results) -> Round | None:
        if known.cluster.simulated:
            return None
        if WHICH not in done.answers:
            return Round(questions=(_question(known),))
        node = _node(known, done)
        if node is None:
            return None
        if not done.has("before"):
            return Round(work=((node, Cmd("before", _BOOT_ID, quiet=True, show="(when was it booted?)")),))
        if not done.has("reboot"):
            return Round(work=((node, Cmd("reboot", _REBOOT, mutates=True, show="systemctl reboot")),))
        if not _ok(done.get("reboot", node)):
            return None
        if not done.has("back"):
            return Round(work=((node, _back(done.get("before", node))),))
        if _ok(done.get("back", node)) and not done.has("ready"):
            return Round(work=((known.server, ready(known, "ready", _before(known))),))
        return None

    def judge(self, known: Known, done: Results) -> Verdict:
        node = _node(known, done)
        if node is None:
            said = NO_LAB if known.cluster.simulated else "no node was chosen"
            return Verdict(False, said, (Check("reboot", False, said, "the name of a node"),))
        for key, name in (("reboot", "reboot"), ("back", "reachable again")):
            if not _ok(result := done.get(key, node)):
                check = failure(result, node)
                return Verdict(
                    False,
                    f"{node.name} did not come back",
                    (Check(name, False, check.found, node=node.name),),
                )
        back = done.get("back", node)
        checks = [Check("reachable again", True, f"after {_took(back):.0f} s", node=node.name)]
        result = done.get("ready", known.server)
        if not _ok(result):
            found = failure(result, known.server).found
            log = placed(known).log_of(known.server, SERVE)
            hint = f"on {node.name}: `systemctl status 'milepost-*'`; on {known.server.name}: {log}"
            wanted = "a new vllm serve answers /health"
            checks.append(Check("server", False, found, wanted, known.server.name, hint))
            return Verdict(
                False, f"the server did not come back after {node.name} was rebooted", tuple(checks)
            )
        checks.append(
            Check("server", True, f"answers again after {_took(result):.0f} s more", node=known.server.name)
        )
        return Verdict(True, f"{node.name} was rebooted, and the server came back by itself", tuple(checks))


def _question(known: Known) -> Question:
    names = [Option(node.name, node.name, node.host) for node in known.nodes]
    return Question(
        id=WHICH,
        text="Which node should be rebooted now?",
        kind="choice",
        options=(*names, Option(_NONE, "None", "nothing is rebooted")),
        default=_NONE,
        why="Everything on that machine ends, including what milepost did not start.",
        unattended=_NONE,
    )


def _node(known: Known, done: Results) -> Node | None:
    return next((node for node in known.nodes if node.name == done.answers.get(WHICH)), None)


def _before(known: Known) -> str:
    """The start of vLLM that ran before, as `units` has seen it."""
    return str(known.facts.get(SERVED_BY, ""))


def _back(before: Result | None) -> Cmd:
    old = fields(before.text).get("boot", "") if before is not None else ""

    def booted(result: Result) -> bool:
        return fields(result.text).get("boot", old) != old

    return Cmd("back", _BOOT_ID, timeout=_BOOT, every=5.0, until=booted, show="(has it booted again?)")


def _ok(result: Result | None) -> bool:
    return result is not None and (result.ok or result.reason == "dry")


def _took(result: Result | None) -> float:
    return result.ended - result.started if result is not None else 0.0
