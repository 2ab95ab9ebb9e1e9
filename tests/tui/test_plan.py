"""The real milestones on the screen: every step of the plan, a gate that fails in the middle, and a retry."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.helpers.case_runner import CLUSTER
from tests.helpers.tui_fakes import ToyWalk, plain, shows, until
from tests.helpers.walk_maker import HEALTHY, Hosts
from tui.app.app import MilepostApp
from tui.cli.interactive import why
from tui.screens.handover import HandoverScreen
from tui.screens.question import QuestionScreen
from wizard_steps.cluster.file import parse
from wizard_steps.engine.clock import ZeroClock
from wizard_steps.engine.decide import Decider
from wizard_steps.engine.engine import Engine, OnEvent
from wizard_steps.plan import plan_for
from wizard_steps.recording import events as ev
from wizard_steps.recording.state import State


class CaseWalk(ToyWalk):
    """The case files of every milestone as hosts."""

    def engine(self, decider: Decider, asker: Any, on_event: OnEvent) -> Engine:
        hosts: Any = self.transport

        def both(event: ev.AnyEvent, state: State) -> None:
            hosts.started(event, state)
            on_event(event, state)

        return super().engine(decider, asker, both)


async def test_the_real_plan_with_a_gate_that_fails_once(tmp_path: Path) -> None:
    clock = ZeroClock()
    hosts: Any = Hosts({**HEALTHY, "workers": ("gcs-unreachable", "joins")}, clock)
    cluster = parse(CLUSTER)
    walk = CaseWalk(tmp_path / "walk", plan_for(cluster), hosts, cluster, clock)
    app = MilepostApp(walk, None, linger=0.0, diagnose=why)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app.gate_open or isinstance(app.screen, QuestionScreen), 60)
        while isinstance(app.screen, QuestionScreen):
            await pilot.press("enter")
            await until(pilot, lambda: app.gate_open or isinstance(app.screen, QuestionScreen), 60)
        session = app.session
        assert session is not None
        for words in ("likely cause", "The gate stays shut"):
            await until(
                pilot, lambda words=words: session.findings.get("workers") and words in plain(app), 60
            )
        assert session.state.current == "workers"
        await pilot.press("r")
        await until(pilot, lambda: session.state.outcome == "passed" and not session.evidence.held, 60)
        await until(pilot, lambda: isinstance(app.screen, HandoverScreen))
        await pilot.press("escape")
        await shows(app, f"All {len(walk.plan)} milestones passed.")
    pictures = sorted((tmp_path / "walk" / "evidence").glob("*.svg"))
    assert len(pictures) == len(walk.plan)
