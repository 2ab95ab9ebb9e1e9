"""reach: SSH works to every node; who am I there, and on what."""

from __future__ import annotations

from wizard_steps.engine.step import ABOUT_FACTS, FACTS, Bundled, Known, Step
from wizard_steps.milestones.common import everywhere, failure, placed
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
    login=True,
)


class Reach(Step):
    id = "reach"
    title = "Reach every node"
    short = "reach nodes"
    keys = ("whoami",)
    bundled = (Bundled(("whoami",), FACTS, ABOUT_FACTS),)

    def rounds(self, known: Known, done: Results) -> Round | None:
        return None if done.has("whoami") else everywhere(known.nodes, WHOAMI)

    def judge(self, known: Known, done: Results) -> Verdict:
        checks = []
        for node in known.nodes:
            result = done.get("whoami", node)
            if result is None or not result.ok:
                # What the transport says of a lost connection has its own advice in it.
                lost = result is not None and result.reason == "lost"
                checks.append(failure(result, node, "" if lost else "try `ssh` to it by hand"))
                continue
            found = fields(result.text)
            python = found.get("python3", "missing")
            checks.append(
                Check("login", True, node=node.name, found=f"{found.get('user')} on {found.get('host')}")
            )
            checks.append(
                Check(
                    "python3",
                    python != "missing" or placed(known).contained,
                    node=node.name,
                    found=python,
                    wanted="python3 on the PATH",
                    hint="`sudo apt install python3 python3-venv`; the same version of Python everywhere",
                )
            )
        checks += _of_the_login(known, done)
        bad = sorted({check.node for check in checks if not check.ok})
        total = len(known.nodes)
        summary = f"{total - len(bad)} of {total} nodes answer over SSH" + (
            f"; not right: {', '.join(bad)}" if bad else ""
        )
        return Verdict(not bad, summary, tuple(checks))


def _of_the_login(known: Known, done: Results) -> list[Check]:
    """What the transport says of the logins, each sentence once."""
    nodes: dict[str, list[str]] = {}
    for name, result in done.of("whoami").items():
        for note in result.detail.splitlines() if result.ok else ():
            nodes.setdefault(note, []).append(name)
    everywhere_ = len(known.nodes)
    return [
        Check("login", True, node=names[0], found=note + _also(names, everywhere_), warning=True)
        for note, names in nodes.items()
    ]


def _also(names: list[str], total: int) -> str:
    if len(names) == 1:
        return ""
    return " (the same on every node)" if len(names) == total else f" (the same on {', '.join(names[1:])})"
