"""Walks some milestones of the Docker path in this process: real SSH, real podman, answers from a script."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from tests.helpers.case_runner import CaseDecider
from wizard_steps.cluster.file import load
from wizard_steps.model import Question, Verdict
from wizard_steps.recording import events as ev
from wizard_steps.session import LiveWalk
from wizard_steps.transport.ssh_ask import NoAsker

TO_RAY = ("ip", "smi", "docker_ready", "head", "workers", "ray_status")


class Walked:
    """What a walk led to: verdicts by milestone, the commands that ran, and what was asked."""

    def __init__(self, folder: Path, asked: list[Question]) -> None:
        self.folder = folder
        self.asked = [question.id for question in asked if question.kind != "gate"]
        self.verdicts: dict[str, Verdict] = {}
        self.ran: list[tuple[str, str, str]] = []
        #: What a person sees of a command: it can be pasted.
        self.shown: dict[tuple[str, str, str], str] = {}

    def keep(self, event: ev.AnyEvent) -> None:
        if isinstance(event, ev.Judged):
            self.verdicts[event.step] = event.verdict
        if isinstance(event, ev.CommandStarted):
            self.ran.append((event.step, event.node, event.key))
            self.shown[event.step, event.node, event.key] = event.show or event.text

    def failing(self, step: str) -> set[str]:
        return {f"{check.name}@{check.node}" for check in self.verdicts[step].failures}

    def told(self, step: str) -> str:
        verdict = self.verdicts[step]
        lines = [f"{c.name} [{c.node}] {c.ok}: {c.found} | {c.wanted} | {c.hint}" for c in verdict.checks]
        return "\n".join([verdict.summary, *lines])

    def recorded(self) -> bytes:
        """Every byte the walk left on the wizard's disk."""
        return b"".join(path.read_bytes() for path in sorted(self.folder.rglob("*")) if path.is_file())


async def walk(
    cluster_file: Path,
    folder: Path,
    steps: tuple[str, ...],
    answers: Mapping[str, str] | None = None,
    on_event: Callable[[ev.AnyEvent], None] = lambda event: None,
) -> Walked:
    """Walk ``steps`` of the file's path, stop at the first gate that stays shut."""
    decider = CaseDecider(answers or {})
    live = LiveWalk(load(cluster_file), folder)
    walked = Walked(folder, decider.asked)

    def told(event: ev.AnyEvent, state: object) -> None:
        walked.keep(event)
        on_event(event)

    engine = live.engine(decider, NoAsker(), told)
    engine.plan = tuple(step for step in engine.plan if step.id in steps)
    try:
        await engine.walk()
    finally:
        await live.close()
    walked.asked = [question.id for question in decider.asked if question.kind != "gate"]
    return walked
