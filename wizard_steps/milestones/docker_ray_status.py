"""docker_ray_status: the cluster is whole, asked through `docker exec` in the head's container."""

from __future__ import annotations

from wizard_steps.engine.step import Known
from wizard_steps.milestones import docker_start, head, workers
from wizard_steps.milestones.ray_status import RayStatus
from wizard_steps.model import Cmd, Node, Results, Round, Verdict
from wizard_steps.node import docker


class DockerRayStatus(RayStatus):
    id = "docker_ray_status"
    title = "ray status matches reality"

    def rounds(self, known: Known, done: Results) -> Round | None:
        if docker_start.without_ray(known):
            return None
        wanted = super().rounds(known, done)
        if wanted is not None:
            return Round(work=tuple((n, docker.inside(known.cluster, n, cmd)) for n, cmd in wanted.work))
        if done.has("alive"):
            return None
        return Round(work=tuple((node, alive_command(known, node)) for node in known.nodes))

    def judge(self, known: Known, done: Results) -> Verdict:
        if docker_start.without_ray(known):
            return Verdict(True, "no Ray on this path: vLLM's ranks find each other in the next step")
        return super().judge(known, done)


def alive_command(known: Known, node: Node) -> Cmd:
    """Asks the node's engine: Ray believes in a host that fell silent for a minute or more."""
    argv = head.argv(known) if node.role == "head" else workers.argv(known, node)
    line = docker_start.run_line(known, node, argv)
    return docker.look(known.cluster, node, line, known.cluster.ray.port, key="alive")
