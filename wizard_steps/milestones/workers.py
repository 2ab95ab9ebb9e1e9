"""workers: join every other node to the head, all at the same time."""

from __future__ import annotations

from collections.abc import Sequence

from wizard_steps.engine.step import Known
from wizard_steps.milestones import raystart
from wizard_steps.milestones.common import placed
from wizard_steps.model import Node, Results, Round, Verdict, Work
from wizard_steps.node.place import Service


def argv(known: Known, node: Node) -> list[str]:
    return [
        placed(known).program("ray"),
        "start",
        f"--address={known.head_ip}:{known.cluster.ray.port}",
        *raystart.base_flags(known, node),
        *known.cluster.ray.worker_flags,
        *raystart.own_flags(known, node),
    ]


class Workers(raystart.StartsRay):
    id = "workers"
    title = "Join the workers"
    short = "Ray workers"
    owns = (r"ray\.worker_flags",)
    formerly = (("docker_workers", {}),)

    def rounds(self, known: Known, done: Results) -> Round | None:
        return raystart.rounds(known, done, services) if known.workers else None

    def judge(self, known: Known, done: Results) -> Verdict:
        place = placed(known)
        if not known.workers:
            return Verdict(True, "one node only: there is no worker to join")
        if place.idle:
            return Verdict(True, "no Ray on this path: there is nothing to join")
        checks = raystart.judge(known, done, services(known))
        bad = list(dict.fromkeys(check.node for check in checks if not check.ok))
        did = "containers wait for vLLM" if place.without_ray else "workers joined"
        summary = f"{len(known.workers) - len(bad)} of {len(known.workers)} {did}"
        checks += raystart.by_hand(known, known.workers)
        facts = {} if bad else raystart.taught(known, done, known.workers)
        return Verdict(not bad, summary + (f"; not: {', '.join(bad)}" if bad else ""), tuple(checks), facts)

    def leaves_running(self, known: Known, node: Node) -> str:
        return raystart.leaves(known, node, "Ray worker")

    def undo(self, known: Known) -> Sequence[Work]:
        return [(node, cmd) for node in known.workers for cmd in raystart.undo(known, node)]


def services(known: Known) -> list[Service]:
    """Ray of every worker, as it would be started."""
    return [raystart.service(known, node, argv(known, node)) for node in known.workers]
