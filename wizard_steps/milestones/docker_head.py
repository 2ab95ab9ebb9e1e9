"""docker_head: the head's container, with `ray start --head` as its main process."""

from __future__ import annotations

from collections.abc import Sequence

from wizard_steps.engine.step import Known, Step
from wizard_steps.milestones import docker_start, head
from wizard_steps.model import Results, Round, Verdict, Work


class DockerHead(Step):
    id = "docker_head"
    title = "Start the head's container"
    keys = ("start", "up")
    owns = (r"ray\.(port|dashboard_port|dashboard_host|head_flags|auth)",)

    def rounds(self, known: Known, done: Results) -> Round | None:
        node = known.head
        line = docker_start.run_line(known, node, head.argv(known))
        return docker_start.rounds(known, done, {node.name: line}, [node])

    def judge(self, known: Known, done: Results) -> Verdict:
        node = known.head
        checks = docker_start.judge(known, done, [node])
        ok = all(check.ok for check in checks)
        if docker_start.without_ray(known):
            said = "the head's container waits for vLLM" if ok else "no container of ours on the head"
            return Verdict(ok, said, tuple(checks))
        address = f"{known.head_ip}:{known.cluster.ray.port}"
        summary = f"the head listens at {address}" if ok else f"no head of ours at {address}"
        checks += docker_start.script_checks(known, [node])
        checks += head.dashboard_checks(known)
        return Verdict(ok, summary, tuple(checks), head.facts(known, done) if ok else {})

    def undo(self, known: Known) -> Sequence[Work]:
        return [(known.head, cmd) for cmd in docker_start.undo(known, known.head)]
