"""workers: join every other node to the head, all at the same time."""

from __future__ import annotations

from collections.abc import Sequence

from wizard_steps.engine.step import Known, Step
from wizard_steps.milestones import raystart
from wizard_steps.model import Node, Results, Round, Verdict, Work


def argv(known: Known, node: Node) -> list[str]:
    return [
        known.cluster.program("ray"),
        "start",
        f"--address={known.head_ip}:{known.cluster.ray.port}",
        *raystart.base_flags(known, node),
        *known.cluster.ray.worker_flags,
    ]


class Workers(Step):
    id = "workers"
    title = "Join the workers"
    keys = ("start",)
    owns = (r"ray\.worker_flags",)
    formerly = (("docker_workers", {}),)

    def rounds(self, known: Known, done: Results) -> Round | None:
        if not known.workers:
            return None
        return raystart.rounds(known, done, known.workers, {n.name: argv(known, n) for n in known.workers})

    def judge(self, known: Known, done: Results) -> Verdict:
        if not known.workers:
            return Verdict(True, "one node only: there is no worker to join")
        checks = raystart.judge(known, done, known.workers)
        bad = list(dict.fromkeys(check.node for check in checks if not check.ok))
        good = len(known.workers) - len(bad)
        summary = f"{good} of {len(known.workers)} workers joined" + (
            f"; not: {', '.join(bad)}" if bad else ""
        )
        return Verdict(not bad, summary, tuple(checks))

    def undo(self, known: Known) -> Sequence[Work]:
        return [(node, cmd) for node in known.workers for cmd in raystart.undo(known, node)]
