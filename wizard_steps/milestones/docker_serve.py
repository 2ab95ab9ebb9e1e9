"""docker_serve: vLLM inside the containers: over Ray on the head, or a rank on every node without Ray."""

from __future__ import annotations

from collections.abc import Sequence

from wizard_steps.engine.step import Known
from wizard_steps.milestones import docker_ranks, docker_start
from wizard_steps.milestones.serve import ROLE, Serve
from wizard_steps.model import Cmd, Results, Round, Verdict, Work
from wizard_steps.node import docker, remote

#: The keys of commands that look at the node itself: a model's folder is mounted from there.
_ON_NODE = ("model",)


class DockerServe(Serve):
    id = "docker_serve"
    title = "vllm serve"
    keys = ("log", "joined", "mp-log")

    def rounds(self, known: Known, done: Results) -> Round | None:
        mp = docker_start.without_ray(known)
        wanted = docker_ranks.rounds(known, done) if mp else super().rounds(known, done)
        if wanted is None:
            return None
        return Round(work=tuple((node, _placed(known, (node, cmd))) for node, cmd in wanted.work))

    def judge(self, known: Known, done: Results) -> Verdict:
        mp = docker_start.without_ray(known)
        return docker_ranks.judge(known, done) if mp else super().judge(known, done)

    def undo(self, known: Known) -> Sequence[Work]:
        """Ends vLLM on every node: which path it took is not known any more when `milepost down` runs."""
        cluster = known.cluster
        stops = ((node, remote.stop(cluster, node, ROLE, grace=8)) for node in known.nodes)
        return [(node, docker.inside_if_running(cluster, node, stop)) for node, stop in stops]


def _placed(known: Known, work: Work) -> Cmd:
    node, cmd = work
    if cmd.key in _ON_NODE:
        return cmd
    # A look at a container that is not there finds nothing; a dry run goes on and lists the start.
    place = docker.inside_if_running if cmd.key == "look" else docker.inside
    return place(known.cluster, node, cmd)
