"""head: start Ray on the head node. Its dashboard stays on localhost: it is a remote shell without a lock."""

from __future__ import annotations

from collections.abc import Sequence

from wizard_steps import remote
from wizard_steps.milestones import raystart
from wizard_steps.model import Results, Round, Verdict, Work
from wizard_steps.step import Known, Step


def argv(known: Known) -> list[str]:
    ray = known.cluster.ray
    return [
        known.cluster.program("ray"),
        "start",
        "--head",
        f"--port={ray.port}",
        f"--dashboard-host={ray.dashboard_host}",
        f"--dashboard-port={ray.dashboard_port}",
        *raystart.base_flags(known, known.head),
        *ray.head_flags,
    ]


class Head(Step):
    id = "head"
    title = "Start the head"
    owns = (r"ray\.(port|dashboard_port|dashboard_host|head_flags)",)

    def rounds(self, known: Known, done: Results) -> Round | None:
        return raystart.rounds(known, done, [known.head], {known.head.name: argv(known)})

    def judge(self, known: Known, done: Results) -> Verdict:
        checks = raystart.judge(known, done, [known.head])
        ok = all(check.ok for check in checks)
        address = f"{known.head_ip}:{known.cluster.ray.port}"
        summary = f"the head listens at {address}" if ok else f"no head of ours at {address}"
        return Verdict(ok, summary, tuple(checks), {"ray_address": address} if ok else {})

    def undo(self, known: Known) -> Sequence[Work]:
        return [(known.head, remote.stop(known.cluster, known.head, raystart.ROLE))]
