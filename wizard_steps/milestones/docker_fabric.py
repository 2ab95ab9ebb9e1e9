"""docker_fabric: the fabric milestone with the image's own torch and NCCL, in containers that leave again."""

from __future__ import annotations

import shlex

from msgspec.structs import replace

from wizard_steps.engine.step import Known
from wizard_steps.milestones import docker_start
from wizard_steps.milestones.fabric import Fabric
from wizard_steps.model import Cmd, Node, Results, Round
from wizard_steps.node import docker

#: Seconds an engine may need to start a container of a large image, on top of the command's own limit.
START = 60.0


class DockerFabric(Fabric):
    id = "docker_fabric"
    in_use = "containers of this cluster run on {} and use the network"
    torch_of, torch_step = "this image", "the check of the image"

    def rounds(self, known: Known, done: Results) -> Round | None:
        wanted = super().rounds(known, done)
        if wanted is None:
            return None
        return Round(work=tuple((node, _placed(known, node, cmd)) for node, cmd in wanted.work))


def _placed(known: Known, node: Node, cmd: Cmd) -> Cmd:
    """A look finds our container; everything else runs in one of its own: the real one does not run yet."""
    cluster = known.cluster
    if cmd.key == "look":
        line = docker_start.run_line(known, node, docker.HOLD)
        return docker.look(cluster, node, line, cluster.ray.port)
    line = docker.passing_line(cluster, node, docker_start.image(known))
    shown = f"(in a container of {docker_start.image(known)}) {cmd.show}"
    return replace(
        cmd, text=f"exec {line} {shlex.quote(cmd.text)}\n", show=shown, timeout=cmd.timeout + START
    )
