"""The debugging switch of the screen is no answer to a question: a replay takes it from the recording."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.case_runner import CLUSTER, CaseTransport
from wizard_steps.cluster.file import parse
from wizard_steps.engine.clock import ZeroClock
from wizard_steps.engine.decide import FileDecider
from wizard_steps.engine.engine import Engine
from wizard_steps.milestones.head import Head
from wizard_steps.milestones.smi import Smi
from wizard_steps.recording import events as ev
from wizard_steps.recording import journal as walks
from wizard_steps.walks.replay import replay

SMI = (Path(__file__).parents[1] / "cases/smi/eight-and-eight.toml").read_text().split("'''")[1]
RESULTS = [
    {"node": "*", "key": "smi", "text": SMI},
    {"node": "a", "key": "look", "text": "ours: \nport 6379: free\n"},
    {"node": "a", "key": "launch", "text": ""},
    {"node": "a", "key": "start", "text": "Local node IP: 10.0.0.1\nRay runtime started.\n"},
]


async def test_a_walk_with_the_switch_turned_replays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wizard_steps.plan.plan_for", lambda cluster: [Smi(), Head()])
    folder = walks.WalkFolder(tmp_path / "w", walks.new_meta())

    def switch(event: ev.AnyEvent, state: object) -> None:
        if isinstance(event, ev.Judged) and event.step == "smi":
            engine.edit(("env.NCCL_DEBUG", "INFO"))

    plan = [Smi(), Head()]
    engine = Engine(
        plan, parse(CLUSTER), CaseTransport(RESULTS), FileDecider(), ZeroClock(), folder, on_event=switch
    )
    assert await engine.walk() == "passed"
    folder.close()
    walk = walks.load(tmp_path / "w")
    assert any("NCCL_DEBUG=INFO" in e.text for e in walk.events if isinstance(e, ev.CommandStarted))
    again = await replay(walk)
    assert (again.outcome, again.drift) == ("passed", "")
