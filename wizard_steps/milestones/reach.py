"""reach: SSH works to every node; who am I there, and on what."""

from __future__ import annotations

from wizard_steps.engine.step import ABOUT_FACTS, FACTS, Bundled, Known, Step
from wizard_steps.milestones.common import everywhere, failure
from wizard_steps.model import Check, Cmd, Results, Round, Verdict
from wizard_steps.node.lines import fields

WHOAMI = Cmd(
    key="whoami",
    text=(
        'echo "user: $(id -un)"\n'
        'echo "host: $(uname -n)"\n'
        'echo "kernel: $(uname -sr)"\n'
        'os=$(. /etc/os-release 2>/dev/null && echo "$PRETTY_NAME")\n'
        'echo "os: ${os:-unknown}"\n'
        'echo "python3: $(python3 -V 2>/dev/null || echo missing)"\n'
    ),
    show="id -un; uname -n; uname -sr; . /etc/os-release; python3 -V",
    # Logging in may take as long as a person needs to compare a fingerprint or find a password.
    timeout=600,
)


class Reach(Step):
    id = "reach"
    title = "Reach every node"
    short = "reach nodes"
    bundled = (Bundled(("whoami",), FACTS, ABOUT_FACTS),)

    def rounds(self, known: Known, done: Results) -> Round | None:
        return None if done.has("whoami") else everywhere(known.nodes, WHOAMI)

    def judge(self, known: Known, done: Results) -> Verdict:
        checks = []
        for node in known.nodes:
            result = done.get("whoami", node)
            if result is None or not result.ok:
                checks.append(failure(result, node, "try `ssh` to it by hand; see the message"))
                continue
            found = fields(result.text)
            python = found.get("python3", "missing")
            checks.append(
                Check("login", True, node=node.name, found=f"{found.get('user')} on {found.get('host')}")
            )
            checks.append(
                Check(
                    "python3",
                    python != "missing" or known.cluster.path != "bare-metal",
                    node=node.name,
                    found=python,
                    wanted="python3 on the PATH",
                    hint="install Python 3 (apt install python3 python3-venv), the same version everywhere",
                )
            )
        bad = sorted({check.node for check in checks if not check.ok})
        total = len(known.nodes)
        summary = f"{total - len(bad)} of {total} nodes answer over SSH" + (
            f"; not right: {', '.join(bad)}" if bad else ""
        )
        return Verdict(not bad, summary, tuple(checks))
