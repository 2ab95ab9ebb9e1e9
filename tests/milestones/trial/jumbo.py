"""jumbo: whether packets of 9000 bytes pass whole between the head and every worker."""

from __future__ import annotations

import re
import shlex

from wizard_steps.engine.step import Known, Step
from wizard_steps.milestones.common import failure
from wizard_steps.model import Check, Cmd, Results, Round, Verdict

#: Bytes of payload in a packet of 9000 bytes: without the IP and ICMP headers.
PAYLOAD = 8972
_LOSS = re.compile(r"(\d+)% packet loss")


class Jumbo(Step):
    id = "jumbo"
    title = "Packets of 9000 bytes"
    short = "jumbo packets"
    keys = ("ping-*",)

    def rounds(self, known: Known, done: Results) -> Round | None:
        if done.items:
            return None
        line = f"ping -M do -c 3 -s {PAYLOAD}"
        targets = [shlex.quote(known.ip(node)) for node in known.workers]
        work = [(known.head, Cmd(f"ping-{n}", f"{line} {target}")) for n, target in enumerate(targets)]
        return Round(work=tuple(work))

    def judge(self, known: Known, done: Results) -> Verdict:
        checks = []
        for number, node in enumerate(known.workers):
            result = done.get(f"ping-{number}", known.head)
            loss = _LOSS.search(result.text) if result is not None else None
            if result is None or loss is None:
                checks.append(failure(result, node, "Set mtu 9000 on both ends and on the switch"))
            else:
                checks.append(Check("loss", loss[1] == "0", f"{loss[1]} %", "0 %", node.name))
        passed = all(check.ok for check in checks)
        return Verdict(passed, "large packets pass" if passed else "large packets do not pass", tuple(checks))
