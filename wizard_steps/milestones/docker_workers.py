"""docker_workers: a container on every other node, all at the same time, joined to the head."""

from __future__ import annotations

from collections.abc import Sequence

from wizard_steps.engine.step import Known, Step
from wizard_steps.milestones import docker_start, workers
from wizard_steps.model import Results, Round, Verdict, Work


class DockerWorkers(Step):
    id = "docker_workers"
    title = "Join the workers' containers"
    keys = ("start", "up")
    owns = (r"ray\.worker_flags",)

    def rounds(self, known: Known, done: Results) -> Round | None:
        if not known.workers:
            return None
        lines = {n.name: docker_start.run_line(known, n, workers.argv(known, n)) for n in known.workers}
        return docker_start.rounds(known, done, lines, known.workers)

    def judge(self, known: Known, done: Results) -> Verdict:
        if not known.workers:
            return Verdict(True, "one node only: there is no worker to join")
        checks = docker_start.judge(known, done, known.workers)
        bad = list(dict.fromkeys(check.node for check in checks if not check.ok))
        did = "containers wait for vLLM" if docker_start.without_ray(known) else "workers joined"
        summary = f"{len(known.workers) - len(bad)} of {len(known.workers)} {did}"
        checks += docker_start.script_checks(known, known.workers)
        return Verdict(not bad, summary + (f"; not: {', '.join(bad)}" if bad else ""), tuple(checks))

    def undo(self, known: Known) -> Sequence[Work]:
        return [(node, cmd) for node in known.workers for cmd in docker_start.undo(known, node)]
