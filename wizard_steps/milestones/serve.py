"""serve: start `vllm serve`, over Ray or as a rank on every node, and read its log until it is ready."""

from __future__ import annotations

from collections.abc import Sequence

from wizard_steps.engine.step import Bundled, Known
from wizard_steps.milestones import over_ray, ranks, vllm
from wizard_steps.milestones.common import Placed, placed
from wizard_steps.model import Node, Results, Round, Verdict, Work
from wizard_steps.node.place import SERVE


class ServeStep(Placed):
    """Over Ray on the head, or a rank on every node without Ray."""

    id = "serve"
    title = "vllm serve"
    short = "vllm serve"
    keys = ("launch", "log", "joined", "mp-log", "stall")
    owns = (r"serve\..*",)
    phases = vllm.PHASES
    bundled = (Bundled(vllm.LOGS, "vllm-serve-first.txt", "the first part of vLLM's output"),)
    formerly = (("docker_serve", {}),)

    def rounds(self, known: Known, done: Results) -> Round | None:
        return ranks.rounds(known, done) if placed(known).without_ray else over_ray.rounds(known, done)

    def judge(self, known: Known, done: Results) -> Verdict:
        return ranks.judge(known, done) if placed(known).without_ray else over_ray.judge(known, done)

    def phase_of(self, line: str) -> str | None:
        return vllm.phase_of(line)

    def leaves_running(self, known: Known, node: Node) -> str:
        place = placed(known)
        if node != known.server and not place.without_ray:
            return ""
        return " in ".join(filter(None, ["vllm serve", place.holder(node)]))

    def undo(self, known: Known) -> Sequence[Work]:
        place = placed(known)
        return [(n, place.stop(n, SERVE, grace=8)) for n in place.serving(known.nodes, known.server)]
